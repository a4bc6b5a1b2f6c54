import { ShortSession } from "./short-session.ts";
import type { ProxyPlace, RolloutState } from "../../src/rollout/rollout-state.ts";
import type { Rollout, Stage } from "../../src/rollout/stage.ts";

interface Row {
  readonly stream_type: string;
  readonly stage: Stage;
  readonly share: number;
  readonly salt: string;
  readonly epoch: string;
  readonly held_from: number | null;
  readonly held_to: number | null;
  readonly left_ms: number | null;
}

const READ = `
  SELECT stream_type, stage, share, salt, epoch::text, held_from, held_to,
         extract(epoch FROM held_until - clock_timestamp())::float8 * 1000 AS left_ms
    FROM banyan.rollouts WHERE pipeline = $1`;

const ACKNOWLEDGE = `
  INSERT INTO banyan.proxies AS p (pipeline, instance, place, stream_type, epoch, seen_at)
  SELECT $1, $2::uuid, $3, type, epoch, clock_timestamp()
    FROM unnest($4::text[], $5::bigint[]) AS said (type, epoch) ORDER BY type
  ON CONFLICT (pipeline, stream_type, instance) DO UPDATE
     SET epoch = greatest(p.epoch, excluded.epoch), seen_at = excluded.seen_at, place = excluded.place`;

const LEAVE = `DELETE FROM banyan.proxies WHERE pipeline = $1 AND instance = $2::uuid`;

const END_HOLD = `
  WITH ended AS (
    UPDATE banyan.rollouts
       SET held_from = NULL, held_to = NULL, held_until = NULL, epoch = epoch + 1, changed_at = clock_timestamp()
     WHERE pipeline = $1 AND stream_type = $2 AND epoch = $3 AND held_until < clock_timestamp()
    RETURNING epoch)
  INSERT INTO banyan.rollout_log (pipeline, stream_type, who, what, why, epoch)
  SELECT $1, $2, $4, 'hold ended', 'it was over by the clock', epoch FROM ended
  RETURNING epoch`;

const EXISTING = `
  SELECT id FROM unnest($1::text[]) AS asked (id)
   WHERE EXISTS (SELECT FROM banyan.events e WHERE e.stream_id = asked.id)`;

/**
 * Tables banyan.rollouts and banyan.proxies of the store. What is read is in a session of its own, so that
 * it never waits behind what is written.
 */
export class PostgresRolloutState implements RolloutState {
  readonly #pipeline: string;
  readonly #reading: ShortSession;
  readonly #saying: ShortSession;

  /** @param pipeline name of the migration */
  constructor(url: string, pipeline: string) {
    this.#pipeline = pipeline;
    this.#reading = new ShortSession(url);
    this.#saying = new ShortSession(url);
  }

  async read(): Promise<ReadonlyMap<string, Rollout>> {
    const rows = await this.#reading.query<Row>("reading the rollout", READ, [this.#pipeline]);
    return new Map(rows.map((row) => [row.stream_type, rolloutOf(row)]));
  }

  async acknowledge(
    { instance, place }: ProxyPlace,
    epochs: ReadonlyMap<string, number>,
  ): Promise<void> {
    const said = [[...epochs.keys()], [...epochs.values()]];
    const values = [this.#pipeline, instance, place, ...said];
    await this.#saying.query("acknowledging the rollout", ACKNOWLEDGE, values);
  }

  async leave({ instance }: ProxyPlace): Promise<void> {
    await this.#saying.query("leaving the rollout", LEAVE, [this.#pipeline, instance]);
  }

  async endHold(type: string, epoch: number, who: string): Promise<boolean> {
    const values = [this.#pipeline, type, epoch, who];
    return (await this.#saying.query("ending a hold", END_HOLD, values)).length > 0;
  }

  async existing(streams: readonly string[]): Promise<ReadonlySet<string>> {
    const rows = await this.#saying.query<{ id: string }>("looking for streams", EXISTING, [
      streams,
    ]);
    return new Set(rows.map(({ id }) => id));
  }

  async close(): Promise<void> {
    await Promise.all([this.#reading.close(), this.#saying.close()]);
  }
}

function rolloutOf({ stage, share, salt, epoch, ...held }: Row): Rollout {
  const rollout = { stage, share, salt, epoch: Number(epoch) };
  if (held.held_from === null || held.held_to === null || held.left_ms === null) return rollout;
  return { ...rollout, hold: { from: held.held_from, to: held.held_to, leftMs: held.left_ms } };
}
