import { PAGE_BYTES_MAX } from "./store-events.ts";
import type { StreamRange } from "../../src/store/reverse-store.ts";

const EVENTS_PER_PAGE_MAX = 2_000;
/** Streams of one statement. */
const STREAMS_PER_PAGE_MAX = 500;

/**
 * Events of several streams, those of one range after the other, each in version order. A page ends as those
 * of `EventStore.readStream` do, and is read when the consumer has used up the one before.
 *
 * @param columns of `banyan.events e LEFT JOIN banyan.sources s`
 * @param ask runs a statement
 */
export async function* readRanges<
  Row extends { readonly stream_id: string; readonly version: number },
>(
  columns: string,
  ask: (sql: string, values: readonly unknown[]) => Promise<readonly Row[]>,
  ranges: readonly StreamRange[],
): AsyncGenerator<readonly Row[], void, void> {
  const sql = page(columns);
  let first = 0;
  /** Of the first range; of the others nothing was read. */
  let next = 0;
  while (first < ranges.length) {
    const some = ranges.slice(first, first + STREAMS_PER_PAGE_MAX);
    const rows = await ask(sql, [
      some.map(({ stream }) => stream),
      some.map(({ fromVersion }, i) => (i === 0 ? Math.max(fromVersion, next) : fromVersion)),
      some.map(({ toVersion }) => toVersion),
    ]);
    const last = rows.at(-1);
    if (last === undefined) {
      first += some.length;
      next = 0;
      continue;
    }
    yield rows;
    first += some.findIndex(({ stream }) => stream === last.stream_id);
    next = last.version + 1;
  }
}

function page(columns: string): string {
  return `
    SELECT ${columns}
      FROM (SELECT e.*, sum(pg_column_size(e.data)) OVER (ORDER BY e.n, e.version) - pg_column_size(e.data) AS bytes_before
              FROM (SELECT r.n, e.* FROM unnest($1::text[], $2::int[], $3::int[]) WITH ORDINALITY r (stream, first, last, n)
                     CROSS JOIN LATERAL (SELECT * FROM banyan.events e WHERE e.stream_id = r.stream AND e.version BETWEEN r.first AND r.last
                                          ORDER BY e.version LIMIT ${EVENTS_PER_PAGE_MAX}) e
                     ORDER BY r.n, e.version LIMIT ${EVENTS_PER_PAGE_MAX}) e) e
      LEFT JOIN banyan.sources s ON s.id = e.source_id
     WHERE e.bytes_before < ${PAGE_BYTES_MAX} ORDER BY e.n, e.version`;
}
