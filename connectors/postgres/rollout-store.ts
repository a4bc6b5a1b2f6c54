import { randomBytes } from "node:crypto";
import type pg from "pg";
import { classifyStore } from "./store-errors.ts";
import {
  moveOf,
  MOVE_COLUMNS,
  standingOf,
  type MoveRow,
  type StandingRow,
} from "./rollout-rows.ts";
import { sqlstateOf } from "./sqlstate.ts";
import { closePool, openPool, resolveStoreUrl } from "./store-session.ts";
import { busy, changed, relieved, stale } from "../../src/rollout/move-errors.ts";
import { movingBuckets, type MoveStep, type Standing } from "../../src/rollout/move.ts";
import { UNMOVED, type Side } from "../../src/rollout/stage.ts";
import { describeStanding } from "../../src/rollout/standing-text.ts";
import type {
  LogEntry,
  Move,
  MoveIntent,
  MoveOutcome,
  ProxyNote,
  RolloutStore,
  StandingRollout,
} from "../../src/rollout/rollout-store.ts";

const SESSIONS_MAX = 4;
/** Appends that hold the authority longer than this are not waited for; the hold would end meanwhile. */
const AUTHORITY_MS_MAX = 2_000;
const LOCK_NOT_AVAILABLE = "55P03";

const READ = `
  SELECT stream_type, stage, share, salt, epoch::text, held_from, held_to, held_reads, paused, changed_at,
         extract(epoch FROM held_until - clock_timestamp())::float8 * 1000 AS left_ms
    FROM banyan.rollouts WHERE pipeline = $1`;

const BEGIN = `
  INSERT INTO banyan.moves (pipeline, stream_type, kind, from_stage, from_share, to_stage, to_share, step, epoch,
                            who, why, forced, without, hold_ms, driver)
  VALUES ($1, $2, $3, $4, $5, $6, $7, 'begun', $8, $9, $10, $11, $12, $13, $14)
  ON CONFLICT (pipeline, stream_type) WHERE ended_at IS NULL DO NOTHING
  RETURNING ${MOVE_COLUMNS}`;

const STEP = `
  UPDATE banyan.moves SET step = $2, epoch = $3, fence = $4, touched_at = clock_timestamp()
   WHERE id = $1 RETURNING ${MOVE_COLUMNS}`;

const END = `
  UPDATE banyan.moves
     SET step = $2, epoch = $3, outcome = $4, reason = $5, touched_at = clock_timestamp(), ended_at = clock_timestamp()
   WHERE id = $1 RETURNING ${MOVE_COLUMNS}`;

const LOG = `
  INSERT INTO banyan.rollout_log (pipeline, stream_type, who, what, why, epoch, detail)
  VALUES ($1, $2, $3, $4, $5, $6, $7)`;

/** Keeps moves in banyan.moves, and where they lead in banyan.rollouts. */
export class PostgresRolloutStore implements RolloutStore {
  readonly #pool: pg.Pool;
  readonly #pipeline: string;

  /** @param pool of sessions as {@link openRolloutStore} opens them */
  constructor(pool: pg.Pool, pipeline: string) {
    this.#pool = pool;
    this.#pipeline = pipeline;
  }

  async standings(): Promise<ReadonlyMap<string, StandingRollout>> {
    const rows = await this.#query<StandingRow>(READ, [this.#pipeline]);
    return new Map(rows.map((row) => [row.stream_type, standingOf(row)]));
  }

  begin(intent: MoveIntent): Promise<Move> {
    const { type, kind, from, to } = intent;
    return this.#transaction(`beginning a ${kind} of ${type}`, async (client) => {
      await client.query(
        `INSERT INTO banyan.rollouts (pipeline, stream_type, stage, salt) VALUES ($1, $2, 'legacy', $3)
         ON CONFLICT DO NOTHING`,
        [this.#pipeline, type, randomBytes(9).toString("base64url")],
      );
      const standing = await this.#standing(client, type);
      // Who looked before another's move ended would otherwise begin from where it no longer stands.
      const values = [this.#pipeline, type, kind, from.stage, from.share, to.stage, to.share];
      const more = [standing.epoch, intent.who, intent.why, intent.forced, intent.without];
      const inserted = await client.query<MoveRow>(BEGIN, [
        ...values,
        ...more,
        intent.holdMs,
        intent.driver,
      ]);
      if (inserted.rows.length === 0) throw await this.#busy(client, type, from);
      if (standing.stage !== from.stage || standing.share !== from.share)
        throw changed(type, from, standing);
      const move = moveOf(inserted.rows[0]!);
      await this.#log(client, move, `${kind} begun`, { from, to, forced: intent.forced });
      return move;
    });
  }

  async takeOver(driver: string, silentMs: number, type?: string): Promise<Move | undefined> {
    const rows = await this.#query<MoveRow>(
      `UPDATE banyan.moves SET driver = $2, touched_at = clock_timestamp()
        WHERE ended_at IS NULL AND id = (
          SELECT id FROM banyan.moves
           WHERE pipeline = $1 AND ended_at IS NULL AND ($4::text IS NULL OR stream_type = $4)
             AND touched_at <= clock_timestamp() - $3 * interval '1 ms'
           ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
       RETURNING ${MOVE_COLUMNS}`,
      [this.#pipeline, driver, silentMs, type],
    );
    return rows[0] && moveOf(rows[0]);
  }

  async touch(move: Move): Promise<void> {
    const rows = await this.#query(
      "UPDATE banyan.moves SET touched_at = clock_timestamp() WHERE id = $1 AND driver = $2 RETURNING 1",
      [move.id, move.driver],
    );
    if (rows.length === 0) throw relieved(move);
  }

  note(move: Move, step: MoveStep, fence?: string): Promise<Move> {
    return this.#transaction(`noting a step of the move of ${move.type}`, async (client) => {
      const ended = await this.#own(client, move, "also-ended");
      return ended ?? (await this.#step(client, move, step, move.epoch, fence));
    });
  }

  hold(move: Move): Promise<Move | "over"> {
    return this.#transaction(`holding back writes of ${move.type}`, async (client) => {
      await this.#own(client, move);
      const standing = await this.#standing(client, move.type);
      const { stage, share } = move.from;
      const range = movingBuckets(move.from, move.to);
      if (standing.stage !== stage || standing.share !== share || range === undefined)
        return "over";
      const { rows } = await client.query<{ epoch: string }>(
        `UPDATE banyan.rollouts SET held_from = $3, held_to = $4, held_reads = $6, epoch = epoch + 1,
                held_until = clock_timestamp() + $5 * interval '1 ms'
          WHERE pipeline = $1 AND stream_type = $2 RETURNING epoch::text`,
        [this.#pipeline, move.type, range.from, range.to, move.holdMs, sideBefore(move)],
      );
      const held = await this.#step(client, move, "held", Number(rows[0]!.epoch));
      await this.#log(client, held, "writes held back", { ...range, holdMs: move.holdMs });
      return held;
    });
  }

  async proxies(type: string): Promise<readonly ProxyNote[]> {
    const rows = await this.#query<{
      instance: string;
      place: string;
      epoch: string;
      knows: string;
      age_ms: number;
    }>(
      `SELECT instance::text, place, epoch::text, knows::text,
              extract(epoch FROM clock_timestamp() - seen_at)::float8 * 1000 AS age_ms
         FROM banyan.proxies WHERE pipeline = $1 AND stream_type = $2 ORDER BY place, instance`,
      [this.#pipeline, type],
    );
    return rows.map(({ instance, place, epoch, knows, age_ms }) => ({
      instance,
      place,
      epoch: Number(epoch),
      knows: Number(knows),
      ageMs: age_ms,
    }));
  }

  switchOver(move: Move, then: "end" | "keep-hold"): Promise<Move | "over"> {
    const isHeld = movingBuckets(move.from, move.to) !== undefined && move.kind !== "complete";
    return this.#switch(move, move.to, then, isHeld, async (client, epoch) => {
      const what = `${move.kind} ${then === "end" ? "done" : "switched"}`;
      const moved =
        then === "end"
          ? await this.#end(client, move, epoch, "done", undefined)
          : await this.#step(client, move, "switched", epoch);
      const { from, to, forced, without } = move;
      await this.#log(client, moved, what, { from, to, forced, without });
      return moved;
    });
  }

  turn(move: Move): Promise<Move | "over"> {
    return this.#transaction(`giving reads of ${move.type} back to legacy`, async (client) => {
      const ended = await this.#own(client, move, "also-ended");
      if (ended !== undefined) return ended;
      const { rows } = await client.query<{ epoch: string }>(
        `UPDATE banyan.rollouts SET held_reads = 'legacy', epoch = epoch + 1
          WHERE pipeline = $1 AND stream_type = $2 AND epoch = $3 AND held_until IS NOT NULL RETURNING epoch::text`,
        [this.#pipeline, move.type, move.epoch],
      );
      if (rows[0] === undefined) return "over";
      const turned = await this.#step(client, move, "turned", Number(rows[0].epoch));
      await this.#log(client, turned, "reads back at legacy", {});
      return turned;
    });
  }

  switchBack(move: Move, reason: string): Promise<Move | "over"> {
    // By the clock as well: behind the switch nobody has ended the hold without going back.
    return this.#switch(move, move.from, "end", false, async (client, epoch) => {
      const undone = await this.#end(client, move, epoch, "undone", reason);
      await this.#log(client, undone, `${move.kind} switched back`, { reason });
      return undone;
    });
  }

  end(move: Move, outcome: MoveOutcome, reason: string | undefined): Promise<Move> {
    return this.#transaction(`ending the move of ${move.type}`, async (client) => {
      const ended = await this.#own(client, move, "also-ended");
      if (ended !== undefined) return ended;
      const { rows } = await client.query<{ epoch: string }>(
        `UPDATE banyan.rollouts
            SET held_from = NULL, held_to = NULL, held_until = NULL, held_reads = NULL, epoch = epoch + 1
          WHERE pipeline = $1 AND stream_type = $2 AND epoch = $3 AND held_until IS NOT NULL RETURNING epoch::text`,
        [this.#pipeline, move.type, move.epoch],
      );
      const epoch = Number(rows[0]?.epoch ?? move.epoch);
      const over = await this.#end(client, move, epoch, outcome, reason);
      await this.#log(
        client,
        over,
        `${move.kind} ${outcome}`,
        reason === undefined ? {} : { reason },
      );
      return over;
    });
  }

  pause(type: string, paused: boolean, who: string, why: string): Promise<boolean> {
    return this.#transaction(`pausing ${type}`, async (client) => {
      const { rows } = await client.query<{ epoch: string; under_way: boolean }>(
        `UPDATE banyan.rollouts SET paused = $3, epoch = epoch + 1
          WHERE pipeline = $1 AND stream_type = $2 AND stage <> 'complete'
         RETURNING epoch::text, EXISTS (
           SELECT FROM banyan.moves m WHERE m.pipeline = $1 AND m.stream_type = $2 AND m.ended_at IS NULL) AS under_way`,
        [this.#pipeline, type, paused],
      );
      const [row] = rows;
      if (row === undefined) return false;
      // The move under way would find another epoch than its own.
      if (row.under_way) throw await this.#busy(client, type, UNMOVED);
      const what = paused ? "paused" : "resumed";
      await client.query(LOG, [this.#pipeline, type, who, what, why, row.epoch, {}]);
      return true;
    });
  }

  async moves(limit: number): Promise<readonly Move[]> {
    const rows = await this.#query<MoveRow>(
      `SELECT ${MOVE_COLUMNS} FROM banyan.moves WHERE pipeline = $1
        ORDER BY ended_at IS NOT NULL, banyan.moves.id DESC LIMIT $2`,
      [this.#pipeline, limit],
    );
    return rows.map(moveOf);
  }

  async log(type: string | undefined, limit: number): Promise<readonly LogEntry[]> {
    const rows = await this.#query<
      Omit<LogEntry, "at" | "epoch"> & { readonly at: Date; readonly epoch: string }
    >(
      `SELECT id::text, stream_type AS type, at, who, what, why, epoch::text, detail FROM banyan.rollout_log
        WHERE pipeline = $1 AND ($2::text IS NULL OR stream_type = $2) ORDER BY banyan.rollout_log.id DESC LIMIT $3`,
      [this.#pipeline, type, limit],
    );
    return rows.map((row) => ({ ...row, at: row.at.toISOString(), epoch: Number(row.epoch) }));
  }

  async close(): Promise<void> {
    await closePool(this.#pool);
  }

  /** Changes stage and share under the lock that appends are held to, unless the epoch or the hold is over. */
  async #switch(
    move: Move,
    to: Standing,
    then: "end" | "keep-hold",
    isHeld: boolean,
    write: (client: pg.PoolClient, epoch: number) => Promise<Move>,
  ): Promise<Move | "over"> {
    const doing = `switching ${move.type} to ${describeStanding(to)}`;
    const waitMs = Math.min(AUTHORITY_MS_MAX, move.holdMs);
    const whenLocked = `${doing}: appends of services held the authority too long`;
    const work = async (client: pg.PoolClient): Promise<Move | "over"> => {
      // Who waits for the lock holds up every append behind it.
      await client.query("SELECT set_config('lock_timeout', $1, true)", [`${waitMs}`]);
      await client.query("SELECT banyan.lock_authority($1, $2)", [this.#pipeline, move.type]);
      const ended = await this.#own(client, move, "also-ended");
      if (ended !== undefined) return ended;
      const { rows } = await client.query<{ epoch: string }>(
        `UPDATE banyan.rollouts SET stage = $4, share = $5, epoch = epoch + 1, changed_at = clock_timestamp(),
                held_from = CASE WHEN $6 THEN held_from END, held_to = CASE WHEN $6 THEN held_to END,
                held_until = CASE WHEN $6 THEN held_until END, held_reads = CASE WHEN $6 THEN 'new' END
          WHERE pipeline = $1 AND stream_type = $2 AND epoch = $3
            AND (held_until > clock_timestamp() OR NOT $7) RETURNING epoch::text`,
        [this.#pipeline, move.type, move.epoch, to.stage, to.share, then === "keep-hold", isHeld],
      );
      return rows[0] === undefined ? "over" : await write(client, Number(rows[0].epoch));
    };
    return await this.#transaction(doing, work, whenLocked);
  }

  /**
   * Locks the move for its driver.
   *
   * @returns the move when it has ended and that is fine
   * @throws BanyanError `ROLLOUT_BUSY`
   */
  async #own(client: pg.PoolClient, move: Move, also?: "also-ended"): Promise<Move | undefined> {
    const { rows } = await client.query<MoveRow>(
      `SELECT ${MOVE_COLUMNS} FROM banyan.moves WHERE id = $1 FOR UPDATE`,
      [move.id],
    );
    const found = rows[0] && moveOf(rows[0]);
    if (found === undefined || found.driver !== move.driver) throw relieved(move);
    if (found.endedAt !== undefined) {
      if (also === "also-ended") return found;
      throw relieved(move);
    }
    if (found.epoch !== move.epoch) throw stale(move, found.step);
    return undefined;
  }

  async #standing(
    client: pg.PoolClient,
    type: string,
  ): Promise<Standing & { readonly epoch: number }> {
    const { rows } = await client.query<Standing & { readonly epoch: string }>(
      "SELECT stage, share, epoch::text FROM banyan.rollouts WHERE pipeline = $1 AND stream_type = $2 FOR UPDATE",
      [this.#pipeline, type],
    );
    return { ...rows[0]!, epoch: Number(rows[0]!.epoch) };
  }

  async #step(
    client: pg.PoolClient,
    move: Move,
    step: MoveStep,
    epoch: number,
    fence: string | undefined = move.fence,
  ): Promise<Move> {
    const { rows } = await client.query<MoveRow>(STEP, [move.id, step, epoch, fence]);
    return moveOf(rows[0]!);
  }

  async #end(
    client: pg.PoolClient,
    move: Move,
    epoch: number,
    outcome: MoveOutcome,
    reason: string | undefined,
  ): Promise<Move> {
    const { rows } = await client.query<MoveRow>(END, [move.id, move.step, epoch, outcome, reason]);
    return moveOf(rows[0]!);
  }

  async #busy(client: pg.PoolClient, type: string, from: Standing): Promise<Error> {
    const { rows } = await client.query<MoveRow & { readonly silent_ms: number }>(
      `SELECT ${MOVE_COLUMNS}, extract(epoch FROM clock_timestamp() - touched_at)::float8 * 1000 AS silent_ms
         FROM banyan.moves WHERE pipeline = $1 AND stream_type = $2 AND ended_at IS NULL`,
      [this.#pipeline, type],
    );
    const [row] = rows;
    if (row === undefined) return changed(type, from, undefined);
    return busy(moveOf(row), row.silent_ms);
  }

  async #log(client: pg.PoolClient, move: Move, what: string, detail: object): Promise<void> {
    const values = [this.#pipeline, move.type, move.who, what, move.why, move.epoch];
    await client.query(LOG, [...values, { move: move.id, ...detail }]);
  }

  /** @param whenLocked what is said of one that waited for a lock in vain */
  async #transaction<T>(
    doing: string,
    work: (client: pg.PoolClient) => Promise<T>,
    whenLocked = doing,
  ): Promise<T> {
    let client: pg.PoolClient | undefined;
    try {
      client = await this.#pool.connect();
      await client.query("BEGIN");
      const result = await work(client);
      await client.query("COMMIT");
      client.release();
      return result;
    } catch (error) {
      // A session in an unknown state is not used again.
      if (client !== undefined) await giveBack(client);
      throw classifyStore(error, sqlstateOf(error) === LOCK_NOT_AVAILABLE ? whenLocked : doing);
    }
  }

  async #query<R extends object>(sql: string, values: readonly unknown[]): Promise<R[]> {
    try {
      return (await this.#pool.query<R>(sql, [...values])).rows;
    } catch (error) {
      throw classifyStore(error, "asking about moves");
    }
  }
}

/** Who answers reads of the moving buckets until the switch. */
function sideBefore({ kind }: Move): Side {
  return kind === "rollback" ? "new" : "legacy";
}

async function giveBack(client: pg.PoolClient): Promise<void> {
  const failed = await client.query("ROLLBACK").then(
    () => undefined,
    (error: unknown) => error as Error,
  );
  client.release(failed ?? false);
}

/** Sessions for moves: of the store, and for short statements. */
export async function openRolloutPool(url: string): Promise<pg.Pool> {
  return openPool(await resolveStoreUrl(url), SESSIONS_MAX);
}
