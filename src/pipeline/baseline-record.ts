import { keyOrder, type StreamBaseline } from "./baseline-plan.ts";
import { ChunkFrontier } from "./chunk-frontier.ts";
import type { Mapping } from "../mapping/compile.ts";
import type { StreamPlan } from "../mapping/stream-plan.ts";
import { plural } from "../model/count-text.ts";
import type { Position } from "../model/position.ts";
import type { ChangeSource, ChunkKey } from "../source/change-source.ts";
import type { BaselineRecord } from "../store/event-store.ts";

/** Where a stream type's baseline begins. @param imaged tables of whose rows images are kept */
export function newRecord(
  stream: string,
  position: Position,
  { rowsEstimated, why, tables }: Pick<StreamBaseline, "rowsEstimated" | "why" | "tables">,
  imaged: readonly string[] = [],
): BaselineRecord {
  return {
    stream,
    imaged,
    ...(tables === undefined ? {} : { tables }),
    position,
    why,
    chunks: [],
    done: false,
    chunksRead: 0,
    rowsRead: 0,
    rowsEstimated,
    bytesRead: 0,
    aggregates: 0,
    events: 0,
  };
}

/** A record by what its tables are called now. */
export function underNamesOfNow(record: BaselineRecord, mapping: Mapping): BaselineRecord {
  const now = (names: readonly string[]): readonly string[] =>
    names.map((name) => mapping.nameNow(name));
  return {
    ...record,
    ...(record.tables === undefined ? {} : { tables: now(record.tables) }),
    ...(record.imaged === undefined ? {} : { imaged: now(record.imaged) }),
  };
}

/** The tables of a stream type of whose rows images are kept by now. */
export function imagedTables(mapping: Mapping, { roles }: StreamPlan): readonly string[] {
  return roles.map(({ tableRef }) => tableRef.name).filter((name) => mapping.keepsImages(name));
}

/** What an earlier run left: also of a finished baseline whose last chunks the log has not passed. */
export function frontierOf(
  mapping: Mapping,
  stream: StreamPlan,
  { told, chunks, done, imaged }: BaselineRecord,
  source: Pick<ChangeSource, "visibility">,
  checkpoint: Position | undefined,
): ChunkFrontier {
  const known = chunks.map(({ end, seen, fence }) => ({
    end,
    sees: source.visibility(seen),
    fence: fence.slice(0, 16),
  }));
  const isAll = done && chunks.length === 0;
  const frontier = new ChunkFrontier(
    keyOrder(mapping, stream),
    isAll ? "all" : (told ?? "none"),
    known,
    (table) => imaged?.includes(table) ?? mapping.hasAllImages(table),
  );
  if (checkpoint !== undefined) frontier.passed(checkpoint.slice(0, 16));
  return frontier;
}

export interface WrittenChunk {
  readonly seen: string;
  readonly fence: Position;
  readonly end: ChunkKey | undefined;
}

/** What a chunk holds. */
export interface ChunkCounts {
  rows: number;
  bytes: number;
  aggregates: number;
  events: number;
  gone: number;
  moved: number;
}

/** What is noted of a baseline together with a chunk. @param frontier has it as its last one */
export function withChunk(
  before: BaselineRecord,
  { told, recent }: ChunkFrontier,
  { seen, fence, end }: WrittenChunk,
  read: ChunkCounts,
): BaselineRecord {
  // Those of the chunks before that the log has not passed, and this one.
  const kept = recent.length === 1 ? [] : before.chunks.slice(1 - recent.length);
  const { told: _told, gap, ...rest } = before;
  return {
    ...rest,
    ...(told === "none" || told === "all" ? {} : { told }),
    chunks: [...kept, end === undefined ? { seen, fence } : { end, seen, fence }],
    done: end === undefined,
    chunksRead: before.chunksRead + 1,
    rowsRead: before.rowsRead + read.rows,
    bytesRead: before.bytesRead + read.bytes,
    aggregates: before.aggregates + read.aggregates,
    events: before.events + read.events,
    ...(gap === undefined
      ? {}
      : { gap: { ...gap, gone: gap.gone + read.gone, moved: gap.moved + read.moved } }),
  };
}

/** Rows of a stream type by what is known now: what was read to its end had as many, whatever was guessed. */
export function rowsExpected({
  done,
  rowsRead,
  rowsEstimated,
}: Pick<BaselineRecord, "done" | "rowsRead" | "rowsEstimated">): number {
  return done ? rowsRead : Math.max(rowsRead, rowsEstimated);
}

/** How the baselines that an earlier run began and did not finish are read on: as that one decided. */
export function plansGoingOn(
  mapping: Mapping,
  records: readonly BaselineRecord[],
): readonly StreamBaseline[] {
  return records.flatMap(({ stream: type, done, why, chunksRead, rowsEstimated, tables }) => {
    const stream = mapping.stream(type);
    if (done || stream === undefined) return [];
    const reason = why ?? "an earlier run began it so";
    const behind = plural(chunksRead, "chunk");
    const goesOn = chunksRead === 0 ? "" : `; it goes on behind ${behind} of an earlier run`;
    const joining = tables === undefined ? {} : { tables };
    return [{ stream, ...joining, isChunked: true, why: `${reason}${goesOn}`, rowsEstimated }];
  });
}
