import type pg from "pg";
import { streamParts } from "../../src/store/append-rules.ts";
import type { HeldClaim, ServiceAppend } from "../../src/store/service-store.ts";

/**
 * Beside what an append adds. Parameters 1, 2 and 4 are pipeline, stream type and stream, 5 the version
 * decided on, 6 the event ids; then 16 and 17 are columns and values, of which NULL releases.
 *
 * What another stream has claimed fails on the key, and the events with it. In the order of the columns, so
 * that two appends that claim several values do not wait for each other.
 */
export const CLAIMING = `
       claims AS MATERIALIZED (
         SELECT k.name, k.value FROM unnest($16::text[], $17::text[]) AS k(name, value) WHERE EXISTS (SELECT FROM added)),
       released AS (
         DELETE FROM banyan.claims c USING claims k
          WHERE c.pipeline = $1 AND c.stream_id = $4 AND c.column_name = k.name AND k.value IS NULL),
       claimed AS (
         INSERT INTO banyan.claims (pipeline, stream_type, stream_id, column_name, value, version)
         SELECT $1, $2, $4, k.name, k.value, $5 + cardinality($6::uuid[])
           FROM claims k WHERE k.value IS NOT NULL ORDER BY k.name
         ON CONFLICT (pipeline, stream_id, column_name) DO UPDATE SET value = excluded.value, version = excluded.version)`;

const HELD = `
  SELECT c.stream_id AS stream, c.column_name AS "column", c.version
    FROM unnest($4::text[], $5::text[]) AS k(name, value)
    JOIN banyan.claims c ON c.pipeline = $1 AND c.stream_type = $2 AND c.column_name = k.name AND c.value = k.value
   WHERE c.stream_id <> $3 ORDER BY c.column_name LIMIT 1`;

const RELEASE = `
  DELETE FROM banyan.claims WHERE pipeline = $1 AND stream_id = $2 AND column_name = $3 AND version = $4`;

type Queryable = Pick<pg.Pool, "query">;

/** Parameters 16 and 17. */
export function claimColumns({ claims = [] }: ServiceAppend): [string[], (string | null)[]] {
  return [claims.map(({ column }) => column), claims.map(({ value }) => value ?? null)];
}

/** Who has claimed one of the values; undefined when it was released meanwhile. */
export async function holderOf(
  db: Queryable,
  request: ServiceAppend,
): Promise<HeldClaim | undefined> {
  const { pipeline, stream } = request;
  const values = [pipeline, streamParts(stream)[0], stream, ...claimColumns(request)];
  const text = { name: "banyan-claim-holder", text: HELD, values };
  return (await db.query<{ stream: string; column: string; version: number }>(text)).rows[0];
}

export async function releaseClaim(
  db: Queryable,
  pipeline: string,
  { stream, column, version }: HeldClaim,
): Promise<void> {
  const values = [pipeline, stream, column, version];
  await db.query({ name: "banyan-release-claim", text: RELEASE, values });
}
