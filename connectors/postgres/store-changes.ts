import type pg from "pg";
import { FEED_END } from "./store-events.ts";
import { ofStreamType } from "./store-fold.ts";
import type { StreamChanges } from "../../src/store/parity-store.ts";

/** No transaction that has written by now has this number, or a higher one. */
const STORED_END =
  "(SELECT (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base)::text::xid8 FROM banyan.transaction_base)";

/** See `ParityStore.changedSince`. Events are found by their transaction, whatever else is asked. */
export async function readChanges(
  client: Pick<pg.Pool, "query">,
  streamTypes: readonly string[],
  since: string | undefined,
  limit: number,
): Promise<StreamChanges> {
  const isWanted = streamTypes.map((type) => `(${ofStreamType(type)})`).join(" OR ");
  const { rows } = await client.query<StreamChanges>(
    `WITH feed AS MATERIALIZED (SELECT ${FEED_END} AS place, ${STORED_END} AS stored),
          changed AS MATERIALIZED (
            SELECT DISTINCT stream_id
              FROM (SELECT stream_id FROM banyan.events
                     WHERE transaction_id >= coalesce($1::text::xid8, (SELECT place FROM feed))
                       AND transaction_id < (SELECT place FROM feed) OFFSET 0) late
             WHERE ${isWanted === "" ? "false" : isWanted})
     SELECT place::text, stored::text AS end, (SELECT count(*)::int FROM changed) AS total,
            ARRAY(SELECT stream_id FROM changed LIMIT $2) AS streams
       FROM feed`,
    [since, limit],
  );
  return rows[0]!;
}
