import { ShortSession } from "./short-session.ts";
import { holdOf, type StandingRow } from "./rollout-rows.ts";
import type { ProxyPlace, RolloutState } from "../../src/rollout/rollout-state.ts";
import type { Rollout } from "../../src/rollout/stage.ts";

type Row = Omit<StandingRow, "paused" | "changed_at">;

const READ = `
  SELECT stream_type, stage, share, salt, epoch::text, held_from, held_to, held_reads,
         extract(epoch FROM held_until - clock_timestamp())::float8 * 1000 AS left_ms
    FROM banyan.rollouts WHERE pipeline = $1`;

const ACKNOWLEDGE = `
  INSERT INTO banyan.proxies AS p (pipeline, instance, place, stream_type, epoch, knows, seen_at)
  SELECT $1, $2::uuid, $3, type, epoch, knows, clock_timestamp()
    FROM unnest($4::text[], $5::bigint[], $6::bigint[]) AS said (type, epoch, knows) ORDER BY type
  ON CONFLICT (pipeline, stream_type, instance) DO UPDATE
     SET epoch = greatest(p.epoch, excluded.epoch), knows = greatest(p.knows, excluded.knows), seen_at = excluded.seen_at, place = excluded.place`;

const LEAVE = `DELETE FROM banyan.proxies WHERE pipeline = $1 AND instance = $2::uuid`;

const END_HOLD = `
  SELECT banyan.end_hold($1, $2, $3, $4) IS NOT NULL AS has_ended`;

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
    knows: ReadonlyMap<string, number> = epochs,
  ): Promise<void> {
    const types = [...epochs.keys()];
    const said = [types, [...epochs.values()], types.map((type) => knows.get(type) ?? 0)];
    const values = [this.#pipeline, instance, place, ...said];
    await this.#saying.query("acknowledging the rollout", ACKNOWLEDGE, values);
  }

  async leave({ instance }: ProxyPlace): Promise<void> {
    await this.#saying.query("leaving the rollout", LEAVE, [this.#pipeline, instance]);
  }

  async endHold(type: string, epoch: number, who: string): Promise<boolean> {
    const values = [this.#pipeline, type, epoch, who];
    const [row] = await this.#saying.query<{ has_ended: boolean }>(
      "ending a hold",
      END_HOLD,
      values,
    );
    return row?.has_ended === true;
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
  const hold = holdOf(held);
  return hold === undefined ? rollout : { ...rollout, hold };
}
