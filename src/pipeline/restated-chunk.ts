import { baselineContext, keepImages } from "./baseline-events.ts";
import { keyedTables } from "./baseline-plan.ts";
import type { ReadChunk } from "./chunk-frontier.ts";
import type { EventWriter } from "./event-writer.ts";
import { pushGap } from "./gap-events.ts";
import { mergeChildren, streamOfAggregate, type MergedAggregate } from "./merge-children.ts";
import { parkedChanges } from "./quarantine-release.ts";
import { RestatedImages } from "./restated-images.ts";
import { shapesOf } from "./snapshot-shapes.ts";
import { isStageFull } from "./stage-size.ts";
import type { Mapping } from "../mapping/compile.ts";
import type { StreamPlan } from "../mapping/stream-plan.ts";
import { EventBuffer } from "../mapping/event-buffer.ts";
import { idPrefix } from "../mapping/event-id.ts";
import { keyOfStream } from "../mapping/stream-id.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import { BanyanError } from "../model/errors.ts";
import type { Position } from "../model/position.ts";
import type { ChangeSource, ChunkSnapshot, RowSnapshot } from "../source/change-source.ts";
import type { EventStore, NewImage, RebaselineRequest } from "../store/event-store.ts";

/** Parts of one aggregate that have an id of their own. */
const PARTS_MAX = 4_096;

export interface RestatingOptions {
  readonly pipeline: string;
  readonly source: ChangeSource;
  readonly store: EventStore;
  readonly mapping: Mapping;
  readonly writer: EventWriter;
}

/** What was done about the streams of a chunk. */
export interface Restated extends ReadChunk {
  /** Those of which the log tells no longer what the snapshot saw. */
  readonly streams: readonly string[];
  /** Requests that named nothing: neither side has anything of their streams. */
  readonly nothing: readonly RebaselineRequest[];
  readonly rows: number;
}

/**
 * Streams of one type that are read anew under one snapshot, and become one commit. In memory is only what
 * is staged next, however large an aggregate is.
 */
export class RestatedChunk {
  readonly #options: RestatingOptions;
  readonly #stream: StreamPlan;
  readonly #requests: ReadonlyMap<string, RebaselineRequest>;
  readonly #all: readonly RebaselineRequest[];
  readonly #from: Position;
  #mappers: readonly TableMapper[] = [];
  /** Where in the log the last event of each stream was. */
  #known: ReadonlyMap<string, Position> = new Map();

  constructor(
    options: RestatingOptions,
    stream: StreamPlan,
    requests: readonly RebaselineRequest[],
    from: Position,
  ) {
    this.#options = options;
    this.#stream = stream;
    this.#requests = new Map(requests.map((request) => [request.stream, request]));
    this.#all = requests;
    this.#from = from;
  }

  /**
   * Stages what becomes of the streams, and that it is done.
   *
   * @throws BanyanError `VALUE_UNMAPPABLE` when one of the ids is no key of this type: what was staged is
   *   to be dropped, see `EventWriter.dropBaseline`
   */
  async write(signal: AbortSignal): Promise<Restated> {
    const { source, mapping } = this.#options;
    const reader = source.openChunks(keyedTables(mapping, this.#stream));
    try {
      const snapshot = await reader.open(signal);
      try {
        return await this.#read(snapshot, signal);
      } finally {
        await snapshot.close();
      }
    } finally {
      await reader.close();
    }
  }

  async #read(snapshot: ChunkSnapshot, signal: AbortSignal): Promise<Restated> {
    const { writer, mapping, store } = this.#options;
    const tables = await shapesOf(snapshot.tables, { mapping, writer }, signal, true);
    const mappers = tables.map((table) => mapping.mapperOf(table)!);
    this.#mappers = mappers;
    const isRestated = (stream: string): boolean => this.#requests.has(stream);
    const kept = new RestatedImages({ store, mapping, writer, mappers, isRestated });
    const streams = [...this.#requests.keys()];
    this.#known = await kept.forgetTold(streams, signal);
    const met = new Set<string>();
    const { rows, push, stage } = this.#staging(snapshot, kept);
    for await (const group of this.#aggregates(snapshot, streams, signal)) {
      for (const aggregate of group) {
        const stream = streamOfAggregate(mappers, aggregate);
        // An id may name a row without being its key's text, where only the source can tell.
        if (!isRestated(stream)) continue;
        met.add(stream);
        await push(stream, aggregate);
      }
    }
    const isNothing = (stream: string): boolean =>
      !met.has(stream) && !this.#known.has(stream) && !writer.mapper.blocked.has(stream);
    const nothing = [...this.#requests.values()].filter(({ stream }) => isNothing(stream));
    const told = streams.filter((stream) => !isNothing(stream));
    for (const stream of told) if (!met.has(stream)) await push(stream, undefined);
    const [rewritten] = await snapshot.rewritten();
    if (rewritten !== undefined) {
      throw new BanyanError(
        "SOURCE_UNREACHABLE",
        `${rewritten} was truncated or rewritten while it was read`,
        {
          hint: "It is tried again.",
        },
      );
    }
    await snapshot.durable(signal);
    await stage();
    const { seen, fence, sees } = snapshot;
    if (told.length > 0) await this.#settle(told, { seen, fence });
    return { streams: told, nothing, rows: rows(), sees, fence: fence.slice(0, 16) };
  }

  #aggregates(
    snapshot: ChunkSnapshot,
    streams: readonly string[],
    signal: AbortSignal,
  ): ReturnType<typeof mergeChildren> {
    const keys = streams.map(keyOfStream);
    const rowsOf: Pick<RowSnapshot, "readRows"> = {
      readRows: (table, _order, aborted) => snapshot.readRange(table, { keys }, aborted),
    };
    return mergeChildren(rowsOf, this.#mappers, signal);
  }

  /** Stages events with the images of their rows, as many as are worth it. */
  #staging(snapshot: ChunkSnapshot, kept: RestatedImages) {
    const { writer } = this.#options;
    const parts = new Map<string, number>();
    let events = new EventBuffer();
    let images: NewImage[] = [];
    let rows = 0;
    const stage = async (): Promise<void> => {
      const staged = events;
      const changes = await kept.changesOf(images);
      events = new EventBuffer();
      images = [];
      writer.addToLedger({ events: staged.length });
      await writer.assignVersions(staged);
      await writer.stageBaseline(staged, { images: changes });
    };
    const push = async (stream: string, aggregate: MergedAggregate | undefined): Promise<void> => {
      const part = parts.get(stream) ?? 0;
      parts.set(stream, part + 1);
      this.#push(events, snapshot, stream, aggregate, part);
      if (aggregate !== undefined) rows += keepImages(images, this.#mappers, aggregate);
      if (isStageFull(events, images.length)) await stage();
    };
    return { rows: () => rows, push, stage };
  }

  /** What waits in quarantine is given up: the rows hold what came of it. */
  async #settle(
    streams: readonly string[],
    snapshot: Pick<ChunkSnapshot, "seen" | "fence">,
  ): Promise<void> {
    const { writer, store, pipeline } = this.#options;
    const { blocked } = writer.mapper;
    for (const stream of streams) {
      // Of the others nothing waits.
      if (!blocked.has(stream)) continue;
      for await (const records of parkedChanges(store, pipeline, stream)) {
        const skipped = records.map(({ id }) => id);
        await writer.stageVersioned(new EventBuffer(), [], [], { skipped });
      }
      blocked.delete(stream);
    }
    const all = new Set(streams);
    const ids = this.#all.flatMap(({ id, stream }) => (all.has(stream) ? [id] : []));
    const rebaselined = { ids, ...snapshot };
    await writer.stageVersioned(new EventBuffer(), [], [], { rebaselined });
  }

  #push(
    events: EventBuffer,
    { fence }: ChunkSnapshot,
    stream: string,
    aggregate: MergedAggregate | undefined,
    part: number,
  ): void {
    const { id, reason } = this.#requests.get(stream)!;
    const { writer } = this.#options;
    const ordinal = (Number(id) * PARTS_MAX + part) % 2 ** 32;
    pushGap(events, this.#stream, this.#mappers, stream, aggregate, ordinal, {
      prefix: idPrefix(fence.slice(0, 16)),
      context: baselineContext(this.#mappers[0]!.mappingVersion),
      // What came after its last event, if anything did, is what nobody knows.
      from: this.#known.get(stream) ?? this.#from,
      to: fence,
      reason,
      tag: writer.mapper.tag,
    });
  }
}
