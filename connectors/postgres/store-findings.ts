import type pg from "pg";
import type {
  KeptParity,
  ParityFinding,
  ParityUpdate,
  SavedReport,
} from "../../src/store/parity-store.ts";

type Queryable = Pick<pg.Pool, "query">;

/** First key of the lock under which findings and reports are changed; the second is of the pipeline. */
const LOCK_CLASS = 1_650_553_191;

const SAVE_REPORT = `
  INSERT INTO banyan.parity_reports AS kept (pipeline, report, saved_at) VALUES ($1, $2, clock_timestamp())
  ON CONFLICT (pipeline) DO UPDATE
     SET report = excluded.report, saved_at = CASE WHEN $3 THEN kept.saved_at ELSE excluded.saved_at END`;

const SAVE_FINDINGS = `
  WITH gone AS (DELETE FROM banyan.parity_findings WHERE pipeline = $1
     AND (table_name, stream_id, row_key) NOT IN (SELECT f."table", f.stream, f.key
          FROM json_to_recordset($2::json) AS f("table" text, stream text, key text)))
  INSERT INTO banyan.parity_findings
  SELECT $1, f."table", f.stream, f.key, f.verdict,
         ARRAY(SELECT json_array_elements_text(f.columns)), f.version, f."firstSeen", f."lastSeen", f.rechecks
    FROM json_to_recordset($2::json) AS f("table" text, stream text, key text, verdict text, columns json, version int,
           "firstSeen" timestamptz, "lastSeen" timestamptz, rechecks int)
  ON CONFLICT (pipeline, table_name, stream_id, row_key) DO UPDATE
     SET verdict = excluded.verdict, columns = excluded.columns, version = excluded.version, first_seen = excluded.first_seen,
         last_seen = excluded.last_seen, rechecks = excluded.rechecks`;

export async function readReport(
  client: Queryable,
  pipeline: string,
): Promise<SavedReport | undefined> {
  const { rows } = await client.query<{ report: unknown; at: Date }>(
    "SELECT report, saved_at AS at FROM banyan.parity_reports WHERE pipeline = $1",
    [pipeline],
  );
  const [row] = rows;
  return row && { report: row.report, savedAt: row.at.toISOString() };
}

export async function readFindings(
  client: Queryable,
  pipeline: string,
): Promise<readonly ParityFinding[]> {
  const { rows } = await client.query<FindingRow>(
    `SELECT stream_id, table_name, row_key, verdict, columns, version, first_seen, last_seen, rechecks
       FROM banyan.parity_findings WHERE pipeline = $1 ORDER BY first_seen, table_name, stream_id, row_key`,
    [pipeline],
  );
  return rows.map((row) => ({
    stream: row.stream_id,
    table: row.table_name,
    key: row.row_key,
    verdict: row.verdict,
    columns: row.columns,
    version: row.version,
    firstSeen: row.first_seen.toISOString(),
    lastSeen: row.last_seen.toISOString(),
    rechecks: row.rechecks,
  }));
}

/** See `ParityStore.update`. On an error the transaction is left open. */
export async function updateParity(
  client: pg.PoolClient,
  pipeline: string,
  change: (kept: KeptParity) => ParityUpdate,
): Promise<void> {
  await client.query("BEGIN");
  // The statements behind it see what the one before has committed.
  await client.query("SELECT pg_advisory_xact_lock($1, hashtext($2))", [LOCK_CLASS, pipeline]);
  const { rows } = await client.query<{ now: Date }>("SELECT clock_timestamp() AS now");
  const report = await readReport(client, pipeline);
  const findings = await readFindings(client, pipeline);
  const update = change({ report, findings, now: rows[0]!.now.toISOString() });
  await client.query(SAVE_FINDINGS, [pipeline, JSON.stringify(update.findings)]);
  if (update.report !== undefined)
    await client.query(SAVE_REPORT, [
      pipeline,
      JSON.stringify(update.report),
      update.isAmended === true,
    ]);
  await client.query("COMMIT");
}

interface FindingRow {
  readonly stream_id: string;
  readonly table_name: string;
  readonly row_key: string;
  readonly verdict: ParityFinding["verdict"];
  readonly columns: readonly string[];
  readonly version: number;
  readonly first_seen: Date;
  readonly last_seen: Date;
  readonly rechecks: number;
}
