import { bytewise } from "./bytewise.ts";
import { MemoryCaptureWriter } from "./capture-writer.ts";
import { MemoryDualStore } from "./dual-store.ts";
import { MemoryParityStore } from "./parity-store.ts";
import type { ParityStore } from "../../src/store/parity-store.ts";
import { nativeEvent } from "./native-event.ts";
import type { ReverseStore } from "../../src/store/reverse-store.ts";
import { MemoryQuarantine } from "./quarantine.ts";
import { MemoryReverseStore } from "./reverse-store.ts";
import { MemoryServiceStore } from "./service-store.ts";
import {
  addEvents,
  emptyState,
  foldEvent,
  isoMicros,
  type MemoryPipeline,
  type RebaselineEntry,
} from "./state.ts";
import { BanyanError, invariant } from "../../src/model/errors.ts";
import type { NewEvent, RecordedEvent } from "../../src/model/event.ts";
import type { MappingDefinition } from "../../src/model/mapping-definition.ts";
import type { Position } from "../../src/model/position.ts";
import {
  assertAppendable,
  expectedRange,
  firstResult,
  versionConflict,
} from "../../src/store/append-rules.ts";
import type {
  AppendResult,
  CaptureWriter,
  EventStore,
  ExpectedVersion,
  FeedCursor,
  FeedPage,
  FoldEvent,
  Ledger,
  ListedStream,
  PipelineRecord,
  PipelineRequests,
  Quarantine,
  Rebaselined,
  RebaselineRequest,
  RebaselineTally,
  StreamVersionPage,
} from "../../src/store/event-store.ts";

const FEED_EVENTS_MAX = 10_000;
const EVENTS_PER_PAGE_MAX = 2_000;

/** An event store that is gone with its process: for tests, and to try things out. */
export class MemoryEventStore implements EventStore {
  readonly #state = emptyState();
  readonly quarantine: Quarantine = new MemoryQuarantine(this.#state);
  readonly parity: ParityStore = new MemoryParityStore(this.#state);
  readonly dual = new MemoryDualStore(this.#state);
  readonly reverse: ReverseStore = new MemoryReverseStore(this.#state);
  readonly services = new MemoryServiceStore(this.#state, this.dual);

  migrate(): Promise<void> {
    return Promise.resolve();
  }

  async append(
    stream: string,
    events: readonly NewEvent[],
    expected: ExpectedVersion,
  ): Promise<AppendResult> {
    assertAppendable(stream, events);
    const [from, to] = expectedRange(expected);
    const known = events.flatMap(({ id }) => this.#state.ids.get(id.toLowerCase()) ?? []);
    if (known.length > 0) return firstResult(stream, events, known);
    const current = this.#state.streams.get(stream)?.length ?? 0;
    if (current < from || current > to) throw versionConflict(stream, current, expected);
    const now = isoMicros(Date.now() * 1000);
    addEvents(
      this.#state,
      events.map((event, i) => nativeEvent(event, stream, current + i + 1, now)),
    );
    return { firstVersion: current + 1, lastVersion: current + events.length };
  }

  async *readStream(
    stream: string,
    range: { readonly fromVersion?: number; readonly toVersion?: number } = {},
  ): AsyncGenerator<RecordedEvent, void, void> {
    const { fromVersion = 1, toVersion = Infinity } = range;
    for (const event of this.#state.streams.get(stream) ?? []) {
      if (event.version >= fromVersion && event.version <= toVersion) yield structuredClone(event);
    }
  }

  async *readStreams(streams: readonly string[]): AsyncGenerator<RecordedEvent, void, void> {
    for (const stream of streams) yield* this.readStream(stream);
  }

  async readAll(after: FeedCursor | undefined, limit: number): Promise<FeedPage> {
    invariant(
      Number.isInteger(limit) && limit >= 1 && limit <= FEED_EVENTS_MAX,
      `a page holds 1 to ${FEED_EVENTS_MAX} events, not ${limit}`,
    );
    const start = Number(after ?? 0);
    const events = structuredClone(this.#state.log.slice(start, start + limit));
    const next = events.length === 0 ? after : (String(start + events.length) as FeedCursor);
    return { events, next };
  }

  /** What is committed is shown at once. */
  feedHold(): Promise<undefined> {
    return Promise.resolve(undefined);
  }

  async *readStreamType(
    streamType: string,
    signal: AbortSignal,
  ): AsyncGenerator<readonly FoldEvent[], void, void> {
    signal.throwIfAborted();
    const streams = [...this.#state.streams]
      .filter(([id]) => id.startsWith(`${streamType}-`))
      .sort(([a], [b]) => bytewise(a, b));
    const events = streams.flatMap(([, stream]) => stream.map(foldEvent));
    for (let at = 0; at < events.length; at += EVENTS_PER_PAGE_MAX) {
      yield structuredClone(events.slice(at, at + EVENTS_PER_PAGE_MAX));
      signal.throwIfAborted();
    }
  }

  async listStreams(
    streamType: string,
    after: string | undefined,
    limit: number,
  ): Promise<readonly ListedStream[]> {
    const behind = ([id]: [string, unknown]): boolean =>
      id.startsWith(`${streamType}-`) && (after === undefined || bytewise(id, after) > 0);
    return [...this.#state.streams]
      .filter(behind)
      .sort(([a], [b]) => bytewise(a, b))
      .slice(0, limit)
      .map(([stream, events]) => ({
        stream,
        isCaptured: events.some(({ mappingVersion }) => mappingVersion !== undefined),
      }));
  }

  async *recentVersions(
    eventsMax: number,
    signal: AbortSignal,
  ): AsyncGenerator<StreamVersionPage, void, void> {
    signal.throwIfAborted();
    const recent = eventsMax === 0 ? [] : this.#state.log.slice(-eventsMax).reverse();
    yield {
      streams: recent.map(({ stream }) => stream),
      versions: recent.map(({ version }) => version),
    };
  }

  async mappings(): Promise<ReadonlyMap<number, MappingDefinition>> {
    return new Map([...this.#state.mappings.values()].map((m) => [m.version, m.definition]));
  }

  async pipeline(name: string): Promise<PipelineRecord | undefined> {
    return this.#state.pipelines.get(name)?.record;
  }

  async openCapture(name: string, source: string, ifFree?: "if-free"): Promise<CaptureWriter> {
    const known = this.#state.pipelines.get(name);
    if (ifFree !== undefined && known?.isHeld === true)
      throw new BanyanError("PIPELINE_FENCED", `another writer has pipeline ${name}`);
    if (
      known !== undefined &&
      known.record.source !== source &&
      known.record.checkpoint !== undefined
    ) {
      throw new BanyanError("SOURCE_CHANGED", `pipeline ${name} belongs to ${known.record.source}`);
    }
    const pipeline = known ?? newPipeline(name, source);
    const { epoch, phase, source: before } = pipeline.record;
    // What was begun was begun in the other source.
    const now = before === source ? phase : "new";
    pipeline.record = { ...pipeline.record, source, epoch: epoch + 1, phase: now };
    pipeline.isHeld = true;
    this.#state.pipelines.set(name, pipeline);
    return new MemoryCaptureWriter(this.#state, pipeline.record);
  }

  isCaptured(name: string): Promise<boolean> {
    return Promise.resolve(this.#state.pipelines.get(name)?.isHeld ?? false);
  }

  requests(name: string): Promise<PipelineRequests> {
    const baselinePaused = this.#state.pipelines.get(name)?.baselinePaused ?? false;
    return Promise.resolve({ baselinePaused });
  }

  pauseBaseline(name: string, paused: boolean): Promise<boolean> {
    const pipeline = this.#state.pipelines.get(name);
    if (pipeline !== undefined) pipeline.baselinePaused = paused;
    return Promise.resolve(pipeline !== undefined);
  }

  requestRebaseline(pipeline: string, streams: readonly string[], reason: string): Promise<number> {
    const { rebaselines, pipelines } = this.#state;
    const of = pipelines.get(pipeline);
    if (of === undefined) return Promise.resolve(0);
    of.quarantineGeneration += 1;
    const pending = new Set(this.#rebaselines(pipeline).map(({ request }) => request.stream));
    const asked = [...new Set(streams)].filter((stream) => !pending.has(stream));
    for (const stream of asked) {
      const request = { id: String(rebaselines.length + 1), stream, reason, attempts: 0 };
      rebaselines.push({ pipeline, request });
    }
    return Promise.resolve(asked.length);
  }

  rebaselineRequests(
    pipeline: string,
    after: string,
    limit: number,
  ): Promise<readonly RebaselineRequest[]> {
    const requests = this.#rebaselines(pipeline).map(({ request }) => request);
    return Promise.resolve(requests.filter(({ id }) => Number(id) > Number(after)).slice(0, limit));
  }

  rebaselineTally(pipeline: string, after: string): Promise<RebaselineTally> {
    const behind = this.#state.rebaselines.filter(
      (entry) => entry.pipeline === pipeline && Number(entry.request.id) > Number(after),
    );
    return Promise.resolve({
      last: behind.at(-1)?.request.id ?? after,
      waiting: behind.filter(({ done, isRefused = false }) => done === undefined && !isRefused)
        .length,
      readAnew: behind.filter(({ done }) => done !== undefined).length,
    });
  }

  noteAttempts(ids: readonly string[], by: 1 | -1): Promise<void> {
    for (const entry of this.#state.rebaselines) {
      const { request, done, isRefused = false } = entry;
      if (!ids.includes(request.id) || done !== undefined || isRefused) continue;
      entry.request = { ...request, attempts: Math.max(0, request.attempts + by) };
    }
    return Promise.resolve();
  }

  withdrawRebaselines(pipeline: string, streams?: readonly string[]): Promise<number> {
    const withdrawn = this.#rebaselines(pipeline).filter(
      ({ request }) => streams?.includes(request.stream) ?? true,
    );
    for (const entry of withdrawn) entry.isRefused = true;
    return Promise.resolve(withdrawn.length);
  }

  rebaselined(pipeline: string, after: Position): Promise<readonly Rebaselined[]> {
    return Promise.resolve(
      this.#state.rebaselines.flatMap(({ pipeline: of, request, done }) =>
        of === pipeline && done !== undefined && done.fence > after
          ? [{ streams: [request.stream], ...done }]
          : [],
      ),
    );
  }

  /** Not carried out yet. */
  #rebaselines(pipeline: string): RebaselineEntry[] {
    return this.#state.rebaselines.filter(
      (one) => one.pipeline === pipeline && one.done === undefined && one.isRefused !== true,
    );
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

const NOTHING_COUNTED: Ledger = {
  changesIn: 0,
  changesClaimed: 0,
  changesFallback: 0,
  changesUnchanged: 0,
  changesParked: 0,
  changesEchoed: 0,
  events: 0,
  baselined: 0,
  baselineRows: 0,
  transactions: 0,
};

function newPipeline(name: string, source: string): MemoryPipeline {
  return {
    record: {
      name,
      source,
      epoch: 0,
      phase: "new",
      checkpoint: undefined,
      baselinePosition: undefined,
      ledger: NOTHING_COUNTED,
      tables: [],
      status: {},
      updatedAt: new Date().toISOString(),
    },
    quarantineGeneration: 0,
    baselinePaused: false,
    isHeld: false,
    images: new Map(),
  };
}
