import { ShortSession } from "./short-session.ts";
import type { TrafficLog } from "../../src/rollout/traffic-log.ts";
import type { TrafficRow } from "../../src/rollout/traffic.ts";
import { steadyNowMs } from "../../src/runtime/steady-clock.ts";

/** Seconds are the store's, where the proxy's clock is further off than one. Each column in one array; `slower` as text, because unnest takes lists of lists apart to the last. */
const WRITE = `
  INSERT INTO banyan.traffic (pipeline, instance, second, stream_type, route, side, requests, errors, millis, slower,
                              compared, different, uncompared, dropped)
  SELECT $1, $2::uuid, to_timestamp(second) + shift, type, route, side, requests, errors, millis, slower::int[],
         compared, different, uncompared, dropped
    FROM unnest($3::float8[], $4::text[], $5::text[], $6::text[], $7::int[], $8::int[], $9::float8[], $10::text[],
                $11::int[], $12::int[], $13::int[], $14::int[])
      AS counted (second, type, route, side, requests, errors, millis, slower, compared, different, uncompared, dropped),
         (SELECT CASE WHEN abs(seconds) > 1 THEN seconds * interval '1 second' ELSE '0' END AS shift
            FROM (SELECT round(extract(epoch FROM clock_timestamp() - $15::timestamptz)) AS seconds) o) s
  ON CONFLICT (pipeline, second, stream_type, route, side, instance) DO NOTHING`;

/** Table banyan.traffic of the store, in a session of its own. */
export class PostgresTrafficLog implements TrafficLog {
  readonly #pipeline: string;
  readonly #session: ShortSession;
  readonly #nowMs: () => number;

  /** @param pipeline name of the migration @param nowMs the clock that seconds were counted by */
  constructor(url: string, pipeline: string, nowMs: () => number = steadyNowMs) {
    this.#pipeline = pipeline;
    this.#nowMs = nowMs;
    this.#session = new ShortSession(url);
  }

  async write(instance: string, rows: readonly TrafficRow[]): Promise<void> {
    const column = <T>(of: (row: TrafficRow) => T): readonly T[] => rows.map(of);
    await this.#session.query("writing traffic", WRITE, [
      this.#pipeline,
      instance,
      column(({ second }) => second),
      column(({ type }) => type),
      column(({ route }) => route),
      column(({ side }) => side),
      column(({ requests }) => requests),
      column(({ errors }) => errors),
      column(({ millis }) => millis),
      column(({ slower }) => `{${slower.join(",")}}`),
      column(({ compared }) => compared),
      column(({ different }) => different),
      column(({ uncompared }) => uncompared),
      column(({ dropped }) => dropped),
      new Date(this.#nowMs()),
    ]);
  }

  close(): Promise<void> {
    return this.#session.close();
  }
}
