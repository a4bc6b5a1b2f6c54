import type pg from "pg";
import { classifyStore } from "./store-errors.ts";
import { cursorParts, FEED_END } from "./store-events.ts";
import { isoText } from "./store-rows.ts";
import { readRanges } from "./stream-ranges.ts";
import { BanyanError, invariant } from "../../src/model/errors.ts";
import type { FeedCursor, FoldEvent } from "../../src/store/event-store.ts";
import type {
  NativePage,
  ReservedBuckets,
  ReservedType,
  ReverseHold,
  ReverseProgress,
  ReverseStatus,
  ReverseStore,
  StreamRange,
  WrittenBack,
} from "../../src/store/reverse-store.ts";

/** Events that one page of native ones looks at. */
const EVENTS_SCANNED_MAX = 20_000;
const NATIVES_MAX = 10_000;

const TAKE_OVER = `
  INSERT INTO banyan.reverse_progress AS p (pipeline, epoch) VALUES ($1, 1)
  ON CONFLICT (pipeline) DO UPDATE SET epoch = p.epoch + 1, updated_at = clock_timestamp()
  RETURNING epoch::text, cursor`;

const NATIVES = `
  WITH scanned AS MATERIALIZED (
         SELECT e.transaction_id, e.position, e.origin, e.stream_id, e.version FROM banyan.events e
          WHERE (e.transaction_id, e.position) > ($1::text::xid8, $2::bigint) AND e.transaction_id < ${FEED_END}
          ORDER BY e.transaction_id, e.position LIMIT ${EVENTS_SCANNED_MAX}),
       found AS MATERIALIZED (
         SELECT * FROM scanned WHERE origin = 'native' ORDER BY transaction_id, position LIMIT $3)
  SELECT (SELECT count(*)::int FROM scanned) AS scanned,
         (SELECT transaction_id::text || '/' || position FROM scanned ORDER BY transaction_id DESC, position DESC LIMIT 1) AS last,
         (SELECT json_agg(json_build_object('stream', stream_id, 'version', version, 'cursor', transaction_id::text || '/' || position)
                          ORDER BY transaction_id, position) FROM found) AS natives`;

interface NativesRow {
  readonly scanned: number;
  readonly last: FeedCursor | null;
  readonly natives:
    | readonly { readonly stream: string; readonly version: number; readonly cursor: FeedCursor }[]
    | null;
}

/** Of what {@link foldEvent} decodes. */
const FOLD_COLUMNS = `e.stream_id, e.version, e.type, e.origin, e.mapping_version, e.source_transaction,
  ${isoText("e.time")} AS time, e.data::text AS data`;

interface StreamRow {
  readonly stream_id: string;
  readonly version: number;
  readonly type: string;
  readonly origin: FoldEvent["origin"];
  readonly mapping_version: number | null;
  readonly source_transaction: string | null;
  readonly time: string;
  readonly data: string;
}

/**
 * One statement, so that nothing is noted by one that was replaced. The lag is the age of what lies behind
 * the cursor, also of what readers may not see yet.
 */
const SAVE = `
  WITH own AS (
         UPDATE banyan.reverse_progress p
            SET cursor = coalesce($3::text, p.cursor), applied = p.applied + $4, updated_at = clock_timestamp(),
                lag_seconds = coalesce((
                  SELECT greatest(0, extract(epoch FROM clock_timestamp() - e.recorded_time)) FROM banyan.events e
                   WHERE (e.transaction_id, e.position) > (split_part(coalesce($3, p.cursor, '0/0'), '/', 1)::xid8,
                                                           split_part(coalesce($3, p.cursor, '0/0'), '/', 2)::bigint)
                   ORDER BY e.transaction_id, e.position LIMIT 1), 0)
          WHERE p.pipeline = $1 AND p.epoch = $2 RETURNING 1),
       settled AS (DELETE FROM banyan.reverse_conflicts c USING own WHERE c.pipeline = $1 AND c.stream_id = ANY ($5::text[])),
       found AS (
         INSERT INTO banyan.reverse_conflicts AS c (pipeline, stream_id, version, table_name, row_key, columns, reason)
         SELECT $1, f.stream, f.version, f."table", f.key, f.columns, f.reason FROM own,
                jsonb_to_recordset($6::jsonb) AS f (stream text, version int, "table" text, key text, columns text[], reason text)
         ON CONFLICT (pipeline, stream_id) DO UPDATE
            SET version = excluded.version, table_name = excluded.table_name, row_key = excluded.row_key,
                columns = excluded.columns, reason = excluded.reason, tried_at = now(), asked = false)
  SELECT count(*)::int AS own FROM own`;

const TO_TRY = `
  SELECT stream_id AS stream FROM banyan.reverse_conflicts
   WHERE pipeline = $1 AND (asked OR tried_at < now() - make_interval(secs => $2)) ORDER BY tried_at LIMIT $3`;

const STATUS = `
  SELECT p.applied::text, p.lag_seconds, p.cursor, ${isoText("p.updated_at")} AS updated_at,
         (SELECT count(*)::int FROM banyan.reverse_conflicts c WHERE c.pipeline = p.pipeline) AS conflicts,
         (SELECT json_agg(s) FROM (
            SELECT stream_id AS stream, version, table_name AS "table", row_key AS key, columns, reason, ${isoText("found_at")} AS "foundAt"
              FROM banyan.reverse_conflicts c WHERE c.pipeline = p.pipeline ORDER BY found_at, stream_id LIMIT $2) s) AS samples
    FROM banyan.reverse_progress p WHERE p.pipeline = $1`;

/** All in one snapshot: a conflict is noted no later than the cursor passes its event. */
const OUTCOME = `
  SELECT (SELECT c.reason FROM banyan.reverse_conflicts c WHERE c.pipeline = $1 AND c.stream_id = $2 AND c.version <= $3) AS reason,
         EXISTS (SELECT FROM banyan.rollouts r WHERE r.pipeline = $1 AND r.stream_type = split_part($2, '-', 1) AND r.stage = 'complete') AS ended,
         EXISTS (SELECT FROM banyan.events e JOIN banyan.reverse_progress p ON p.pipeline = $1
                  WHERE e.stream_id = $2 AND e.version = $3
                    AND (e.transaction_id, e.position) <= (split_part(p.cursor, '/', 1)::xid8, split_part(p.cursor, '/', 2)::bigint)) AS passed`;

interface OutcomeRow {
  readonly reason: string | null;
  readonly ended: boolean;
  readonly passed: boolean;
}

interface StatusRow {
  readonly applied: string;
  readonly lag_seconds: number;
  readonly cursor: FeedCursor | null;
  readonly updated_at: string;
  readonly conflicts: number;
  readonly samples: ReverseStatus["samples"] | null;
}

/** For the first share that moves, ids must be there before it does. */
const SHARE_IN_SHADOW = 100;
/** The service makes new aggregates from canary on for good, and before, of the share that is about to move. */
const RESERVATIONS = `
  SELECT r.stream_type AS "streamType", r.share, r.salt, count(i.id) FILTER (WHERE i.bucket < r.share)::int AS usable, count(i.id)::int AS kept
    FROM (SELECT s.pipeline, s.stream_type, s.salt,
                 greatest(CASE WHEN s.stage IN ('new', 'complete') THEN 10000 WHEN s.stage = 'canary' THEN s.share WHEN s.stage = 'shadow' THEN ${SHARE_IN_SHADOW} ELSE 0 END,
                          (SELECT m.to_share FROM banyan.moves m WHERE m.pipeline = s.pipeline AND m.stream_type = s.stream_type
                              AND m.ended_at IS NULL AND m.kind = 'promote')) AS share
            FROM banyan.rollouts s WHERE s.pipeline = $1) r
    LEFT JOIN banyan.reserved_ids i ON i.pipeline = r.pipeline AND i.stream_type = r.stream_type
   WHERE r.share > 0 GROUP BY 1, 2, 3 ORDER BY 1`;

/** The bucket as src/rollout/bucket.ts computes it. */
const RESERVE = `
  WITH placed AS (
    SELECT id::bigint AS id, CASE WHEN $4::text IS NULL THEN 0
             ELSE ((hashtextextended(concat($4::text, ':', id) COLLATE "C", 0) & 4294967295) * 10000) >> 32 END AS bucket
      FROM unnest($3::text[]) id)
  INSERT INTO banyan.reserved_ids (pipeline, stream_type, id, bucket)
  SELECT $1, $2, id, bucket FROM placed WHERE bucket < $5
  UNION ALL (SELECT $1, $2, id, bucket FROM placed WHERE bucket >= $5 ORDER BY id LIMIT $6)
  ON CONFLICT DO NOTHING`;

export class PostgresReverseStore implements ReverseStore {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  async takeOver(pipeline: string): Promise<ReverseHold> {
    const [row] = await this.#ask<{ epoch: string; cursor: FeedCursor | null }>(
      "taking over the way back",
      TAKE_OVER,
      [pipeline],
    );
    return { epoch: Number(row!.epoch), cursor: row!.cursor ?? undefined };
  }

  async natives(after: FeedCursor | undefined, limit: number): Promise<NativePage> {
    invariant(
      Number.isInteger(limit) && limit >= 1 && limit <= NATIVES_MAX,
      `a page holds 1 to ${NATIVES_MAX} events, not ${limit}`,
    );
    const values = [...cursorParts(after), limit];
    const [row] = await this.#ask<NativesRow>("reading native events", NATIVES, values);
    const natives = row!.natives ?? [];
    const isFull = natives.length === limit;
    return {
      natives,
      next: (isFull ? natives.at(-1)!.cursor : row!.last) ?? after,
      isEnd: !isFull && row!.scanned < EVENTS_SCANNED_MAX,
    };
  }

  async completed(pipeline: string): Promise<ReadonlySet<string>> {
    const rows = await this.#ask<{ type: string }>(
      "reading which stream types are complete",
      "SELECT stream_type AS type FROM banyan.rollouts WHERE pipeline = $1 AND stage = 'complete'",
      [pipeline],
    );
    return new Set(rows.map(({ type }) => type));
  }

  async *readStreams(
    ranges: readonly StreamRange[],
  ): AsyncGenerator<readonly FoldEvent[], void, void> {
    const ask = (sql: string, values: readonly unknown[]): Promise<readonly StreamRow[]> =>
      this.#ask<StreamRow>("reading streams", sql, values);
    for await (const rows of readRanges(FOLD_COLUMNS, ask, ranges)) yield rows.map(foldEvent);
  }

  async save(pipeline: string, epoch: number, progress: ReverseProgress): Promise<void> {
    const { cursor, applied = 0, settled = [], conflicts = [] } = progress;
    const [row] = await this.#ask<{ own: number }>("noting how far the way back is", SAVE, [
      pipeline,
      epoch,
      cursor ?? null,
      applied,
      settled,
      JSON.stringify(conflicts),
    ]);
    if (row!.own === 0) {
      throw new BanyanError(
        "PIPELINE_FENCED",
        `another process writes events of ${pipeline} back into the legacy rows; nothing more is written here`,
        { hint: "Only one reverse sync per pipeline; see `banyan status`." },
      );
    }
  }

  async conflictsToTry(
    pipeline: string,
    idleSeconds: number,
    limit: number,
  ): Promise<readonly string[]> {
    const values = [pipeline, idleSeconds, limit];
    const rows = await this.#ask<{ stream: string }>("reading conflicts", TO_TRY, values);
    return rows.map(({ stream }) => stream);
  }

  async retryConflicts(pipeline: string, stream?: string): Promise<number> {
    const rows = await this.#ask(
      "asking for conflicts to be tried again",
      `UPDATE banyan.reverse_conflicts SET asked = true
        WHERE pipeline = $1 AND stream_id = coalesce($2, stream_id) RETURNING 1`,
      [pipeline, stream ?? null],
    );
    return rows.length;
  }

  async outcomeOf(pipeline: string, stream: string, version: number): Promise<WrittenBack> {
    const values = [pipeline, stream, version];
    const [row] = await this.#ask<OutcomeRow>("asking what was written back", OUTCOME, values);
    const { reason, ended, passed } = row!;
    if (ended) return { outcome: "ended" };
    if (reason !== null) return { outcome: "conflict", reason };
    return { outcome: passed ? "written" : "waiting" };
  }

  async status(pipeline: string, samples: number): Promise<ReverseStatus | undefined> {
    const values = [pipeline, samples];
    const [row] = await this.#ask<StatusRow>("reading how far the way back is", STATUS, values);
    if (row === undefined) return undefined;
    return {
      applied: Number(row.applied),
      lagSeconds: row.lag_seconds,
      cursor: row.cursor ?? undefined,
      conflicts: row.conflicts,
      samples: row.samples ?? [],
      updatedAt: row.updated_at,
    };
  }

  reservations(pipeline: string): Promise<readonly ReservedType[]> {
    return this.#ask<ReservedType>("counting reserved ids", RESERVATIONS, [pipeline]);
  }

  async reserveIds(
    pipeline: string,
    streamType: string,
    ids: readonly string[],
    { salt, below, room }: ReservedBuckets,
  ): Promise<void> {
    const values = [pipeline, streamType, ids, salt ?? null, below, room];
    await this.#ask("reserving ids", RESERVE, values);
  }

  async idsAtHand(pipeline: string, streamType: string, below: number): Promise<number> {
    const [row] = await this.#ask<{ count: number }>(
      "counting reserved ids",
      "SELECT count(*)::int AS count FROM banyan.reserved_ids WHERE pipeline = $1 AND stream_type = $2 AND bucket < $3",
      [pipeline, streamType, below],
    );
    return row!.count;
  }

  async #ask<Row extends object = object>(
    doing: string,
    text: string,
    values: readonly unknown[],
  ): Promise<Row[]> {
    try {
      return (await this.#pool.query<Row>(text, [...values])).rows;
    } catch (error) {
      throw classifyStore(error, doing);
    }
  }
}

function foldEvent(row: StreamRow): FoldEvent {
  return {
    stream: row.stream_id,
    version: row.version,
    type: row.type,
    origin: row.origin,
    mappingVersion: row.mapping_version ?? undefined,
    sourceTransaction: row.source_transaction ?? undefined,
    time: row.time,
    data: JSON.parse(row.data) as Record<string, unknown>,
  };
}
