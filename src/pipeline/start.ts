import { baseline } from "./baseline.ts";
import { capturedAt, compareTables } from "./captured-tables.ts";
import { EventWriter } from "./event-writer.ts";
import { Overlap } from "./overlap.ts";
import type { PipelineOptions } from "./pipeline.ts";
import type { StatusBoard } from "./status-board.ts";
import { compileMapping, plannedTables, type Mapping, type RolePlan } from "../mapping/compile.ts";
import { pipelineTag } from "../mapping/event-id.ts";
import { BanyanError } from "../model/errors.ts";
import type { MappingDefinition } from "../model/mapping-definition.ts";
import type { Position } from "../model/position.ts";
import type { SourceTable } from "../model/table.ts";
import { failpoint } from "../runtime/failpoint.ts";
import type { CapturedTable, CaptureWriter } from "../store/event-store.ts";

/** Streams whose place is remembered, in each of two generations; they take 32 MB together. */
export const VERSIONS_MAX = 700_000;

/** A run of a pipeline that has taken it over. */
export interface Run extends PipelineOptions {
  readonly uri: string;
  readonly capture: CaptureWriter;
  readonly board: StatusBoard;
  /** Once there is one. */
  writer: EventWriter | undefined;
  readonly report: () => void;
}

/** All that the log can be followed with. */
export interface Started {
  readonly mapping: Mapping;
  readonly writer: EventWriter;
  readonly from: Position;
  readonly overlap: Overlap;
  /** Tables that the config no longer has, to be noted. */
  readonly left: readonly CapturedTable[];
}

/** First run: history begins with the baseline, at the point where the stream will begin. */
export async function begin(run: Run, signal: AbortSignal): Promise<Started> {
  const { board, capture } = run;
  board.enter("baseline");
  const plan = {
    tables: plannedTables(run.streams),
    isRestart: capture.record.phase !== "new",
    onBegin: async () => {
      const status = board.snapshot();
      await capture.commit({ phase: "baseline", checkpoint: undefined, ledger: {}, status });
    },
  };
  const snapshot = await run.source.openBaseline(plan, signal);
  try {
    failpoint("baseline-slot-created");
    const mapping = compileMapping(run.streams, snapshot.tables);
    const writer = writerOf(run, mapping);
    const { board, report: onProgress } = run;
    await baseline({ snapshot, mapping, writer, board, onProgress }, signal);
    const overlap = new Overlap([], () => () => false);
    return { mapping, writer, from: snapshot.position, overlap, left: [] };
  } finally {
    await snapshot.close();
  }
}

/** Any later run: goes on at the checkpoint. Tables that are new in the config get their baseline first. */
export async function resume(run: Run, from: Position, signal: AbortSignal): Promise<Started> {
  const { source, store, streams } = run;
  const tables = await source.discover(plannedTables(streams));
  const recorded = await store.mappings();
  const mapping = compileMapping(streams, tables, recorded);
  const { tables: captured } = run.capture.record;
  const { joining, noted } = compareTables(mapping, captured, from, recorded);
  if (joining.length > 0) {
    const joined = await join(run, { from, joining, tables, recorded }, signal);
    const overlap = new Overlap([...captured, ...noted, ...joined.captured], (seen) =>
      source.visibility(seen),
    );
    return { ...joined, from, overlap, left: noted };
  }
  const writer = writerOf(run, mapping);
  mapping.setVersion(await writer.mappingVersion());
  const overlap = new Overlap([...captured, ...noted], (seen) => source.visibility(seen));
  return { mapping, writer, from, overlap, left: noted };
}

/**
 * Writes the baseline of tables that join, as of a snapshot that lies somewhere ahead of the checkpoint.
 * It is durable before the log is followed, which then leaves out what the snapshot saw.
 */
async function join(
  run: Run,
  {
    from,
    joining,
    tables,
    recorded,
  }: {
    readonly from: Position;
    readonly joining: readonly RolePlan[];
    readonly tables: readonly SourceTable[];
    readonly recorded: ReadonlyMap<number, MappingDefinition>;
  },
  signal: AbortSignal,
): Promise<Pick<Started, "mapping" | "writer"> & { readonly captured: readonly CapturedTable[] }> {
  const { source, streams, board, report: onProgress } = run;
  board.enter("baseline");
  const names = new Set(joining.map(({ tableRef }) => tableRef.name));
  const plan = { tables: plannedTables(streams).filter(({ name }) => names.has(name)) };
  const opened = await source.openAddition(plan, from, signal);
  try {
    const { fence: position, seen } = opened;
    const asSeen = new Map(opened.tables.map((table) => [table.name, table]));
    const shapes = tables.map((table) => asSeen.get(table.name) ?? table);
    const mapping = compileMapping(streams, shapes, recorded);
    const writer = writerOf(run, mapping);
    mapping.setVersion(await writer.mappingVersion());
    const snapshot = { ...opened, position, restarted: false };
    await baseline({ snapshot, seen, mapping, writer, board, onProgress }, signal);
    return { mapping, writer, captured: capturedAt(joining, position, seen) };
  } finally {
    await opened.close();
  }
}

function writerOf(run: Run, mapping: Mapping): EventWriter {
  run.board.covers(() => mapping.coverage());
  run.writer = new EventWriter({
    writer: run.capture,
    mapping,
    tag: pipelineTag(run.uri, run.name),
    board: run.board,
    versionsMax: VERSIONS_MAX,
    describe: (table) => describe(run, table),
    onDrift: run.onDrift ?? (() => undefined),
  });
  return run.writer;
}

async function describe({ source, streams }: Run, table: string): Promise<SourceTable | undefined> {
  try {
    const planned = plannedTables(streams).filter(({ name }) => name === table);
    return (await source.discover(planned))[0];
  } catch (error) {
    if (error instanceof BanyanError && error.code === "TABLE_MISSING") return undefined;
    throw error;
  }
}
