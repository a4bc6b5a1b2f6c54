import type { Origin, RecordedEvent } from "../../src/model/event.ts";
import type { Position } from "../../src/model/position.ts";
import type {
  BaselineRecord,
  CapturedTable,
  PipelinePhase,
  PipelineRecord,
} from "../../src/store/event-store.ts";

export interface PipelineRow {
  readonly id: number;
  readonly source_id: number;
  readonly name: string;
  readonly epoch: string;
  readonly phase: PipelinePhase;
  readonly checkpoint: Position | null;
  readonly baseline_position: Position | null;
  readonly changes_in: string;
  readonly changes_claimed: string;
  readonly changes_fallback: string;
  readonly changes_unchanged: string;
  readonly changes_parked: string;
  readonly changes_echoed: string;
  readonly events: string;
  readonly baselined: string;
  readonly baseline_rows: string;
  readonly transactions: string;
  readonly status: unknown;
  readonly updated_at: Date;
  /** See {@link PIPELINE_COLUMNS}. */
  readonly tables: readonly CapturedTable[];
  readonly baselines: readonly BaselineRecord[];
}

/** Columns of a {@link PipelineRow}, from `banyan.pipelines p`. */
export const PIPELINE_COLUMNS = `p.*, coalesce((
  SELECT json_agg(json_strip_nulls(json_build_object('table', t.table_name, 'stream', t.stream_type, 'role', t.role,
                                                     'since', t.since, 'seen', t.seen, 'left', t.left_at)) ORDER BY t.table_name)
    FROM banyan.captured_tables t WHERE t.pipeline_id = p.id), '[]') AS tables, coalesce((
  SELECT json_agg(b.progress ORDER BY b.stream_type) FROM banyan.baselines b WHERE b.pipeline_id = p.id), '[]') AS baselines`;

export function pipelineRecord(row: PipelineRow, source: string): PipelineRecord {
  return {
    name: row.name,
    source,
    epoch: Number(row.epoch),
    phase: row.phase,
    checkpoint: row.checkpoint ?? undefined,
    baselinePosition: row.baseline_position ?? undefined,
    ledger: {
      changesIn: Number(row.changes_in),
      changesClaimed: Number(row.changes_claimed),
      changesFallback: Number(row.changes_fallback),
      changesUnchanged: Number(row.changes_unchanged),
      changesParked: Number(row.changes_parked),
      changesEchoed: Number(row.changes_echoed),
      events: Number(row.events),
      baselined: Number(row.baselined),
      baselineRows: Number(row.baseline_rows),
      transactions: Number(row.transactions),
    },
    tables: row.tables,
    ...(row.baselines.length === 0 ? {} : { baselines: row.baselines }),
    status: row.status,
    updatedAt: row.updated_at.toISOString(),
  };
}

/** Timestamps as ISO 8601 with microseconds, whatever the session's settings. */
const ISO = `'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'`;

/** A timestamp with time zone as that text. */
export function isoText(column: string): string {
  return `to_char(${column} AT TIME ZONE 'UTC', ${ISO})`;
}

/** Columns of a {@link EventRow}, from `banyan.events e LEFT JOIN banyan.sources s`. */
export const EVENT_COLUMNS = `e.event_id, coalesce(s.uri, 'urn:banyan') AS uri, e.stream_id, e.version, e.type,
  ${isoText("e.time")} AS time, ${isoText("e.recorded_time")} AS recorded_time,
  e.origin, e.schema_version, e.source_position, e.source_transaction, e.mapping_version, e.correlation_id,
  e.causation_id, e.actor, e.metadata, e.data::text AS data, e.transaction_id::text AS transaction_id, e.position::text AS position`;

export interface EventRow {
  readonly event_id: string;
  readonly uri: string;
  readonly stream_id: string;
  readonly version: number;
  readonly type: string;
  readonly time: string;
  readonly recorded_time: string;
  readonly origin: Origin;
  readonly schema_version: number;
  readonly source_position: Position | null;
  readonly source_transaction: string | null;
  readonly mapping_version: number | null;
  readonly correlation_id: string | null;
  readonly causation_id: string | null;
  readonly actor: string | null;
  readonly metadata: Record<string, unknown> | null;
  /** JSON text, so that its length is known without parsing. */
  readonly data: string;
  readonly transaction_id: string;
  readonly position: string;
}

export function recordedEvent(row: EventRow): RecordedEvent {
  return {
    id: row.event_id,
    source: row.uri,
    stream: row.stream_id,
    version: row.version,
    type: row.type,
    time: row.time,
    recordedTime: row.recorded_time,
    origin: row.origin,
    schemaVersion: row.schema_version,
    sourcePosition: row.source_position ?? undefined,
    sourceTransaction: row.source_transaction ?? undefined,
    mappingVersion: row.mapping_version ?? undefined,
    correlationId: row.correlation_id ?? undefined,
    causationId: row.causation_id ?? undefined,
    actor: row.actor ?? undefined,
    metadata: row.metadata ?? undefined,
    data: JSON.parse(row.data) as Record<string, unknown>,
  };
}
