import type pg from "pg";
import { newBaselineHint } from "./new-baseline.ts";
import { classifyStore, fenced } from "./store-errors.ts";
import { sqlstateOf } from "./sqlstate.ts";
import { PIPELINE_COLUMNS, pipelineRecord, type PipelineRow } from "./store-rows.ts";
import { BanyanError } from "../../src/model/errors.ts";
import type { PipelineRecord } from "../../src/store/event-store.ts";

export interface TakenPipeline {
  readonly pipelineId: number;
  readonly sourceId: number;
  readonly record: PipelineRecord;
}

/** How long the row of the pipeline is waited for before its holder is ended. */
const LOCK_MS_FIRST = 2_000;
const LOCK_NOT_AVAILABLE = "55P03";

/**
 * Makes this session the writer of a pipeline: raises the epoch, which ends the commits of whoever
 * had it, and ends the transaction that the one before may have left open.
 *
 * @param ifFree changes nothing where that session is there
 * @throws BanyanError `SOURCE_CHANGED` when the pipeline has history of another source; nothing is changed.
 *   `PIPELINE_FENCED` when it is not free
 */
export async function takeOver(
  client: pg.Client,
  name: string,
  source: string,
  ifFree?: "if-free",
): Promise<TakenPipeline> {
  try {
    const { row, before } = await raiseEpoch(client, name, source, LOCK_MS_FIRST, ifFree).catch(
      async (error: unknown) => {
        await client.query("ROLLBACK");
        if (sqlstateOf(error) !== LOCK_NOT_AVAILABLE) throw error;
        if (ifFree !== undefined) throw fenced(error);
        // The one before is stuck in the very commit that we are to end.
        const { session } = await standing(client, name, source, "");
        if (session !== undefined) await endTransactionOf(client, session);
        return await raiseEpoch(client, name, source, undefined);
      },
    );
    if (before !== undefined) await endTransactionOf(client, before);
    return {
      pipelineId: row.id,
      sourceId: row.source_id,
      record: pipelineRecord(row, source),
    };
  } catch (error) {
    await client.query("ROLLBACK").catch(() => undefined);
    throw classifyStore(error, `taking over pipeline ${name}`);
  }
}

/** Whether the session of whoever took the pipeline over last is still there. */
export async function hasWriter(client: Pick<pg.Pool, "query">, name: string): Promise<boolean> {
  const { rows } = await client.query<{ isThere: boolean }>(
    `SELECT EXISTS (SELECT FROM banyan.pipelines p JOIN pg_stat_activity a
                        ON a.pid = p.writer_pid AND a.backend_start = p.writer_since
                     WHERE p.name = $1) AS "isThere"`,
    [name],
  );
  return rows[0]!.isThere;
}

interface WriterSession {
  readonly pid: number;
  /** Start of its backend, exact, as text. */
  readonly since: string;
}

/** @param lockMs how long to wait for the row; undefined for as long as the session does */
async function raiseEpoch(
  client: pg.Client,
  name: string,
  source: string,
  lockMs: number | undefined,
  ifFree?: "if-free",
): Promise<{ readonly row: PipelineRow; readonly before: WriterSession | undefined }> {
  await client.query("BEGIN");
  if (lockMs !== undefined) await client.query(`SET LOCAL lock_timeout = ${lockMs}`);
  // Not ON CONFLICT alone, which would use up a number each time.
  await client.query(
    `INSERT INTO banyan.sources (uri) SELECT $1::text
      WHERE NOT EXISTS (SELECT FROM banyan.sources WHERE uri = $1) ON CONFLICT DO NOTHING`,
    [source],
  );
  await client.query(
    `INSERT INTO banyan.pipelines (name, source_id) SELECT $1::text, id FROM banyan.sources
      WHERE uri = $2 AND NOT EXISTS (SELECT FROM banyan.pipelines WHERE name = $1) ON CONFLICT DO NOTHING`,
    [name, source],
  );
  // No stronger: rows that the one before has staged refer to this one and hold it by their foreign key.
  const { session } = await standing(client, name, source, "FOR NO KEY UPDATE OF p");
  // Under the row's lock, so that two who take it only if it is free do not both find it so.
  if (ifFree !== undefined && (await hasWriter(client, name))) throw fenced(undefined);
  const { rows: raised } = await client.query<PipelineRow>(
    `UPDATE banyan.pipelines p
        SET epoch = epoch + 1, source_id = s.id, updated_at = now(), writer_pid = a.pid, writer_since = a.backend_start,
            -- What was begun was begun in the other source.
            phase = CASE WHEN p.source_id = s.id THEN p.phase ELSE 'new' END
       FROM banyan.sources s, pg_stat_activity a
      WHERE p.name = $1 AND s.uri = $2 AND a.pid = pg_backend_pid()
      RETURNING ${PIPELINE_COLUMNS}`,
    [name, source],
  );
  await client.query("COMMIT");
  return { row: raised[0]!, before: session };
}

interface Standing {
  readonly uri: string;
  readonly checkpoint: string | null;
  readonly pid: number | null;
  readonly since: string | null;
}

/** Who writes the pipeline, if anybody ever did. @throws BanyanError `SOURCE_CHANGED` */
async function standing(
  client: pg.Client,
  name: string,
  source: string,
  lock: string,
): Promise<{ readonly session: WriterSession | undefined }> {
  const { rows } = await client.query<Standing>(
    `SELECT s.uri, p.checkpoint, p.writer_pid AS pid, p.writer_since::text AS since
       FROM banyan.pipelines p JOIN banyan.sources s ON s.id = p.source_id WHERE p.name = $1 ${lock}`,
    [name],
  );
  const { uri, checkpoint, pid, since } = rows[0]!;
  // Without a checkpoint there is no history yet that the new source could contradict.
  if (uri !== source && checkpoint !== null) {
    throw new BanyanError(
      "SOURCE_CHANGED",
      `pipeline ${name} belongs to ${uri}, but the config names ${source}`,
      {
        hint: `Point the config at the old one, or give this source a pipeline name and a store of its own. Was the old one restored or failed over (another timeline)? ${newBaselineHint()}`,
      },
    );
  }
  return { session: pid === null || since === null ? undefined : { pid, since } };
}

/**
 * A writer that is stuck in an open transaction, or whose machine is gone without a word, holds the
 * places in the streams that it had staged; whoever stages them next would wait for it.
 */
async function endTransactionOf(client: pg.Client, before: WriterSession): Promise<void> {
  try {
    await client.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE pid = $1 AND backend_start = $2::timestamptz AND xact_start IS NOT NULL AND pid <> pg_backend_pid()`,
      [before.pid, before.since],
    );
  } catch {
    // Another role's session: then its locks are waited for, within lock_timeout.
  }
}
