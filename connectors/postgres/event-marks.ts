import type pg from "pg";
import { classifyStore } from "./store-errors.ts";
import { FEED_END } from "./store-events.ts";
import type { EventMarks } from "../../src/rollout/event-marks.ts";

/** Events looked through, newest first, for the aggregates that changed. */
const EVENTS_LOOKED_MAX = 500_000;
/** Reverse sync says how far it is more often than this. */
const REVERSE_SILENT_SECONDS = 15;

const SEEN = `SELECT ${FEED_END}::text AS place`;

/** No transaction that has written by now has this number, or a higher one. */
const END = `
  SELECT (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base)::text AS place
    FROM banyan.transaction_base`;

const OF_TYPE = "stream_id >= $1 || '-' AND stream_id < $1 || '.'";

const SINCE_PLACE = `
  SELECT DISTINCT stream_id, false AS unclear
    FROM banyan.events WHERE transaction_id >= $2::text::xid8 AND ${OF_TYPE} LIMIT $3`;

/** Along the primary key, newest first. It is not clear when even the oldest of them is not old enough. */
const SINCE_TIME = `
  WITH newest AS MATERIALIZED (
         SELECT stream_id, recorded_time FROM banyan.events
          ORDER BY transaction_id DESC, position DESC LIMIT ${EVENTS_LOOKED_MAX}),
       unclear AS (
         SELECT count(*) = ${EVENTS_LOOKED_MAX} AND min(recorded_time) >= $2::timestamptz AS unclear FROM newest)
  SELECT DISTINCT stream_id, false AS unclear FROM newest
   WHERE recorded_time >= $2::timestamptz AND ${OF_TYPE}
  UNION ALL SELECT '', true FROM unclear WHERE unclear
   LIMIT $3`;

/** No native event of the type lies between what was applied and the place. */
const REACHED = `
  SELECT r.updated_at > clock_timestamp() - interval '${REVERSE_SILENT_SECONDS} seconds' AS running,
         NOT EXISTS (
           SELECT FROM banyan.events e
            WHERE (e.transaction_id, e.position)
                    > (split_part(coalesce(r.cursor, '0/0'), '/', 1)::xid8, split_part(coalesce(r.cursor, '0/0'), '/', 2)::bigint)
              AND e.transaction_id < $3::text::xid8 AND e.origin = 'native' AND ${OF_TYPE.replaceAll("$1", "$2")}) AS reached
    FROM banyan.reverse_progress r WHERE r.pipeline = $1`;

const CONFLICTS = `
  SELECT count(*)::int AS conflicts FROM banyan.reverse_conflicts
   WHERE pipeline = $1 AND ${OF_TYPE.replaceAll("$1", "$2")}`;

/** Reads banyan.events and what reverse sync says of itself. */
export class PostgresEventMarks implements EventMarks {
  readonly #pool: pg.Pool;
  readonly #pipeline: string;

  /** @param pipeline name of the migration */
  constructor(pool: pg.Pool, pipeline: string) {
    this.#pool = pool;
    this.#pipeline = pipeline;
  }

  async eventsSeen(): Promise<string> {
    return (await this.#one<{ place: string }>(SEEN, []))!.place;
  }

  async eventsEnd(): Promise<string> {
    return (await this.#one<{ place: string }>(END, []))!.place;
  }

  async changedSince(
    type: string,
    since: { readonly place: string } | { readonly time: string },
    streamsMax: number,
  ): Promise<readonly string[] | undefined> {
    const [sql, from] = "place" in since ? [SINCE_PLACE, since.place] : [SINCE_TIME, since.time];
    const values = [type, from, streamsMax + 1];
    const rows = await this.#query<{ stream_id: string; unclear: boolean }>(sql, values);
    if (rows.length > streamsMax || rows.some(({ unclear }) => unclear)) return undefined;
    return rows.map(({ stream_id }) => stream_id);
  }

  async reverseReached(type: string, place: string): Promise<boolean | undefined> {
    const values = [this.#pipeline, type, place];
    const row = await this.#one<{ running: boolean; reached: boolean }>(REACHED, values);
    return row?.running === true ? row.reached : undefined;
  }

  async reverseConflicts(type: string): Promise<number> {
    const row = await this.#one<{ conflicts: number }>(CONFLICTS, [this.#pipeline, type]);
    return row!.conflicts;
  }

  async #one<R extends object>(sql: string, values: readonly unknown[]): Promise<R | undefined> {
    return (await this.#query<R>(sql, values))[0];
  }

  async #query<R extends object>(sql: string, values: readonly unknown[]): Promise<R[]> {
    try {
      return (await this.#pool.query<R>(sql, [...values])).rows;
    } catch (error) {
      throw classifyStore(error, "asking which aggregates changed");
    }
  }
}
