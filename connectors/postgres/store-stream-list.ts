import type pg from "pg";
import type { ListedStream } from "../../src/store/event-store.ts";

/** A page of streams along the unique index of stream and version. */
export async function listStreams(
  pool: pg.Pool,
  streamType: string,
  after: string | undefined,
  limit: number,
): Promise<readonly ListedStream[]> {
  const begins = after === undefined ? ">=" : ">";
  // Not prepared: a plan for any limit would sort all streams first.
  const { rows } = await pool.query<ListedStream>({
    text: `SELECT stream_id AS stream, bool_or(mapping_version IS NOT NULL) AS "isCaptured" FROM banyan.events
            WHERE stream_id ${begins} $1 COLLATE "C" AND stream_id < $2 COLLATE "C"
            GROUP BY stream_id ORDER BY stream_id LIMIT $3`,
    values: [after ?? `${streamType}-`, `${streamType}.`, limit],
  });
  return rows;
}
