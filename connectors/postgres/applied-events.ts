import type { Ask } from "./catalogue.ts";
import { BanyanError } from "../../src/model/errors.ts";

/** The table is there once something may have been written back; asked in a way that needs no privilege. */
const READABLE = `
  SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS readable
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = 'banyan_reverse' AND c.relname = 'applied'`;

/**
 * Versions of the last events of a service that are in the rows, by stream, as whoever wrote them back
 * noted beside them in the same transaction.
 *
 * @param ask within the snapshot whose rows are meant
 * @throws BanyanError `SOURCE_NOT_READY` when the role may not read them
 */
export async function readApplied(
  ask: Ask,
  pipeline: string | undefined,
  streams: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  if (pipeline === undefined || streams.length === 0) return new Map();
  const doing = "asking what was written back";
  const [table] = await ask<{ readable: boolean }>(doing, READABLE, []);
  if (table === undefined) return new Map();
  if (!table.readable) {
    throw new BanyanError(
      "SOURCE_NOT_READY",
      "the role of the source may not read banyan_reverse.applied, which says what a service decided is in the rows",
      {
        hint: "Run in the source: GRANT USAGE ON SCHEMA banyan_reverse TO <role>; GRANT SELECT ON banyan_reverse.applied TO <role>",
      },
    );
  }
  const rows = await ask<{ stream_id: string; version: number }>(
    doing,
    `SELECT stream_id, version FROM banyan_reverse.applied
      WHERE pipeline = $1 AND stream_id = ANY ($2::text[])`,
    [pipeline, streams],
  );
  return new Map(rows.map(({ stream_id, version }) => [stream_id, version]));
}
