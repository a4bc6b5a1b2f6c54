import { noRows, occupied } from "./baseline.ts";
import { baselineContext, baselineStages } from "./baseline-events.ts";
import { keyedTables, keyOrder } from "./baseline-plan.ts";
import { rowsExpected, withChunk, type ChunkCounts, type WrittenChunk } from "./baseline-record.ts";
import { ChunkCut } from "./chunk-cut.ts";
import type { ChunkFrontier } from "./chunk-frontier.ts";
import { ChunkPace, type PaceLimits } from "./chunk-pace.ts";
import { ChunkSize, type SizedChunk } from "./chunk-size.ts";
import type { EventWriter } from "./event-writer.ts";
import type { Frontiers } from "./frontiers.ts";
import { gapStages } from "./gap-stages.ts";
import { RowRate } from "./row-rate.ts";
import type { StatusBoard } from "./status-board.ts";
import { StoredStreams } from "./stored-streams.ts";
import type { Mapping } from "../mapping/compile.ts";
import type { StreamPlan } from "../mapping/stream-plan.ts";
import { idPrefix } from "../mapping/event-id.ts";
import { shapesOf } from "./snapshot-shapes.ts";
import { BanyanError } from "../model/errors.ts";
import { failpoint } from "../runtime/failpoint.ts";
import { WorkingTime } from "../runtime/working-time.ts";
import type {
  ChangeSource,
  ChunkKey,
  ChunkReader,
  ChunkSnapshot,
  OrderColumn,
  RowSnapshot,
} from "../source/change-source.ts";
import { compareKeyTexts } from "../source/key-order.ts";
import type {
  BaselineRecord,
  EventStore,
  ListedStream,
  PipelinePhase,
} from "../store/event-store.ts";

/** Stream types read at once, each with a connection per table. */
const STREAM_TYPES_AT_ONCE = 2;

export interface ChunkedBaselineOptions {
  readonly pipeline: string;
  readonly source: ChangeSource;
  readonly store: EventStore;
  readonly mapping: Mapping;
  readonly writer: EventWriter;
  readonly board: StatusBoard;
  readonly frontiers: Frontiers;
  readonly limits: PaceLimits;
  /** Begun and not finished, by stream type. */
  readonly records: readonly BaselineRecord[];
  readonly why: string;
  /** Whether no chunk may be opened now. */
  readonly isHeld: () => boolean;
  readonly onProgress: () => void;
}

/** What the chunks of one stream type are read with. */
interface Reading {
  readonly stream: StreamPlan;
  readonly frontier: ChunkFrontier;
  readonly reader: ChunkReader;
  /** Of a type that is read anew: what the store has of it. */
  readonly stored: StoredStreams | undefined;
}

/** A chunk on its way to the store, or why nothing of it was kept. */
type ChunkOutcome =
  | SizedChunk
  /** The table below it that was. */
  | { readonly rewritten: string }
  /** It is read again: somebody writes what must not meet it, or the service has just let go of some of it. */
  | { readonly isGivenUp: true };

/**
 * Reads the baseline of stream types in chunks while the log is followed: each chunk under a short
 * snapshot of its own, made durable together with how far the baseline has come. A kill at any point
 * goes on behind the last finished chunk.
 *
 * What the log tells of a chunk meanwhile, {@link ChunkFrontier} decides.
 */
export class ChunkedBaseline {
  readonly #options: ChunkedBaselineOptions;
  readonly #records: Map<string, BaselineRecord>;
  readonly #pace: ChunkPace;
  /** By the time in which it reads. */
  readonly #rate = new RowRate();
  /** By the clock, by which the rest is going to take its time too. */
  readonly #progress = new RowRate();
  #rowsNow = 0;
  /** A commit that failed ends all, also where nobody writes any more: the log may wait for that chunk. */
  readonly #broken = new AbortController();

  constructor(options: ChunkedBaselineOptions) {
    const { pipeline, source, store, limits, board, isHeld, onProgress } = options;
    this.#options = options;
    this.#records = new Map(options.records.map((record) => [record.stream, record]));
    this.#pace = new ChunkPace({
      pipeline,
      source,
      store,
      limits,
      isHeld,
      lagSeconds: () => board.snapshot().lag.seconds,
      onRest: () => {
        this.#tell();
        onProgress();
      },
    });
  }

  /** Whether every stream type has been read to its end. */
  get isDone(): boolean {
    return [...this.#records.values()].every(({ done }) => done);
  }

  /** @throws the signal's reason when it aborts; BanyanError `STORE_OCCUPIED` and those of source and store */
  async run(signal: AbortSignal): Promise<void> {
    const waiting = this.#options.mapping.streams.filter(
      ({ type }) => this.#records.get(type)?.done === false,
    );
    if (waiting.length === 0) return;
    this.#tell();
    const reading = AbortSignal.any([signal, this.#broken.signal]);
    const failures: unknown[] = [];
    const work = async (): Promise<void> => {
      try {
        for (let next = waiting.shift(); next !== undefined; next = waiting.shift())
          await this.#readStream(next, reading);
      } catch (error) {
        failures.push(error);
        this.#broken.abort();
      }
    };
    const over = new AbortController();
    const watching = this.#pace.watch(AbortSignal.any([reading, over.signal])).catch((error) => {
      failures.push(error);
      this.#broken.abort();
    });
    await Promise.all(Array.from({ length: STREAM_TYPES_AT_ONCE }, work));
    over.abort();
    await watching;
    await this.#options.writer.settle();
    if (failures.length > 0) throw failures[0];
  }

  async #readStream(stream: StreamPlan, signal: AbortSignal): Promise<void> {
    const { source, mapping, frontiers } = this.#options;
    const frontier = frontiers.reading(stream.type)!;
    const { tables } = this.#records.get(stream.type)!;
    const reader = source.openChunks(keyedTables(mapping, stream, tables));
    const reading: Reading = { stream, frontier, reader, stored: this.#storedOf(stream) };
    const size = new ChunkSize(this.#options.limits.baselineChunkRowsMax);
    try {
      while (frontier.cursor !== "all") {
        await this.#pace.ready(signal);
        const known = await reading.stored?.bound(cursorKey(frontier), size.rows, signal);
        const ended = this.#pace.begin();
        try {
          const outcome = await this.#readChunk(reading, size, known, ended, signal);
          if ("readMs" in outcome) size.succeeded(outcome);
          else ended();
          if ("rewritten" in outcome) {
            const reason = `${outcome.rewritten} was truncated or rewritten while it was read`;
            await this.#pace.failed(size.rewritten(), reason, signal);
          }
        } catch (error) {
          ended();
          signal.throwIfAborted();
          if (!isPassing(error)) throw error;
          const failures = size.failed();
          if (failures === undefined) throw error;
          await this.#pace.failed(failures, (error as Error).message, signal);
        }
      }
    } finally {
      await reader.close();
    }
  }

  #storedOf(stream: StreamPlan): StoredStreams | undefined {
    if (this.#records.get(stream.type)!.gap === undefined) return undefined;
    const { store, mapping } = this.#options;
    const root = mapping.mapperOf(mapping.shapeOf(stream.ref.root.name)!)!;
    const order = keyOrder(mapping, stream);
    return new StoredStreams({ store, streamType: stream.type, root, order });
  }

  /**
   * @param endMax the chunk ends there at the latest: the store has no more streams up to there than rows
   *   are read at once; absent where that sets no end
   */
  async #readChunk(
    { stream, frontier, reader, stored }: Reading,
    size: ChunkSize,
    endMax: ChunkKey | undefined,
    onDurable: () => void,
    signal: AbortSignal,
  ): Promise<ChunkOutcome> {
    const { frontiers, writer, mapping, limits } = this.#options;
    const after = cursorKey(frontier);
    // Between two chunks somebody may have begun to write what must not meet one.
    if (this.#options.isHeld()) return { isGivenUp: true };
    frontier.opening();
    const beginning = new WorkingTime();
    let snapshot: ChunkSnapshot | undefined;
    let giveTurn: (() => void) | undefined;
    let isStaged = false;
    let isWritten = false;
    try {
      // What has moved may go back at any time, and nothing moves as long as this goes on.
      const epoch = stored && (await writer.authorityEpoch(stream.type));
      snapshot = await reader.open(signal);
      const { sees, fence } = snapshot;
      frontier.opened({ sees, fence: fence.slice(0, 16) });
      frontiers.notify();
      failpoint("chunk-opened");
      const order = keyOrder(mapping, stream);
      let bound = await beginning.without(snapshot.bound(after, size.rows));
      // Among keys of several columns those with a NULL are in between: a chunk with them cannot end early.
      if (bound === undefined && order.length > 1) bound = await snapshot.last(after);
      const end = firstOf(bound, endMax, order);
      frontier.bounded(end);
      frontiers.notify();
      const tables = await shapesOf(snapshot.tables, this.#options, signal);
      const known = stored && ((cutAt: ChunkKey | undefined) => stored.range(after, cutAt ?? end));
      const goesOn = known !== undefined || this.#records.get(stream.type)!.tables !== undefined;
      const beginMs = beginning.ms;
      const read: ChunkCounts = { rows: 0, bytes: 0, aggregates: 0, events: 0, gone: 0, moved: 0 };
      const reading = new WorkingTime();
      const { baselineChunkMsMax: msMax = size.readMsMax } = limits;
      const cut = new ChunkCut(() => reading.ms, msMax);
      const madeByLegacy = new Set<string>();
      const range = { after, end, tables, known, cut, madeByLegacy };
      for await (const stage of this.#stages(stream, snapshot, range, signal)) {
        if (giveTurn === undefined) {
          giveTurn = await reading.without(writer.turn(signal));
          // What the log's writer has in line says nothing of the chunk. And the log tells of other tables
          // of streams that go on: where they end is in the store.
          await reading.without(writer.settle());
        }
        if (goesOn) await writer.assignVersions(stage.events, madeByLegacy);
        isStaged = true;
        const isRoot = ({ table }: { table: string }): boolean => table === tables[0]!.name;
        const images = {
          newImages: stage.images.filter(isRoot),
          // There is one of a row that the log has yet to move here from an aggregate that was read before.
          missingImages: stage.images.filter((image) => !isRoot(image)),
        };
        const explain = goesOn ? undefined : occupied;
        await writer.stageBaseline(stage.events, images, explain);
        failpoint("chunk-staged");
        read.rows += stage.rows;
        read.bytes += stage.events.dataLength;
        read.aggregates += stage.aggregates;
        read.events += stage.events.length;
        read.gone += stage.gone;
        read.moved += stage.moved;
      }
      const sized = { readMs: reading.ms, beginMs, ...(cut.key && { cutAt: cut.aggregates }) };
      if (cut.key !== undefined) frontier.bounded(cut.key);
      await snapshot.durable(signal);
      const [rewritten] = await snapshot.rewritten();
      if (rewritten !== undefined) return { rewritten };
      giveTurn ??= await writer.turn(signal);
      // Whether the rows hold what the service decided is not known of what went back meanwhile.
      if (stored !== undefined && (await writer.authorityEpoch(stream.type)) !== epoch)
        return { isGivenUp: true };
      // From here on it is written, whatever the log's own writer has left behind.
      signal.throwIfAborted();
      const written = frontier.written();
      const durable = (): void => {
        written();
        onDurable();
      };
      isWritten = true;
      const chunk = { seen: snapshot.seen, fence, end: cut.key ?? end };
      await this.#commit(stream, frontier, chunk, read, durable);
      // The same the other way round: the log's writer must not ask before.
      if (goesOn) await writer.settle();
      return sized;
    } finally {
      if (!isWritten) {
        frontier.abandoned();
        if (isStaged) await writer.dropBaseline();
      }
      giveTurn?.();
      frontiers.notify();
      await snapshot?.close();
    }
  }

  #stages(
    stream: StreamPlan,
    snapshot: ChunkSnapshot,
    {
      tables,
      known,
      cut,
      madeByLegacy,
      ...range
    }: {
      readonly tables: ChunkSnapshot["tables"];
      readonly after: ChunkKey | undefined;
      readonly end: ChunkKey | undefined;
      /** What the store has of the range, up to where it is cut; absent in a first baseline. */
      readonly known: ((cutAt: ChunkKey | undefined) => readonly ListedStream[]) | undefined;
      readonly cut: ChunkCut;
      /** Takes the streams of aggregates that have moved which legacy made, and which are begun here. */
      readonly madeByLegacy: Set<string>;
    },
    signal: AbortSignal,
  ): ReturnType<typeof baselineStages> {
    const { mapping, writer } = this.#options;
    const { position, events: ordinal, gap, tables: joining } = this.#records.get(stream.type)!;
    const mappers = tables.map((table) => mapping.mapperOf(table)!);
    const rowsOf: Pick<RowSnapshot, "readRows"> = {
      readRows: (table, _order, aborted) =>
        // Its rows are in the streams which the others join.
        joining !== undefined && table === tables[0]
          ? noRows()
          : snapshot.readRange(table, range, aborted),
    };
    const facts = {
      prefix: idPrefix(position.slice(0, 16)),
      context: baselineContext(mappers[0]!.mappingVersion),
      position: snapshot.fence,
      tag: writer.mapper.tag,
      ordinal,
      cut,
    };
    if (gap === undefined || known === undefined)
      return baselineStages(rowsOf, stream, mappers, facts, signal);
    const isMoved = (id: string): boolean => writer.isMoved(id);
    const begunSince = async (ids: readonly string[]): Promise<ReadonlySet<string>> => {
      const areThere = await writer.areThere(ids);
      for (const [i, id] of ids.entries()) if (areThere[i] === false) madeByLegacy.add(id);
      return new Set(ids.filter((_, i) => areThere[i]));
    };
    const more = { gap, order: keyOrder(mapping, stream), stored: known, isMoved, begunSince };
    return gapStages(rowsOf, stream, mappers, { ...facts, ...more }, signal);
  }

  async #commit(
    { type }: StreamPlan,
    frontier: ChunkFrontier,
    chunk: WrittenChunk,
    read: ChunkCounts,
    durable: () => void,
  ): Promise<void> {
    const { writer, frontiers, board, onProgress } = this.#options;
    const before = this.#records.get(type)!;
    const record = withChunk(before, frontier, chunk, read);
    this.#records.set(type, record);
    this.#rowsNow += read.rows;
    this.#rate.sample(this.#rowsNow, Date.now() - this.#pace.restedMs);
    this.#progress.sample(this.#rowsNow, Date.now() - this.#pace.pausedMs);
    const { rows: baselineRows, events } = read;
    // Those that a table joins got their baseline before.
    const baselined = before.tables === undefined ? read.aggregates : 0;
    writer.addToLedger(before.gap === undefined ? { baselined, baselineRows, events } : { events });
    this.#tell();
    const phase: PipelinePhase = this.isDone ? "tail" : "baseline";
    board.enter(phase);
    failpoint("chunk-before-commit");
    await writer.commit({ phase, checkpoint: undefined, baselines: [record] }, () => {
      failpoint("chunk-after-commit");
      durable();
      frontiers.notify();
      onProgress();
    });
    writer.settle().catch(() => this.#broken.abort());
  }

  #tell(): void {
    const { board, why } = this.#options;
    const records = [...this.#records.values()];
    const sum = (of: (record: BaselineRecord) => number): number =>
      records.reduce((total, record) => total + of(record), 0);
    const rowsRead = sum((record) => record.rowsRead);
    const expected = sum(rowsExpected);
    // Where all have read what was expected, the guess itself says that it is no limit.
    const isBeyond = expected === rowsRead && !this.isDone;
    const guessed = sum(({ done, rowsRead: read, rowsEstimated }) => (done ? read : rowsEstimated));
    const { paused, backingOff } = this.#pace.rest;
    board.baselining({
      mode: "chunks",
      why,
      restarted: false,
      rowsRead,
      rowsEstimated: isBeyond ? guessed : expected,
      aggregates: sum((record) => record.aggregates),
      // So little says nothing of a run that goes on.
      rowsPerSecond: this.#rate.isKnown ? this.#rate.perSecond : 0,
      bytesRead: sum((record) => record.bytesRead),
      secondsLeft: this.#progress.secondsLeft(expected - rowsRead),
      chunks: sum((record) => record.chunksRead),
      streams: { done: records.filter(({ done }) => done).length, total: records.length },
      paused,
      backingOff: backingOff ?? "",
    });
  }
}

/** Behind which key the next chunk begins. */
function cursorKey({ cursor }: ChunkFrontier): ChunkKey | undefined {
  return cursor === "none" ? undefined : (cursor as ChunkKey);
}

/** The smaller of two ends, of which either may be none. */
function firstOf(
  a: ChunkKey | undefined,
  b: ChunkKey | undefined,
  order: readonly OrderColumn["as"][],
): ChunkKey | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return compareKeyTexts(a, b, order) <= 0 ? a : b;
}

/** Failures of one chunk that the next attempt may not meet: something of the source was in the way. */
function isPassing(error: unknown): boolean {
  if (!(error instanceof BanyanError)) return false;
  return error.code === "SOURCE_UNREACHABLE" || error.code === "SOURCE_CHANGED";
}
