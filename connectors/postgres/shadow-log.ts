import type pg from "pg";
import { disconnect } from "./session.ts";
import { classify } from "./sqlstate.ts";
import { openSession, resolveStoreUrl } from "./store-session.ts";
import {
  SAMPLES_PER_ROUTE_MAX,
  type ShadowLog,
  type ShadowSample,
  type ShadowWrite,
} from "../../src/rollout/shadow-log.ts";

/** A statement that takes longer is not waited for; the session is made anew. */
const STATEMENT_MS_MAX = 5_000;

/** Times are by the store's clock, as what they are compared with, where the proxy's is more than a second off. */
const ADD_WRITES = `
  INSERT INTO banyan.shadow_writes (pipeline, correlation_id, stream_type, stream_id, route, legacy_status, new_status, asked_at, answered_at)
  SELECT $1, id, type, stream, route, legacy, new, asked + shift, answered + shift
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::int[], $7::int[], $8::timestamptz[], $9::timestamptz[])
           AS w (id, type, stream, route, legacy, new, asked, answered),
         (SELECT CASE WHEN abs(extract(epoch FROM off)) > 1 THEN off ELSE '0' END AS shift
            FROM (SELECT clock_timestamp() - $10::timestamptz AS off) o) s
  ON CONFLICT (pipeline, correlation_id) DO NOTHING`;

const ADD_SAMPLES = `
  INSERT INTO banyan.shadow_samples (pipeline, stream_type, route, target, differences, seen_at)
  SELECT $1, type, route, target, differences, seen_at
    FROM unnest($2::text[], $3::text[], $4::text[], $5::jsonb[], $6::timestamptz[]) WITH ORDINALITY
      AS sample (type, route, target, differences, seen_at, n) ORDER BY n`;

const TRIM_SAMPLES = `
  DELETE FROM banyan.shadow_samples s
   USING (SELECT id, row_number() OVER (PARTITION BY stream_type, route ORDER BY id DESC) AS place
            FROM banyan.shadow_samples WHERE pipeline = $1) placed
   WHERE s.id = placed.id AND placed.place > $2`;

/** Tables banyan.shadow_writes and banyan.shadow_samples of the store, in a session that is made when it is needed. */
export class PostgresShadowLog implements ShadowLog {
  readonly #url: string;
  readonly #pipeline: string;
  #session: Promise<pg.Client> | undefined;

  /** @param pipeline name of the migration */
  constructor(url: string, pipeline: string) {
    this.#url = url;
    this.#pipeline = pipeline;
  }

  async add(writes: readonly ShadowWrite[], samples: readonly ShadowSample[]): Promise<void> {
    const session = (this.#session ??= resolveStoreUrl(this.#url).then(openSession));
    try {
      const client = await session;
      await run(client, "BEGIN");
      if (writes.length > 0)
        await run(client, ADD_WRITES, [this.#pipeline, ...columnsOf(writes), new Date()]);
      if (samples.length > 0) {
        await run(client, ADD_SAMPLES, [this.#pipeline, ...sampleColumnsOf(samples)]);
        await run(client, TRIM_SAMPLES, [this.#pipeline, SAMPLES_PER_ROUTE_MAX]);
      }
      await run(client, "COMMIT");
    } catch (error) {
      // The transaction ends with its session.
      await this.close();
      throw classify(error, "store", "storing what was seen in shadow");
    }
  }

  async close(): Promise<void> {
    const session = this.#session;
    this.#session = undefined;
    const client = await session?.catch(() => undefined);
    if (client !== undefined) await disconnect(client);
  }
}

async function run(
  client: pg.Client,
  text: string,
  values: readonly unknown[] = [],
): Promise<void> {
  await client.query({
    text,
    values: [...values],
    query_timeout: STATEMENT_MS_MAX,
  } as pg.QueryConfig);
}

function columnsOf(writes: readonly ShadowWrite[]): readonly unknown[] {
  return [
    writes.map(({ correlationId }) => correlationId),
    writes.map(({ streamType }) => streamType),
    writes.map(({ streamId }) => streamId ?? null),
    writes.map(({ route }) => route),
    writes.map(({ legacyStatus }) => legacyStatus ?? null),
    writes.map(({ newStatus }) => newStatus ?? null),
    writes.map(({ askedAt }) => askedAt),
    writes.map(({ answeredAt }) => answeredAt),
  ];
}

function sampleColumnsOf(samples: readonly ShadowSample[]): readonly unknown[] {
  return [
    samples.map(({ streamType }) => streamType),
    samples.map(({ route }) => route),
    samples.map(({ target }) => target),
    samples.map(({ differences }) => JSON.stringify(differences)),
    samples.map(({ seenAt }) => seenAt),
  ];
}
