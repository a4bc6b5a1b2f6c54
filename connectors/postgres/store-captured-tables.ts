import type pg from "pg";
import type { CapturedTable } from "../../src/store/event-store.ts";

/** Adds the tables of a pipeline, or replaces what is said of them. */
export async function writeCapturedTables(
  client: pg.Client,
  pipelineId: number,
  tables: readonly CapturedTable[],
): Promise<void> {
  await client.query(
    `INSERT INTO banyan.captured_tables (pipeline_id, table_name, stream_type, role, since, seen, left_at)
     SELECT $1::int, t."table", t.stream, t.role, t.since, t.seen, t."left"
       FROM json_to_recordset($2::json) AS t("table" text, stream text, role text, since text, seen text, "left" text)
     ON CONFLICT (pipeline_id, table_name) DO UPDATE
        SET stream_type = excluded.stream_type, role = excluded.role, since = excluded.since,
            seen = excluded.seen, left_at = excluded.left_at`,
    [pipelineId, JSON.stringify(tables)],
  );
}
