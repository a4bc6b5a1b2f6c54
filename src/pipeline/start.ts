import { baseline } from "./baseline.ts";
import { planBaselines, type BaselineOf, type StreamBaseline } from "./baseline-plan.ts";
import { capturedAt, compareTables } from "./captured-tables.ts";
import {
  frontierOf,
  imagedTables,
  newRecord,
  plansGoingOn,
  underNamesOfNow,
} from "./baseline-record.ts";
import { EventWriter } from "./event-writer.ts";
import { forgetImages } from "./forget-images.ts";
import { Frontiers } from "./frontiers.ts";
import { Overlap } from "./overlap.ts";
import { refuseLeaving, refuseMoved, refuseUnfinished } from "./refuse-tables.ts";
import type { PipelineOptions } from "./pipeline.ts";
import type { StatusBoard } from "./status-board.ts";
import { compileMapping, plannedTables, type Mapping } from "../mapping/compile.ts";
import type { RolePlan, StreamPlan } from "../mapping/stream-plan.ts";
import { pipelineTag } from "../mapping/event-id.ts";
import { BanyanError } from "../model/errors.ts";
import type { MappingDefinition } from "../model/mapping-definition.ts";
import type { Position } from "../model/position.ts";
import type { SourceTable } from "../model/table.ts";
import { failpoint } from "../runtime/failpoint.ts";
import type { ChangeSource } from "../source/change-source.ts";
import type {
  BaselineRecord,
  CapturedTable,
  CaptureWriter,
  RenamedTable,
} from "../store/event-store.ts";

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
  /** What is read in chunks beside the log, and was by earlier runs. */
  readonly frontiers: Frontiers;
  readonly records: readonly BaselineRecord[];
  /** Why it is read in chunks. */
  readonly why: string;
  /** Tables that the config no longer has, to be noted. */
  readonly left: readonly CapturedTable[];
}

/** First run: history begins with the baseline, at the point where the stream will begin. */
export async function begin(run: Run, signal: AbortSignal): Promise<Started> {
  const { board, capture, source, streams } = run;
  board.enter("baseline");
  const tables = plannedTables(streams);
  const shapes = compileMapping(streams, await source.discover(tables));
  const all = shapes.streams.map((stream) => ({ stream }));
  const plans = await planBaselines(source, shapes, all, run.baseline ?? "auto");
  run.onBaseline?.(plans);
  const plan = {
    tables,
    isRestart: capture.record.phase !== "new",
    onBegin: async () => {
      const status = board.snapshot();
      await capture.commit({ phase: "baseline", checkpoint: undefined, ledger: {}, status });
    },
  };
  const snapshot = await source.openBaseline(plan, signal);
  try {
    failpoint("baseline-slot-created");
    const { position } = snapshot;
    const mapping = compileMapping(streams, snapshot.tables);
    const frontiers = new Frontiers();
    const writer = writerOf(run, mapping, frontiers);
    const chunked = beginChunks(plans, mapping, position, { frontiers, source });
    const inChunks = new Set(chunked.tables.map(({ table }) => table));
    const rest = snapshot.tables.filter(({ name }) => !inChunks.has(name));
    const { report: onProgress } = run;
    const options = { mapping, writer, board, onProgress, chunked, why: whyOf(plans, false) };
    await baseline({ ...options, snapshot: { ...snapshot, tables: rest } }, signal);
    mapping.setVersion(await writer.mappingVersion());
    const overlap = new Overlap([], () => () => false);
    const why = whyOf(plans, true);
    const { records } = chunked;
    return { mapping, writer, from: position, overlap, frontiers, records, why, left: [] };
  } finally {
    await snapshot.close();
  }
}

/** What is noted of stream types whose baseline in chunks begins at this position. */
function beginChunks(
  plans: readonly StreamBaseline[],
  mapping: Mapping,
  position: Position,
  { frontiers, source }: { readonly frontiers: Frontiers; readonly source: ChangeSource },
): { readonly tables: readonly CapturedTable[]; readonly records: readonly BaselineRecord[] } {
  const chunked = plans.filter(({ isChunked }) => isChunked);
  const records = chunked.map((plan) =>
    newRecord(plan.stream.type, position, plan, imagedTables(mapping, plan.stream)),
  );
  for (const [i, { stream, tables }] of chunked.entries())
    frontiers.set(stream.type, frontierOf(mapping, stream, records[i]!, source, undefined), tables);
  const roles = chunked.flatMap(({ stream, tables }) =>
    stream.roles.filter(({ tableRef }) => tables?.includes(tableRef.name) ?? true),
  );
  return { tables: capturedAt(roles, position), records };
}

/** One reason for all of one kind: that of the first. */
function whyOf(plans: readonly StreamBaseline[], isChunked: boolean): string {
  return plans.find((plan) => plan.isChunked === isChunked)?.why ?? "";
}

/** Any later run: goes on at the checkpoint. Tables that are new in the config get their baseline first. */
export async function resume(run: Run, from: Position, signal: AbortSignal): Promise<Started> {
  const { source, store, streams } = run;
  const tables = await source.discover(plannedTables(streams));
  const recorded = await store.mappings();
  const mapping = compileMapping(streams, tables, recorded);
  const { tables: captured, baselines = [] } = run.capture.record;
  mapping.learnNames(captured);
  const { joining, noted, renamed } = compareTables(mapping, captured, from, recorded);
  const records = baselines
    .filter(({ stream }) => mapping.stream(stream) !== undefined)
    .map((record) => underNamesOfNow(record, mapping));
  refuseUnfinished(records, joining);
  await refuseLeaving(source, records, noted);
  await refuseMoved(run.authority, mapping, joining, records);
  await noteRenamed(run, noted, renamed);
  const going = plansGoingOn(mapping, records);
  if (going.length > 0) run.onBaseline?.(going);
  await forgetImages(run, mapping, records, signal);
  const begun = { from, left: noted, records, why: whyOf(going, true) } as const;
  if (joining.length > 0) {
    const joined = await join(run, { from, joining, tables, recorded, records }, signal);
    const overlap = new Overlap([...captured, ...noted, ...joined.captured], (seen) =>
      source.visibility(seen),
    );
    return { ...begun, ...joined, overlap };
  }
  const frontiers = new Frontiers();
  noteEarlier(frontiers, mapping, records, run, from);
  const writer = writerOf(run, mapping, frontiers);
  mapping.setVersion(await writer.mappingVersion());
  const overlap = new Overlap([...captured, ...noted], (seen) => source.visibility(seen));
  return { ...begun, mapping, writer, overlap, frontiers };
}

/** Durable before anything is made of the images, which are found by their table's name. */
async function noteRenamed(
  { capture, board }: Run,
  noted: readonly CapturedTable[],
  renamed: readonly RenamedTable[],
): Promise<void> {
  if (renamed.length === 0) return;
  const names = new Set(renamed.flatMap(({ from, to }) => [from, to]));
  const tables = noted.filter(({ table }) => names.has(table));
  const { phase } = capture.record;
  const status = board.snapshot();
  await capture.commit({ phase, checkpoint: undefined, tables, renamed, ledger: {}, status });
}

function noteEarlier(
  frontiers: Frontiers,
  mapping: Mapping,
  records: readonly BaselineRecord[],
  { source }: Run,
  from: Position,
): void {
  for (const record of records) {
    const stream = mapping.stream(record.stream)!;
    frontiers.set(stream.type, frontierOf(mapping, stream, record, source, from), record.tables);
  }
}

type Joined = Pick<Started, "mapping" | "writer" | "frontiers" | "records" | "why"> & {
  readonly captured: readonly CapturedTable[];
};

/**
 * Writes the baseline of tables that join, as of a snapshot that lies somewhere ahead of the checkpoint.
 * It is durable before the log is followed, which then leaves out what the snapshot saw. Of large ones it
 * is only begun, and read in chunks beside the log.
 */
async function join(
  run: Run,
  {
    from,
    joining,
    tables,
    recorded,
    records: earlier,
  }: {
    readonly from: Position;
    readonly joining: readonly RolePlan[];
    readonly tables: readonly SourceTable[];
    readonly recorded: ReadonlyMap<number, MappingDefinition>;
    readonly records: readonly BaselineRecord[];
  },
  signal: AbortSignal,
): Promise<Joined> {
  const { source, streams, board, report: onProgress } = run;
  board.enter("baseline");
  const names = new Set(joining.map(({ tableRef }) => tableRef.name));
  const plan = { tables: plannedTables(streams).filter(({ name }) => names.has(name)) };
  const shapesNow = compileMapping(streams, tables, recorded);
  const wanted = shapesNow.streams.flatMap((stream) => joinOf(stream, names, earlier, from));
  const plans = await planBaselines(source, shapesNow, wanted, run.baseline ?? "auto");
  if (plans.length > 0) run.onBaseline?.(plans);
  // Also for what is read in chunks: what was open before the tables were published has ended by then.
  const opened = await source.openAddition(plan, from, signal);
  try {
    const { fence: position, seen } = opened;
    const asSeen = new Map(opened.tables.map((table) => [table.name, table]));
    const shapes = tables.map((table) => asSeen.get(table.name) ?? table);
    const mapping = compileMapping(streams, shapes, recorded);
    mapping.learnNames(run.capture.record.tables);
    const frontiers = new Frontiers();
    noteEarlier(frontiers, mapping, earlier, run, from);
    const writer = writerOf(run, mapping, frontiers);
    mapping.setVersion(await writer.mappingVersion());
    const chunked = beginChunks(plans, mapping, position, { frontiers, source });
    const inChunks = new Set(chunked.tables.map(({ table }) => table));
    const rest = opened.tables.filter(({ name }) => !inChunks.has(name));
    const snapshot = { ...opened, tables: rest, position, restarted: false };
    const goesOn = earlier.some(({ done }) => !done);
    const options = { mapping, writer, board, onProgress, chunked, goesOn };
    await baseline({ ...options, snapshot, seen, why: whyOf(plans, false) }, signal);
    const anew = new Set(chunked.records.map(({ stream }) => stream));
    const records = [...earlier.filter(({ stream }) => !anew.has(stream)), ...chunked.records];
    const roles = joining.filter(({ tableRef }) => !inChunks.has(tableRef.name));
    const captured = capturedAt(roles, position, seen);
    return { mapping, writer, frontiers, records, captured, why: whyOf(plans, true) };
  } finally {
    await opened.close();
  }
}

/** What of a stream type is to be read because tables of these names join; nothing for most types. */
function joinOf(
  stream: StreamPlan,
  names: ReadonlySet<string>,
  earlier: readonly BaselineRecord[],
  from: Position,
): readonly BaselineOf[] {
  const tables = stream.roles.map(({ tableRef }) => tableRef.name);
  const joining = tables.filter((name) => names.has(name));
  if (joining.length === 0) return [];
  if (joining.length === tables.length) return [{ stream }];
  const before = earlier.find((record) => record.stream === stream.type);
  // What is noted of those chunks is still needed, and there is one note of a stream type.
  const isNeeded = before?.chunks.some(({ fence }) => fence > from) === true;
  const obstacle = "the log has yet to come to where the last chunks of the stream were read";
  return [{ stream, tables: joining, ...(isNeeded ? { obstacle } : {}) }];
}

export function writerOf(run: Run, mapping: Mapping, frontiers: Frontiers): EventWriter {
  run.board.covers(() => mapping.coverage());
  run.writer = new EventWriter({
    writer: run.capture,
    mapping,
    tag: pipelineTag(run.uri, run.name),
    board: run.board,
    versionsMax: VERSIONS_MAX,
    describe: (table) => describe(run, table),
    onDrift: run.onDrift ?? (() => undefined),
    frontiers,
    authority: run.authority,
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
