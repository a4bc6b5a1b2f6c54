import { versionConflict } from "../../src/store/append-rules.ts";
import { BanyanError, invariant } from "../../src/model/errors.ts";
import type { EventBatch, RecordedEvent } from "../../src/model/event.ts";
import type { MappingDefinition } from "../../src/model/mapping-definition.ts";
import type { Position } from "../../src/model/position.ts";
import type {
  FoldEvent,
  ParkedRecord,
  PipelineRecord,
  RebaselineRequest,
} from "../../src/store/event-store.ts";

/** All that a memory store holds, as last committed. */
export interface MemoryState {
  /** In the order of their commits. */
  readonly log: RecordedEvent[];
  /** The event of version n at index n - 1. */
  readonly streams: Map<string, RecordedEvent[]>;
  readonly ids: Map<string, RecordedEvent>;
  readonly pipelines: Map<string, MemoryPipeline>;
  /** By fingerprint. */
  readonly mappings: Map<
    string,
    { readonly version: number; readonly definition: MappingDefinition }
  >;
  readonly parked: ParkedEntry[];
  readonly rebaselines: RebaselineEntry[];
}

export interface MemoryPipeline {
  record: PipelineRecord;
  quarantineGeneration: number;
  baselinePaused: boolean;
  /** Whether the writer of the present epoch is open. */
  isHeld: boolean;
  /** By {@link imageKey}. */
  readonly images: Map<string, string>;
}

export interface ParkedEntry {
  readonly pipeline: string;
  record: ParkedRecord;
  state: "pending" | "retried" | "skipped";
}

export interface RebaselineEntry {
  readonly pipeline: string;
  request: RebaselineRequest;
  done?: { readonly seen: string; readonly fence: Position };
  isRefused?: boolean;
}

export function emptyState(): MemoryState {
  return {
    log: [],
    streams: new Map(),
    ids: new Map(),
    pipelines: new Map(),
    mappings: new Map(),
    parked: [],
    rebaselines: [],
  };
}

/** Adds events, all or none: each must be the next of its stream and its id must be new. */
export function addEvents(state: MemoryState, events: readonly RecordedEvent[]): void {
  assertFits(state, events);
  for (const event of events) {
    state.log.push(event);
    state.ids.set(event.id, event);
    const stream = state.streams.get(event.stream);
    if (stream === undefined) state.streams.set(event.stream, [event]);
    else stream.push(event);
  }
}

/**
 * @throws BanyanError `STREAM_VERSION_CONFLICT` when a place in a stream is taken, `INVARIANT_BROKEN`
 *   when an id is taken or a place would stay empty
 */
export function assertFits(state: MemoryState, events: readonly RecordedEvent[]): void {
  const heads = new Map<string, number>();
  const ids = new Set<string>();
  for (const { id, stream, version } of events) {
    const head = heads.get(stream) ?? state.streams.get(stream)?.length ?? 0;
    if (version <= head) throw versionConflict(stream, head, version - 1);
    invariant(version === head + 1, `version ${head + 1} of ${stream} is missing`);
    invariant(!state.ids.has(id) && !ids.has(id), `event ${id} is in the store already`);
    heads.set(stream, version);
    ids.add(id);
  }
}

export function imageKey(table: string, key: string): string {
  return `${table}\0${key}`;
}

export function pipelineOf(state: MemoryState, name: string): MemoryPipeline {
  const pipeline = state.pipelines.get(name);
  if (pipeline === undefined) {
    throw new BanyanError("PIPELINE_UNKNOWN", `there is no pipeline ${name}`);
  }
  return pipeline;
}

/** The events of a batch as they are read back. @param nowUs their recorded time */
export function recordedEvents(batch: EventBatch, source: string, nowUs: number): RecordedEvent[] {
  const events: RecordedEvent[] = [];
  for (let i = 0; i < batch.length; i++) {
    const context = batch.contexts[i]!;
    events.push({
      id: uuidText(batch.ids, i * 16),
      source,
      stream: batch.streams[i]!,
      version: batch.versions[i]!,
      type: batch.types[i]!,
      time: isoMicros(batch.timesUs[i]!),
      recordedTime: isoMicros(nowUs),
      origin: context.origin,
      schemaVersion: 1,
      sourcePosition: batch.positions[i],
      sourceTransaction: context.sourceTransaction,
      mappingVersion: context.mappingVersion,
      correlationId: context.correlationId,
      causationId: batch.causationIds.get(i) ?? context.causationId,
      actor: context.actor,
      metadata: context.metadata === undefined ? undefined : asObject(context.metadata),
      data: asObject(batch.data[i]!),
    });
  }
  return events;
}

/** @param us microseconds since 1970 */
export function isoMicros(us: number): string {
  const seconds = Math.floor(us / 1_000_000);
  const micros = us - seconds * 1_000_000;
  return `${new Date(seconds * 1000).toISOString().slice(0, -4)}${String(micros).padStart(6, "0")}Z`;
}

function asObject(json: string): Record<string, unknown> {
  return JSON.parse(json) as Record<string, unknown>;
}

function uuidText(ids: Uint8Array, at: number): string {
  const hex = Buffer.from(ids.subarray(at, at + 16)).toString("hex");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** What a fold reads of it. */
export function foldEvent(event: RecordedEvent): FoldEvent {
  const { stream, version, type, data, origin, mappingVersion, sourceTransaction, time } = event;
  const facts = { stream, version, type, data, origin, mappingVersion, sourceTransaction, time };
  return origin === "baseline" ? { ...facts, readAt: event.sourcePosition! } : facts;
}
