import { baselineContext, keepImages } from "./baseline-events.ts";
import { keyedTables } from "./baseline-plan.ts";
import type { ReadChunk } from "./chunk-frontier.ts";
import type { EventWriter } from "./event-writer.ts";
import { pushGap } from "./gap-events.ts";
import { mergeChildren, streamOfAggregate } from "./merge-children.ts";
import { parkedChanges } from "./quarantine-release.ts";
import { shapesOf } from "./snapshot-shapes.ts";
import { isStageFull } from "./stage-size.ts";
import type { Mapping, StreamPlan } from "../mapping/compile.ts";
import { EventBuffer } from "../mapping/event-buffer.ts";
import { idPrefix } from "../mapping/event-id.ts";
import { decodeImage } from "../mapping/row-images.ts";
import { keyOfStream, keyText } from "../mapping/stream-id.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import { cellOf } from "../model/column-definition.ts";
import { BanyanError } from "../model/errors.ts";
import type { Position } from "../model/position.ts";
import { Folder, type StreamState } from "../projection/fold.ts";
import type { ChangeSource, ChunkSnapshot } from "../source/change-source.ts";
import type { EventStore, ImageChange, NewImage, RebaselineRequest } from "../store/event-store.ts";

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
}

/** Streams of one type that are read anew under one snapshot. */
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
   * @throws BanyanError `VALUE_UNMAPPABLE` when one of the ids is no key of this type: nothing was staged
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
    this.#mappers = tables.map((table) => mapping.mapperOf(table)!);
    const streams = [...this.#requests.keys()];
    this.#known = await lastPositions(store, streams);
    const keys = streams.map(keyOfStream);
    const rowsOf = {
      readRows: (table: (typeof tables)[number], _order: unknown, aborted: AbortSignal) =>
        snapshot.readRange(table, { keys }, aborted),
    };
    const met = new Map<string, number>();
    const images: NewImage[] = [];
    let events = new EventBuffer();
    const stage = async (): Promise<void> => {
      writer.addToLedger({ events: events.length });
      await writer.assignVersions(events);
      await writer.stageBaseline(events, {});
      events = new EventBuffer();
    };
    for await (const group of mergeChildren(rowsOf, this.#mappers, signal)) {
      for (const aggregate of group) {
        const stream = streamOfAggregate(this.#mappers, aggregate);
        // An id may name a row without being its key's text, where only the source can tell.
        if (!this.#requests.has(stream)) continue;
        const part = met.get(stream) ?? 0;
        met.set(stream, part + 1);
        this.#push(events, snapshot, stream, aggregate, part);
        keepImages(images, this.#mappers, aggregate);
        if (isStageFull(events)) await stage();
      }
    }
    const isNothing = (stream: string): boolean =>
      !met.has(stream) && !this.#known.has(stream) && !writer.mapper.blocked.has(stream);
    const nothing = [...this.#requests.values()].filter(({ stream }) => isNothing(stream));
    const told = streams.filter((stream) => !isNothing(stream));
    for (const stream of told)
      if (!met.has(stream)) this.#push(events, snapshot, stream, undefined, 0);
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
    const changed = await this.#images(images);
    const { seen, fence, sees } = snapshot;
    if (told.length > 0) await this.#settle(told, changed, { seen, fence });
    return { streams: told, nothing, sees, fence: fence.slice(0, 16) };
  }

  /** What waits in quarantine is given up: the rows hold what came of it. */
  async #settle(
    streams: readonly string[],
    images: readonly ImageChange[],
    snapshot: Pick<ChunkSnapshot, "seen" | "fence">,
  ): Promise<void> {
    const { writer, store, pipeline } = this.#options;
    const skipped: string[] = [];
    for (const stream of streams) {
      for await (const records of parkedChanges(store, pipeline, stream))
        skipped.push(...records.map(({ id }) => id));
      writer.mapper.blocked.delete(stream);
    }
    const all = new Set(streams);
    const ids = this.#all.flatMap(({ id, stream }) => (all.has(stream) ? [id] : []));
    const rebaselined = { ids, ...snapshot };
    await writer.stageVersioned(new EventBuffer(), images, [], { skipped, rebaselined });
  }

  #push(
    events: EventBuffer,
    { fence }: ChunkSnapshot,
    stream: string,
    aggregate: Parameters<typeof pushGap>[4],
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

  /**
   * What becomes of kept images: those of rows that these streams told of go, those of the rows that were
   * read come. An image that names another aggregate stays: the log has yet to tell of the move.
   */
  async #images(read: readonly NewImage[]): Promise<readonly ImageChange[]> {
    const { writer, mapping } = this.#options;
    const changes: ImageChange[] = [];
    const told = await this.#toldRows();
    for (const mapper of this.#mappers) {
      if (!mapper.keepsImages) continue;
      const { name } = mapper.table;
      const now = new Map(read.flatMap((one) => (one.table === name ? [[one.key, one]] : [])));
      const keys = [...new Set([...now.keys(), ...(told.get(name) ?? [])])];
      const found = await writer.images(name, keys);
      const columns = mapping.columnsOf(mapper.table);
      for (const [i, key] of keys.entries()) {
        const image = found[i];
        const owner =
          image === undefined ? undefined : mapper.streamIdOf(decodeImage(columns, image));
        if (owner !== undefined && !this.#requests.has(owner)) continue;
        changes.push(now.get(key) ?? { table: name, key, image: undefined });
      }
    }
    return changes;
  }

  /** Keys of rows that the streams hold so far, by table. */
  async #toldRows(): Promise<ReadonlyMap<string, readonly string[]>> {
    const { store, mapping } = this.#options;
    const told = new Map<string, string[]>();
    if (!this.#mappers.some(({ keepsImages }) => keepsImages)) return told;
    const folder = new Folder(await store.mappings(), mapping.inverses());
    for (const stream of this.#requests.keys()) {
      const state: StreamState = new Map();
      for await (const event of store.readStream(stream))
        if (event.mappingVersion !== undefined) folder.apply(state, event);
      for (const { table, role } of this.#mappers) {
        const columns = mapping.columnsOf(table);
        const keys = [...(state.get(role)?.values() ?? [])].map((row) =>
          keyText(
            columns.map((column) => cellOf(row, column)),
            table.key,
          ),
        );
        told.set(table.name, [...(told.get(table.name) ?? []), ...keys]);
      }
    }
    return told;
  }
}

async function lastPositions(
  store: EventStore,
  streams: readonly string[],
): Promise<ReadonlyMap<string, Position>> {
  const positions = new Map<string, Position>();
  for (const stream of streams) {
    for await (const { sourcePosition } of store.readStream(stream))
      if (sourcePosition !== undefined) positions.set(stream, sourcePosition);
  }
  return positions;
}
