import type pg from "pg";
import { classifyStore } from "./store-errors.ts";
import type { Position } from "../../src/model/position.ts";
import type {
  ParkedChange,
  ParkedFilter,
  ParkedRecord,
  Quarantine,
  QuarantinedStream,
} from "../../src/store/event-store.ts";

const LISTED_DEFAULT = 1_000;

export async function insertParked(
  client: pg.ClientBase,
  pipelineId: number,
  parked: readonly ParkedChange[],
): Promise<void> {
  await client.query(
    `INSERT INTO banyan.quarantine (pipeline_id, stream_id, position, source_transaction, table_name, operation, code, reason, change)
     SELECT $1, p.stream, p.position, p.transaction, p.tab, p.operation, p.code, p.reason, p.change
       FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::jsonb[])
            WITH ORDINALITY AS p(stream, position, transaction, tab, operation, code, reason, change, n) ORDER BY n`,
    [
      pipelineId,
      parked.map((p) => p.stream),
      parked.map((p) => p.position),
      parked.map((p) => p.sourceTransaction),
      parked.map((p) => p.table),
      parked.map((p) => p.operation),
      parked.map((p) => p.code),
      parked.map((p) => p.reason),
      parked.map((p) => JSON.stringify(p.change)),
    ],
  );
}

export async function settleParked(
  client: pg.ClientBase,
  ids: readonly string[],
  state: "retried" | "skipped",
): Promise<void> {
  const sql = "UPDATE banyan.quarantine SET state = $2 WHERE id = ANY ($1::bigint[])";
  await client.query(sql, [ids, state]);
}

interface ParkedRow {
  readonly id: string;
  readonly stream_id: string;
  readonly position: Position;
  readonly source_transaction: string;
  readonly table_name: string;
  readonly operation: string;
  readonly code: string;
  readonly reason: string;
  readonly change: unknown;
  readonly parked_at: Date;
  readonly decision: ParkedRecord["decision"];
}

export class PostgresQuarantine implements Quarantine {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  async list(filter: ParkedFilter = {}): Promise<readonly ParkedRecord[]> {
    const rows = await this.#query<ParkedRow>(
      `SELECT q.* FROM banyan.quarantine q JOIN banyan.pipelines p ON p.id = q.pipeline_id
        WHERE q.state = 'pending' AND ($1::text IS NULL OR p.name = $1) AND ($2::text IS NULL OR q.stream_id = $2)
          AND q.id > $4 ORDER BY q.id LIMIT $3`,
      [filter.pipeline, filter.stream, filter.limit ?? LISTED_DEFAULT, filter.after ?? "0"],
    );
    return rows.map((row) => ({
      id: row.id,
      stream: row.stream_id,
      position: row.position,
      sourceTransaction: row.source_transaction,
      table: row.table_name,
      operation: row.operation,
      code: row.code,
      reason: row.reason,
      change: row.change,
      parkedAt: row.parked_at.toISOString(),
      decision: row.decision,
    }));
  }

  async streams(pipeline: string): Promise<readonly QuarantinedStream[]> {
    const rows = await this.#query<{
      stream: string;
      parked: string;
      decision: ParkedRecord["decision"];
    }>(
      `SELECT q.stream_id AS stream, count(*) AS parked, (array_agg(q.decision ORDER BY q.id))[1] AS decision
         FROM banyan.quarantine q JOIN banyan.pipelines p ON p.id = q.pipeline_id
        WHERE p.name = $1 AND q.state = 'pending' GROUP BY q.stream_id ORDER BY min(q.id)`,
      [pipeline],
    );
    return rows.map((row) => ({ ...row, parked: Number(row.parked) }));
  }

  async decide(
    pipeline: string,
    stream: string | undefined,
    decision: "retry" | "skip",
  ): Promise<number> {
    const rows = await this.#query<{ streams: string }>(
      `WITH decided AS (
         UPDATE banyan.quarantine q SET decision = $3 FROM banyan.pipelines p
          WHERE p.id = q.pipeline_id AND p.name = $1 AND q.state = 'pending' AND ($2::text IS NULL OR q.stream_id = $2)
         RETURNING q.stream_id),
       raised AS (
         UPDATE banyan.pipelines SET quarantine_generation = quarantine_generation + 1
          WHERE name = $1 AND EXISTS (SELECT FROM decided))
       SELECT count(DISTINCT stream_id) AS streams FROM decided`,
      [pipeline, stream, decision],
    );
    return Number(rows[0]!.streams);
  }

  async count(pipeline: string): Promise<number> {
    const rows = await this.#query<{ streams: string }>(
      `SELECT count(DISTINCT q.stream_id) AS streams FROM banyan.quarantine q
         JOIN banyan.pipelines p ON p.id = q.pipeline_id WHERE p.name = $1 AND q.state = 'pending'`,
      [pipeline],
    );
    return Number(rows[0]!.streams);
  }

  async #query<R extends object>(sql: string, values: unknown[]): Promise<R[]> {
    try {
      return (await this.#pool.query<R>(sql, values)).rows;
    } catch (error) {
      throw classifyStore(error, "asking the quarantine");
    }
  }
}
