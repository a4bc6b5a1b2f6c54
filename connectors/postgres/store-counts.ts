import type pg from "pg";
import { FEED_END } from "./store-events.ts";
import type { EventCounts } from "../../src/store/parity-store.ts";

/** All in one statement: a ledger and the events that it tells of are written by one transaction. */
const COUNT = `
  WITH place AS MATERIALIZED (SELECT ${FEED_END} AS counted_to),
       known AS MATERIALIZED (SELECT counted_to, events, settled FROM banyan.parity_counts),
       late AS MATERIALIZED (
         SELECT count(*) AS events, count(*) FILTER (WHERE transaction_id < (SELECT counted_to FROM place)) AS closed
           FROM (SELECT transaction_id, origin FROM banyan.events
                  WHERE transaction_id >= coalesce((SELECT counted_to FROM known), '0') OFFSET 0) e
          WHERE origin IN ('baseline', 'capture')),
       kept AS (
         INSERT INTO banyan.parity_counts AS c (counted_to, events)
         SELECT place.counted_to, coalesce(known.events, 0) + late.closed FROM place CROSS JOIN late LEFT JOIN known ON true
         ON CONFLICT (singleton) DO UPDATE SET counted_to = excluded.counted_to, events = excluded.events
          WHERE excluded.counted_to > c.counted_to)
  SELECT (coalesce(known.events, 0) + late.events)::float8 AS stored, coalesce(known.settled, 0)::float8 AS settled,
         (SELECT coalesce(sum(events), 0)::float8 FROM banyan.pipelines) AS told
    FROM late LEFT JOIN known ON true`;

/** See `ParityStore.countEvents`. Events of before the place up to which they were counted are not read again. */
export async function countEvents(client: Pick<pg.Pool, "query">): Promise<EventCounts> {
  const { rows } = await client.query<EventCounts>(COUNT);
  return rows[0]!;
}

export async function settleEvents(client: Pick<pg.Pool, "query">): Promise<void> {
  const { stored, told } = await countEvents(client);
  await client.query("UPDATE banyan.parity_counts SET settled = $1", [stored - told]);
}
