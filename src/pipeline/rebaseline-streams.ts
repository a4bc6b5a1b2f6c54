import { setTimeout as sleep } from "node:timers/promises";
import { baselineContext, keepImages } from "./baseline-events.ts";
import { keyedTables } from "./baseline-plan.ts";
import { ChunkFrontier } from "./chunk-frontier.ts";
import type { EventWriter } from "./event-writer.ts";
import type { Frontiers } from "./frontiers.ts";
import { pushGap } from "./gap-events.ts";
import { mergeChildren } from "./merge-children.ts";
import { parkedChanges } from "./quarantine-release.ts";
import { shapesOf } from "./snapshot-shapes.ts";
import type { Mapping, StreamPlan } from "../mapping/compile.ts";
import { EventBuffer } from "../mapping/event-buffer.ts";
import { idPrefix } from "../mapping/event-id.ts";
import { decodeImage } from "../mapping/row-images.ts";
import { keyOfStream, keyText, streamTypeOf } from "../mapping/stream-id.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import { cellOf } from "../model/column-definition.ts";
import { BanyanError } from "../model/errors.ts";
import type { Position } from "../model/position.ts";
import { Folder, type StreamState } from "../projection/fold.ts";
import type { ChangeSource, ChunkSnapshot } from "../source/change-source.ts";
import { orderOf } from "../source/key-order.ts";
import type { EventStore, ImageChange, NewImage, RebaselineRequest } from "../store/event-store.ts";

/** Streams read anew under one snapshot, in one commit. */
const STREAMS_PER_CHUNK = 200;
const EVENTS_PER_STAGE = 4_000;
const DATA_LENGTH_PER_STAGE_MAX = 8 * 1024 * 1024;
/** Between two looks at whether what is in the log can be seen by now. */
const LOOK_MS = 5;
/** Parts of one aggregate that have an id of their own. */
const PARTS_MAX = 4_096;

export interface RebaselineStreamsOptions {
  readonly pipeline: string;
  readonly source: ChangeSource;
  readonly store: EventStore;
  readonly mapping: Mapping;
  readonly writer: EventWriter;
  readonly frontiers: Frontiers;
}

/**
 * Reads streams anew that somebody asked for, a few hundred at a time: each gets an event that holds its
 * rows as of one snapshot, in place of what was told before. What the log tells of them afterwards, up to
 * where the snapshot was taken, is left out as far as the snapshot saw it.
 *
 * To be called where all that was taken from the log is durable, by whoever has the turn to write.
 *
 * @param applied transactions that were told lately: each must be seen by the snapshot, or its changes
 *   would be undone
 * @param checkpoint where the log was read to
 * @param commit commits what was staged
 * @returns whether some are left that cannot be read yet: because a baseline of their type goes on, or the
 *   new service decides over them, and the rows must not be told in place of what it decided
 */
export async function rebaselineStreams(
  options: RebaselineStreamsOptions,
  {
    applied,
    checkpoint,
    commit,
  }: {
    readonly applied: readonly string[];
    readonly checkpoint: Position;
    readonly commit: () => Promise<void>;
  },
  signal: AbortSignal,
): Promise<boolean> {
  const { store, pipeline, mapping, frontiers, writer } = options;
  // Nobody knows when it went wrong; before the rows were read as a whole it cannot have been.
  const wholeAt = async (type: string): Promise<Position> => {
    const { tables = [] } = (await store.pipeline(pipeline)) ?? {};
    const since = tables.filter(({ stream }) => stream === type).map((table) => table.since);
    return since.toSorted().at(-1) ?? checkpoint;
  };
  let after = "0";
  let isLeft = false;
  while (!signal.aborted) {
    const requests = await store.rebaselineRequests(pipeline, after, STREAMS_PER_CHUNK);
    if (requests.length === 0) break;
    after = requests.at(-1)!.id;
    await writer.learnMoved();
    const ready = requests.filter(({ stream }) => !writer.isMoved(stream));
    if (ready.length < requests.length) isLeft = true;
    const byType = groupBy(ready, ({ stream }) => streamTypeOf(stream));
    for (const [type, some] of byType) {
      const stream = mapping.stream(type);
      const frontier = frontiers.of(type);
      if (frontier !== undefined && frontier.cursor !== "all") isLeft = true;
      else if (stream !== undefined) {
        const chunk = new RefreshedChunk(options, stream, some, await wholeAt(type));
        await chunk.write(applied, signal);
        await commit();
      }
    }
  }
  return isLeft;
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}

/** What earlier runs read anew and the log has not passed yet. */
export async function noteRebaselined(
  { store, source, mapping, frontiers, pipeline }: Omit<RebaselineStreamsOptions, "writer">,
  checkpoint: Position,
): Promise<void> {
  for (const { streams, seen, fence } of await store.rebaselined(pipeline, checkpoint)) {
    const byType = groupBy(streams, streamTypeOf);
    for (const [type, some] of byType) {
      const stream = mapping.stream(type);
      if (stream === undefined) continue;
      const chunk = { sees: source.visibility(seen), fence: fence.slice(0, 16) };
      noteRefreshed({ mapping, frontiers }, stream, new Set(some), chunk);
    }
  }
}

function noteRefreshed(
  { mapping, frontiers }: Pick<RebaselineStreamsOptions, "mapping" | "frontiers">,
  stream: StreamPlan,
  streams: ReadonlySet<string>,
  chunk: { readonly sees: (transaction: string) => boolean; readonly fence: string },
): void {
  const [root] = keyedTables(mapping, stream);
  const order = root!.columns.map((column) => orderOf(root!.table.columns[column]!.type));
  const frontier = frontiers.of(stream.type) ?? new ChunkFrontier(order, "all");
  const refresh = frontier.refreshing();
  refresh.opened(chunk, streams);
  refresh.durable();
  frontiers.set(stream.type, frontier);
}

/** Streams of one type that are read anew under one snapshot. */
class RefreshedChunk {
  readonly #options: RebaselineStreamsOptions;
  readonly #stream: StreamPlan;
  readonly #requests: ReadonlyMap<string, RebaselineRequest>;
  readonly #ids: readonly string[];
  readonly #from: Position;
  #mappers: readonly TableMapper[] = [];
  /** Where in the log the last event of each stream was. */
  #known: ReadonlyMap<string, Position> = new Map();

  constructor(
    options: RebaselineStreamsOptions,
    stream: StreamPlan,
    requests: readonly RebaselineRequest[],
    from: Position,
  ) {
    this.#options = options;
    this.#stream = stream;
    this.#requests = new Map(requests.map((request) => [request.stream, request]));
    this.#ids = requests.map(({ id }) => id);
    this.#from = from;
  }

  async write(applied: readonly string[], signal: AbortSignal): Promise<void> {
    const { source, mapping } = this.#options;
    const reader = source.openChunks(keyedTables(mapping, this.#stream));
    try {
      for (;;) {
        const snapshot = await reader.open(signal);
        try {
          // The log tells of a commit before the source shows it to others.
          if (applied.every((transaction) => snapshot.sees(transaction)))
            return await this.#read(snapshot, signal);
        } finally {
          await snapshot.close();
        }
        await sleep(LOOK_MS, undefined, { signal });
      }
    } finally {
      await reader.close();
    }
  }

  async #read(snapshot: ChunkSnapshot, signal: AbortSignal): Promise<void> {
    const { writer, mapping, frontiers, store, pipeline } = this.#options;
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
        const { root, children } = aggregate;
        const owner = root === undefined ? children.findIndex(({ length }) => length > 0) + 1 : 0;
        const stream = this.#mappers[owner]!.streamOf(root ?? children[owner - 1]![0]!);
        const part = met.get(stream) ?? 0;
        met.set(stream, part + 1);
        this.#push(events, snapshot, stream, aggregate, part);
        keepImages(images, this.#mappers, aggregate);
        if (events.length >= EVENTS_PER_STAGE || events.dataLength >= DATA_LENGTH_PER_STAGE_MAX)
          await stage();
      }
    }
    for (const stream of streams)
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
    await stage();
    const changed = await this.#images(images);
    const skipped: string[] = [];
    for (const stream of streams) {
      for await (const records of parkedChanges(store, pipeline, stream))
        skipped.push(...records.map(({ id }) => id));
      writer.mapper.blocked.delete(stream);
    }
    const { seen, fence } = snapshot;
    const rebaselined = { ids: this.#ids, seen, fence };
    await writer.stageVersioned(new EventBuffer(), changed, [], { skipped, rebaselined });
    const chunk = { sees: snapshot.sees, fence: fence.slice(0, 16) };
    noteRefreshed({ mapping, frontiers }, this.#stream, new Set(streams), chunk);
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
