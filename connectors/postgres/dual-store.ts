import type pg from "pg";
import { classifyStore } from "./store-errors.ts";
import { SKEW_MS, STREAMS_PER_WRITE_MAX } from "../../src/store/dual-store.ts";
import type {
  CorrelatedStream,
  DualEvent,
  DualStore,
  DualVerdict,
  FailedWrite,
  InputOfWrite,
  Proposal,
  SavedVerdict,
  ShadowWrite,
  VerdictCount,
  WaitingWrite,
} from "../../src/store/dual-store.ts";
import type { Origin } from "../../src/model/event.ts";

/** A write is not under way for longer. Bounds how far back another one of the stream is looked for. */
const UNDER_WAY_MS_MAX = 3_600_000;

const WRITE_COLUMNS = `w.correlation_id, w.stream_type, w.stream_id, w.route, w.legacy_status, w.new_status,
  extract(epoch FROM w.asked_at)::float8 * 1000 AS asked_ms, extract(epoch FROM w.answered_at)::float8 * 1000 AS answered_ms`;

const OTHERS = `SELECT FROM banyan.shadow_writes o
  WHERE o.pipeline = w.pipeline AND o.stream_id = w.stream_id AND o.correlation_id <> w.correlation_id`;

const WAITING = `
  WITH page AS MATERIALIZED (
    SELECT w.* FROM banyan.shadow_writes w
     WHERE w.pipeline = $1 AND w.verdict = 'waiting' AND w.answered_at <= to_timestamp($2::float8 / 1000)
       AND ($3::float8 IS NULL OR (w.answered_at, w.correlation_id) > (to_timestamp($3::float8 / 1000), $4))
     ORDER BY w.answered_at, w.correlation_id LIMIT $5)
  SELECT ${WRITE_COLUMNS}, coalesce(p.proposals, '[]') AS proposals,
         EXISTS (${OTHERS} AND o.asked_at BETWEEN w.asked_at - interval '${UNDER_WAY_MS_MAX} ms' AND w.answered_at
                 AND o.answered_at >= w.asked_at) AS is_parallel,
         EXISTS (${OTHERS} AND o.asked_at BETWEEN w.asked_at - $6::float8 * interval '1 ms'
                 AND w.answered_at + $6::float8 * interval '1 ms') AS has_neighbours
    FROM page w
    LEFT JOIN LATERAL (
      SELECT json_agg(json_build_object('stream', p.stream_id, 'decidedOn', p.decided_on, 'events', p.events, 'inputs', p.inputs) ORDER BY p.id) AS proposals
        FROM banyan.proposals p WHERE p.pipeline = w.pipeline AND p.correlation_id = w.correlation_id) p ON true
   ORDER BY w.answered_at, w.correlation_id`;

// Looked up one by one inside the statement, whatever the planner thinks of how many there are.
const STREAMS_OF = `
  SELECT c.id AS correlation_id, e.stream_id
    FROM unnest($1::text[]) AS c(id)
   CROSS JOIN LATERAL (
     SELECT DISTINCT e.stream_id FROM banyan.events e
      WHERE hashtextextended(e.correlation_id COLLATE "C", 0) = hashtextextended(c.id COLLATE "C", 0)
        AND e.correlation_id = c.id AND e.origin = 'capture' AND e.correlation_id IS NOT NULL
      LIMIT ${STREAMS_PER_WRITE_MAX}) e`;

const HEADS = `
  SELECT coalesce((SELECT e.version FROM banyan.events e WHERE e.stream_id = s.id ORDER BY e.version DESC LIMIT 1), 0) AS head
    FROM unnest($1::text[]) WITH ORDINALITY AS s(id, n) ORDER BY s.n`;

const ISO = `'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'`;
const EVENTS = `
  SELECT s.id AS stream, e.*, extract(epoch FROM o.asked_at)::float8 * 1000 AS asked_ms
    FROM unnest($2::text[]) AS s(id)
   CROSS JOIN LATERAL (
     SELECT e.version, e.type, e.data, e.origin, e.mapping_version, e.source_transaction, e.correlation_id,
            to_char(e.time AT TIME ZONE 'UTC', ${ISO}) AS time, extract(epoch FROM e.recorded_time)::float8 * 1000 AS recorded_ms
       FROM banyan.events e WHERE e.stream_id = s.id ORDER BY e.version OFFSET 0) e
    LEFT JOIN LATERAL (
     SELECT o.asked_at FROM banyan.shadow_writes o
      WHERE o.pipeline = $1 AND o.correlation_id = e.correlation_id COLLATE "C" LIMIT 1) o ON true
   ORDER BY s.id COLLATE "C", e.version`;

const QUARANTINED = `
  SELECT DISTINCT q.stream_id FROM banyan.quarantine q
   WHERE q.pipeline_id = (SELECT p.id FROM banyan.pipelines p WHERE p.name = $1)
     AND q.state = 'pending' AND q.stream_id = ANY ($2::text[])`;

const INPUTS_MOVED = `
  SELECT DISTINCT i.id FROM unnest($2::text[], $3::text[], $4::int[], $5::float8[], $6::float8[]) AS i(id, stream, version, asked, answered)
   WHERE EXISTS (
     SELECT FROM banyan.events e
       LEFT JOIN banyan.shadow_writes o ON o.pipeline = $1 AND o.correlation_id = e.correlation_id COLLATE "C"
      WHERE e.stream_id = i.stream AND (e.version > i.version OR e.recorded_time >= to_timestamp((i.asked - ${SKEW_MS}) / 1000))
        AND e.correlation_id IS DISTINCT FROM i.id
        AND (o.asked_at IS NULL OR o.asked_at <= to_timestamp(i.answered / 1000)))`;

const SAVE = `
  UPDATE banyan.shadow_writes w
     SET verdict = v.verdict, reason = v.reason, detail = v.detail::jsonb, judged_at = clock_timestamp()
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS v(correlation_id, verdict, reason, detail)
   WHERE w.pipeline = $1 AND w.correlation_id = v.correlation_id COLLATE "C" AND w.verdict = 'waiting'`;

const SINCE = "to_timestamp($3::float8 / 1000)";
/** An answer is judged after it was asked for, which lets the index leave out what is older. */
const JUDGED = `w.pipeline = $1 AND w.stream_type = ANY ($2::text[]) AND w.verdict <> 'waiting'
  AND w.judged_at >= ${SINCE} - interval '1 min' AND w.asked_at >= ${SINCE}`;
const COUNTS = `
  SELECT w.stream_type, w.route, w.verdict, w.reason, count(*)::int AS count
    FROM banyan.shadow_writes w WHERE ${JUDGED} GROUP BY 1, 2, 3, 4
  UNION ALL
  SELECT w.stream_type, w.route, 'waiting', '', count(*)::int
    FROM banyan.shadow_writes w
   WHERE w.pipeline = $1 AND w.stream_type = ANY ($2::text[]) AND w.verdict = 'waiting' AND w.answered_at >= ${SINCE}
     AND w.asked_at >= ${SINCE}
   GROUP BY 1, 2
   ORDER BY 1, 2, 3, 4`;

const FAILURES = `
  SELECT * FROM (
    SELECT ${WRITE_COLUMNS}, w.reason, w.detail, w.judged_at,
           row_number() OVER (PARTITION BY w.stream_type, w.route ORDER BY w.judged_at DESC, w.correlation_id) AS n
      FROM banyan.shadow_writes w WHERE ${JUDGED} AND w.verdict = 'fail') w
   WHERE n <= $4 ORDER BY stream_type, route, n`;

const PURGE = `
  WITH judged AS (
    DELETE FROM banyan.shadow_writes WHERE ctid = ANY (ARRAY(
      SELECT w.ctid FROM banyan.shadow_writes w
       WHERE w.pipeline = $1 AND w.stream_type = ANY ($2::text[]) AND w.verdict <> 'waiting' AND w.judged_at < ${SINCE} LIMIT $4))
    RETURNING 1),
  waiting AS (
    DELETE FROM banyan.shadow_writes WHERE ctid = ANY (ARRAY(
      SELECT w.ctid FROM banyan.shadow_writes w
       WHERE w.pipeline = $1 AND w.verdict = 'waiting' AND w.answered_at < ${SINCE} LIMIT $4))
    RETURNING 1),
  proposed AS (
    DELETE FROM banyan.proposals WHERE id = ANY (ARRAY(
      SELECT p.id FROM banyan.proposals p WHERE p.pipeline = $1 AND p.proposed_at < ${SINCE} LIMIT $4))
    RETURNING 1)
  SELECT (SELECT count(*) FROM judged)::int + (SELECT count(*) FROM waiting)::int + (SELECT count(*) FROM proposed)::int AS gone`;

interface WriteRow {
  readonly correlation_id: string;
  readonly stream_type: string;
  readonly stream_id: string | null;
  readonly route: string;
  readonly legacy_status: number | null;
  readonly new_status: number | null;
  readonly asked_ms: number;
  readonly answered_ms: number;
}

/** The verdicts' part of the store. */
export class PostgresDualStore implements DualStore {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  async waiting(
    pipeline: string,
    page: Parameters<DualStore["waiting"]>[1],
  ): Promise<readonly WaitingWrite[]> {
    const { answeredBefore, after, limit, windowMs } = page;
    const rows = await this.#rows<WaitingRow>("reading what waits for a verdict", WAITING, [
      pipeline,
      answeredBefore,
      after?.answeredAtMs ?? null,
      after?.correlationId ?? "",
      limit,
      windowMs,
    ]);
    return rows.map((row) => ({
      write: writeOf(row),
      proposals: row.proposals.map(proposalOf),
      isParallel: row.is_parallel,
      hasNeighbours: row.has_neighbours,
    }));
  }

  async streamsOf(correlationIds: readonly string[]): Promise<readonly CorrelatedStream[]> {
    const rows = await this.#rows<{ correlation_id: string; stream_id: string }>(
      "looking for what requests became",
      STREAMS_OF,
      [correlationIds],
    );
    return rows.map((row) => ({ correlationId: row.correlation_id, stream: row.stream_id }));
  }

  async heads(streams: readonly string[]): Promise<readonly number[]> {
    const doing = "reading where streams stand";
    const rows = await this.#rows<{ head: number }>(doing, HEADS, [streams]);
    return rows.map(({ head }) => head);
  }

  async events(pipeline: string, streams: readonly string[]): Promise<readonly DualEvent[]> {
    const doing = "reading what writes were decided on";
    const rows = await this.#rows<EventRow>(doing, EVENTS, [pipeline, streams]);
    return rows.map((row) => ({
      stream: row.stream,
      version: row.version,
      type: row.type,
      data: row.data,
      origin: row.origin,
      mappingVersion: row.mapping_version ?? undefined,
      sourceTransaction: row.source_transaction ?? undefined,
      time: row.time,
      correlationId: row.correlation_id ?? undefined,
      recordedAtMs: row.recorded_ms,
      askedAtMs: row.asked_ms ?? undefined,
    }));
  }

  async quarantined(pipeline: string, streams: readonly string[]): Promise<ReadonlySet<string>> {
    const doing = "reading what is in quarantine";
    const rows = await this.#rows<{ stream_id: string }>(doing, QUARANTINED, [pipeline, streams]);
    return new Set(rows.map((row) => row.stream_id));
  }

  async inputsMoved(
    pipeline: string,
    inputs: readonly InputOfWrite[],
  ): Promise<ReadonlySet<string>> {
    const rows = await this.#rows<{ id: string }>("asking whether inputs moved", INPUTS_MOVED, [
      pipeline,
      inputs.map(({ correlationId }) => correlationId),
      inputs.map(({ stream }) => stream),
      inputs.map(({ version }) => version),
      inputs.map(({ askedAtMs }) => askedAtMs),
      inputs.map(({ answeredAtMs }) => answeredAtMs),
    ]);
    return new Set(rows.map(({ id }) => id));
  }

  async save(pipeline: string, verdicts: readonly SavedVerdict[]): Promise<number> {
    return await this.#run("keeping verdicts", async () => {
      const { rowCount } = await this.#pool.query(SAVE, [
        pipeline,
        verdicts.map(({ correlationId }) => correlationId),
        verdicts.map(({ verdict }) => verdict),
        verdicts.map(({ reason }) => reason),
        verdicts.map(({ detail }) => (detail === undefined ? null : JSON.stringify(detail))),
      ]);
      return rowCount ?? 0;
    });
  }

  async counts(
    pipeline: string,
    streamTypes: readonly string[],
    since: number,
  ): Promise<readonly VerdictCount[]> {
    const values = [pipeline, streamTypes, since];
    const rows = await this.#rows<CountRow>("counting verdicts", COUNTS, values);
    return rows.map(({ stream_type: streamType, reason, ...row }) => ({
      ...row,
      streamType,
      reason: reason ?? "",
    }));
  }

  async failures(
    pipeline: string,
    streamTypes: readonly string[],
    since: number,
    perRoute: number,
  ): Promise<readonly FailedWrite[]> {
    const values = [pipeline, streamTypes, since, perRoute];
    const rows = await this.#rows<FailureRow>("reading failures", FAILURES, values);
    return rows.map((row) => ({ write: writeOf(row), reason: row.reason, detail: row.detail }));
  }

  async purge(
    pipeline: string,
    streamTypes: readonly string[],
    before: number,
    limit: number,
  ): Promise<number> {
    const values = [pipeline, streamTypes, before, limit];
    const rows = await this.#rows<{ gone: number }>("forgetting old verdicts", PURGE, values);
    return rows[0]!.gone;
  }

  async #rows<Row extends pg.QueryResultRow>(
    doing: string,
    text: string,
    values: readonly unknown[],
  ): Promise<readonly Row[]> {
    return await this.#run(
      doing,
      async () => (await this.#pool.query<Row>(text, [...values])).rows,
    );
  }

  async #run<T>(doing: string, call: () => Promise<T>): Promise<T> {
    try {
      return await call();
    } catch (error) {
      throw classifyStore(error, doing);
    }
  }
}

interface WaitingRow extends WriteRow {
  readonly proposals: readonly Proposal[];
  readonly is_parallel: boolean;
  readonly has_neighbours: boolean;
}

interface EventRow {
  readonly stream: string;
  readonly version: number;
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly origin: Origin;
  readonly mapping_version: number | null;
  readonly source_transaction: string | null;
  readonly correlation_id: string | null;
  readonly time: string;
  readonly recorded_ms: number;
  readonly asked_ms: number | null;
}

interface CountRow {
  readonly stream_type: string;
  readonly route: string;
  readonly verdict: DualVerdict | "waiting";
  readonly reason: string | null;
  readonly count: number;
}

interface FailureRow extends WriteRow {
  readonly reason: string;
  readonly detail: unknown;
}

function writeOf(row: WriteRow): ShadowWrite {
  return {
    correlationId: row.correlation_id,
    streamType: row.stream_type,
    stream: row.stream_id ?? undefined,
    route: row.route,
    legacyStatus: row.legacy_status ?? undefined,
    newStatus: row.new_status ?? undefined,
    askedAtMs: row.asked_ms,
    answeredAtMs: row.answered_ms,
  };
}

function proposalOf({ inputs = {}, ...proposal }: Proposal): Proposal {
  return Object.keys(inputs).length === 0 ? proposal : { ...proposal, inputs };
}
