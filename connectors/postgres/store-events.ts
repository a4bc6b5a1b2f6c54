import type pg from "pg";
import { EVENT_COLUMNS, EVENT_TABLES, recordedEvent, type EventRow } from "./store-rows.ts";
import { invariant } from "../../src/model/errors.ts";
import type { RecordedEvent } from "../../src/model/event.ts";
import type { FeedCursor, FeedPage } from "../../src/store/event-store.ts";

const FEED_EVENTS_MAX = 10_000;
/** Pages of one stream: so many events, and about so much data once the size of an event is known. */
const PAGE_EVENTS_FIRST = 100;
const PAGE_EVENTS_MAX = 2_000;
const PAGE_LENGTH = 8 * 1024 * 1024;
const VERSION_MAX = 2 ** 31 - 1;

/** See `EventStore.readStream`. A page is read when the consumer has used up the one before. */
export async function* readStreamPages(
  pool: pg.Pool,
  stream: string,
  range: { readonly fromVersion?: number; readonly toVersion?: number },
): AsyncGenerator<RecordedEvent, void, void> {
  let next = range.fromVersion ?? 1;
  const last = range.toVersion ?? VERSION_MAX;
  let limit = PAGE_EVENTS_FIRST;
  for (;;) {
    const { rows } = await pool.query<EventRow>(
      `SELECT ${EVENT_COLUMNS} FROM ${EVENT_TABLES}
        WHERE e.stream_id = $1 AND e.version BETWEEN $2 AND $3 ORDER BY e.version LIMIT $4`,
      [stream, next, last, limit],
    );
    let lengthMax = 1;
    for (const row of rows) {
      lengthMax = Math.max(lengthMax, row.data.length);
      yield recordedEvent(row);
    }
    if (rows.length < limit) return;
    next = rows.at(-1)!.version + 1;
    limit = Math.min(PAGE_EVENTS_MAX, Math.max(1, Math.floor(PAGE_LENGTH / lengthMax)));
  }
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
    `SELECT ${EVENT_COLUMNS} FROM ${EVENT_TABLES}
      WHERE (e.transaction_id, e.position) > ($1::text::xid8, $2::bigint)
        AND e.transaction_id < (SELECT (pg_snapshot_xmin(pg_current_snapshot())::text::bigint + base)::text::xid8
                                  FROM banyan.transaction_base)
      ORDER BY e.transaction_id, e.position LIMIT $3`,
    [...cursorParts(after), limit],
  );
  const last = rows.at(-1);
  const next =
    last === undefined ? after : (`${last.transaction_id}/${last.position}` as FeedCursor);
  return { events: rows.map(recordedEvent), next };
}

function cursorParts(cursor: FeedCursor | undefined): [string, string] {
  if (cursor === undefined) return ["0", "0"];
  const match = /^(\d{1,20})\/(\d{1,19})$/.exec(cursor);
  invariant(match !== null, `"${cursor}" is no cursor of this store`);
  return [match[1]!, match[2]!];
}
