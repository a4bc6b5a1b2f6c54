import type pg from "pg";
import { EVENT_COLUMNS, recordedEvent, type EventRow } from "./store-rows.ts";
import { invariant } from "../../src/model/errors.ts";
import type { RecordedEvent } from "../../src/model/event.ts";
import type { FeedCursor, FeedPage } from "../../src/store/event-store.ts";

const FEED_EVENTS_MAX = 10_000;
const STREAM_PAGE_EVENTS_MAX = 2_000;
/**
 * A page ends after the event with which its data reaches this. Measured as the server keeps it,
 * perhaps compressed, because that costs it no look at the data.
 */
export const PAGE_BYTES_MAX = 4 * 1024 * 1024;
export const VERSION_MAX = 2 ** 31 - 1;

/** Transactions below are over, so what they wrote is there for good: where the feed of events ends. */
export const FEED_END =
  "(SELECT (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + base)::text::xid8 FROM banyan.transaction_base)";

/** See `EventStore.readStream`. A page is read when the consumer has used up the one before. */
export async function* readStreamPages(
  pool: pg.Pool,
  stream: string,
  range: { readonly fromVersion?: number; readonly toVersion?: number },
): AsyncGenerator<RecordedEvent, void, void> {
  const last = range.toVersion ?? VERSION_MAX;
  for (let next = range.fromVersion ?? 1; next <= last;) {
    const { rows } = await pool.query<EventRow>(
      page("e.stream_id = $1 AND e.version BETWEEN $2 AND $3", "e.version", "$4"),
      [stream, next, last, STREAM_PAGE_EVENTS_MAX],
    );
    if (rows.length === 0) return;
    for (const row of rows) yield recordedEvent(row);
    next = rows.at(-1)!.version + 1;
  }
}

/** Selects the next events in an order, whole, as many as a page holds and at least one. */
function page(where: string, order: string, limit: string): string {
  return `
    SELECT ${EVENT_COLUMNS} FROM (
        SELECT e.*, sum(pg_column_size(e.data)) OVER (ORDER BY ${order}) - pg_column_size(e.data) AS bytes_before
          FROM (SELECT * FROM banyan.events e WHERE ${where} ORDER BY ${order} LIMIT ${limit}) e) e
      LEFT JOIN banyan.sources s ON s.id = e.source_id
     WHERE e.bytes_before < ${PAGE_BYTES_MAX} ORDER BY ${order}`;
}

/**
 * See `EventStore.readAll`. Ordered by transaction and place in it, up to the oldest transaction that
 * is still open: one that commits later can then never lie before what was shown.
 */
export async function readFeed(
  pool: pg.Pool,
  after: FeedCursor | undefined,
  limit: number,
): Promise<FeedPage> {
  invariant(
    Number.isInteger(limit) && limit >= 1 && limit <= FEED_EVENTS_MAX,
    `a page holds 1 to ${FEED_EVENTS_MAX} events, not ${limit}`,
  );
  const { rows } = await pool.query<EventRow>(
    page(
      `(e.transaction_id, e.position) > ($1::text::xid8, $2::bigint)
        AND e.transaction_id < ${FEED_END}`,
      "e.transaction_id, e.position",
      "$3",
    ),
    [...cursorParts(after), limit],
  );
  const last = rows.at(-1);
  const next =
    last === undefined ? after : (`${last.transaction_id}/${last.position}` as FeedCursor);
  return { events: rows.map(recordedEvent), next };
}

/** Transaction and place in it, of `(transaction_id, position) > …`. */
export function cursorParts(cursor: FeedCursor | undefined): [string, string] {
  if (cursor === undefined) return ["0", "0"];
  const match = /^(\d{1,20})\/(\d{1,19})$/.exec(cursor);
  invariant(match !== null, `"${cursor}" is no cursor of this store`);
  return [match[1]!, match[2]!];
}
