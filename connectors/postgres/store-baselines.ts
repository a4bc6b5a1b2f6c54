import type pg from "pg";
import type {
  BaselineRecord,
  PipelineRequests,
  Rebaselined,
  RebaselineRequest,
  RebaselineTally,
  StagedBatch,
} from "../../src/store/event-store.ts";

/** Notes how far baselines in chunks have come. */
export async function writeBaselines(
  client: pg.ClientBase,
  pipelineId: number,
  baselines: readonly BaselineRecord[],
): Promise<void> {
  await client.query({
    name: "banyan-note-baselines",
    text: `INSERT INTO banyan.baselines (pipeline_id, stream_type, progress)
           SELECT $1::int, b ->> 'stream', b FROM jsonb_array_elements($2::jsonb) AS b
           ON CONFLICT (pipeline_id, stream_type) DO UPDATE SET progress = excluded.progress`,
    values: [pipelineId, JSON.stringify(baselines)],
  });
}

export async function readRequests(pool: pg.Pool, pipeline: string): Promise<PipelineRequests> {
  const { rows } = await pool.query<{ paused: boolean }>({
    name: "banyan-requests",
    text: "SELECT baseline_paused AS paused FROM banyan.pipelines WHERE name = $1",
    values: [pipeline],
  });
  return { baselinePaused: rows[0]?.paused ?? false };
}

/** @returns false when there is no such pipeline */
export async function pauseBaseline(
  pool: pg.Pool,
  pipeline: string,
  paused: boolean,
): Promise<boolean> {
  const { rowCount } = await pool.query(
    "UPDATE banyan.pipelines SET baseline_paused = $2 WHERE name = $1",
    [pipeline, paused],
  );
  return rowCount === 1;
}

/** Also raises the generation by which a running pipeline learns that there is something to do. */
export async function requestRebaseline(
  pool: pg.Pool,
  pipeline: string,
  streams: readonly string[],
  reason: string,
): Promise<number> {
  const { rowCount } = await pool.query(
    `WITH asked AS (
       UPDATE banyan.pipelines SET quarantine_generation = quarantine_generation + 1 WHERE name = $1 RETURNING id)
     INSERT INTO banyan.rebaselines (pipeline_id, stream_id, reason)
     SELECT asked.id, s.id, $3 FROM asked, (SELECT DISTINCT id FROM unnest($2::text[]) AS s(id)) s
      WHERE NOT EXISTS (SELECT FROM banyan.rebaselines r
                         WHERE r.pipeline_id = asked.id AND r.done_at IS NULL AND r.stream_id = s.id COLLATE "C")`,
    [pipeline, streams, reason],
  );
  return rowCount ?? 0;
}

export async function readRebaselineRequests(
  pool: pg.Pool,
  pipeline: string,
  after: string,
  limit: number,
): Promise<readonly RebaselineRequest[]> {
  const { rows } = await pool.query<RebaselineRequest>(
    `SELECT r.id::text AS id, r.stream_id AS stream, r.reason, r.attempts
       FROM banyan.rebaselines r JOIN banyan.pipelines p ON p.id = r.pipeline_id
      WHERE p.name = $1 AND r.done_at IS NULL AND r.id > $2::bigint ORDER BY r.id LIMIT $3`,
    [pipeline, after, limit],
  );
  return rows;
}

export async function readRebaselineTally(
  pool: pg.Pool,
  pipeline: string,
  after: string,
): Promise<RebaselineTally> {
  const { rows } = await pool.query<Record<keyof RebaselineTally, string>>(
    `SELECT coalesce(max(r.id), $2::bigint)::text AS last, count(*) FILTER (WHERE r.done_at IS NULL) AS waiting,
            count(r.seen) AS "readAnew"
       FROM banyan.rebaselines r JOIN banyan.pipelines p ON p.id = r.pipeline_id
      WHERE p.name = $1 AND r.id > $2::bigint`,
    [pipeline, after],
  );
  const { last, waiting, readAnew } = rows[0]!;
  return { last, waiting: Number(waiting), readAnew: Number(readAnew) };
}

export async function noteAttempts(
  pool: pg.Pool,
  ids: readonly string[],
  by: number,
): Promise<void> {
  await pool.query(
    "UPDATE banyan.rebaselines SET attempts = greatest(attempts + $2, 0) WHERE id = ANY ($1::bigint[]) AND done_at IS NULL",
    [ids, by],
  );
}

export async function withdrawRebaselines(
  pool: pg.Pool,
  pipeline: string,
  streams: readonly string[] | undefined,
): Promise<number> {
  const { rowCount } = await pool.query(
    `UPDATE banyan.rebaselines r SET done_at = now() FROM banyan.pipelines p
      WHERE p.id = r.pipeline_id AND p.name = $1 AND r.done_at IS NULL
        AND ($2::text[] IS NULL OR r.stream_id = ANY ($2::text[]))`,
    [pipeline, streams ?? null],
  );
  return rowCount ?? 0;
}

export async function readRebaselined(
  pool: pg.Pool,
  pipeline: string,
  after: string,
): Promise<readonly Rebaselined[]> {
  const { rows } = await pool.query<Rebaselined>(
    `SELECT json_agg(r.stream_id) AS streams, r.seen, r.fence
       FROM banyan.rebaselines r JOIN banyan.pipelines p ON p.id = r.pipeline_id
      WHERE p.name = $1 AND r.done_at IS NOT NULL AND r.fence > $2 COLLATE "C" GROUP BY r.seen, r.fence ORDER BY r.fence`,
    [pipeline, after],
  );
  return rows;
}

export async function settleRebaselines(
  client: pg.ClientBase,
  { ids, seen, fence }: NonNullable<StagedBatch["rebaselined"]>,
): Promise<void> {
  await client.query(
    "UPDATE banyan.rebaselines SET done_at = now(), seen = $2, fence = $3 WHERE id = ANY ($1::bigint[])",
    [ids, seen, fence],
  );
}

/** Of what was never read there is no snapshot, so that the log tells all of it. */
export async function refuseRebaselines(
  client: pg.ClientBase,
  ids: readonly string[],
): Promise<void> {
  await client.query(
    "UPDATE banyan.rebaselines SET done_at = now() WHERE id = ANY ($1::bigint[])",
    [ids],
  );
}
