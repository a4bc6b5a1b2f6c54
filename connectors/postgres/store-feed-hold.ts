import type pg from "pg";
import { FEED_END } from "./store-events.ts";
import type { FeedHold } from "../../src/store/event-store.ts";

const EVENTS_COUNTED_MAX = 10_000;
const HOLDERS_MAX = 10;

/** Events that readers do not see yet, see `readFeed`; the newest of them by the server's own 32 bits. */
const HIDDEN = `
  SELECT count(*)::int AS events, ((max(id) - (SELECT base FROM banyan.transaction_base)) % 4294967296)::text AS newest
    FROM (SELECT e.transaction_id::text::bigint AS id FROM banyan.events e
           WHERE e.transaction_id >= ${FEED_END}
           ORDER BY e.transaction_id LIMIT ${EVENTS_COUNTED_MAX}) hidden`;

/**
 * Transactions older than the newest of those. A transaction that has written holds a lock on its own
 * id, and who holds one is visible to every role; what it does only to some.
 */
const HOLDERS = `
  SELECT l.pid, coalesce(a.application_name, '') AS application, coalesce(a.state, '') AS state, a.datname AS database,
         (SELECT gid FROM pg_prepared_xacts p WHERE l.pid IS NULL AND p.transaction = l.transactionid) AS prepared,
         coalesce(extract(epoch FROM clock_timestamp() - coalesce(a.xact_start,
           (SELECT p.prepared FROM pg_prepared_xacts p WHERE p.transaction = l.transactionid))), 0)::int AS seconds
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
   WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
     AND age(l.transactionid) > age($1::text::xid)
   ORDER BY age(l.transactionid) DESC LIMIT ${HOLDERS_MAX}`;

interface Holder {
  readonly pid: number | null;
  readonly application: string;
  readonly state: string;
  readonly database: string | null;
  readonly prepared: string | null;
  readonly seconds: number;
}

/** See `EventStore.feedHold`. */
export async function readFeedHold(pool: pg.Pool): Promise<FeedHold | undefined> {
  const { rows } = await pool.query<{ events: number; newest: string | null }>(HIDDEN);
  const { events, newest } = rows[0]!;
  if (newest === null) return undefined;
  const { rows: holders } = await pool.query<Holder>(HOLDERS, [newest]);
  // They have ended since: the next look of a reader shows everything.
  if (holders.length === 0) return undefined;
  return {
    events,
    holders: holders.map((holder) => ({
      ...(holder.pid === null ? {} : { pid: holder.pid }),
      what: describe(holder),
      openSeconds: Math.max(0, holder.seconds),
    })),
  };
}

function describe({ pid, application, state, database, prepared }: Holder): string {
  const place = database === null ? "" : `, in database ${database}`;
  if (pid === null) return `prepared transaction ${prepared ?? "of another database"}${place}`;
  const who = application === "" ? "" : ` (${application})`;
  return `process ${pid}${who}${state === "" ? "" : ` ${state}`}${place}`;
}
