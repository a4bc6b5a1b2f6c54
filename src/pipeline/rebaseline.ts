import { baselineContext } from "./baseline-events.ts";
import { keyOrder, planBaselines, type StreamBaseline } from "./baseline-plan.ts";
import { imagedTables, newRecord } from "./baseline-record.ts";
import { capturedAt } from "./captured-tables.ts";
import type { EventWriter } from "./event-writer.ts";
import { Frontiers } from "./frontiers.ts";
import { gapBegin, newGap } from "./gap-record.ts";
import type { PipelineOptions } from "./pipeline.ts";
import { parkedChanges } from "./quarantine-release.ts";
import { isReadAnew, readAnewInChunks, readAnewNow } from "./rebaseline-chunks.ts";
import { RestatedType } from "./restated-type.ts";
import { writerOf, type Run } from "./start.ts";
import { StatusBoard } from "./status-board.ts";
import { compileMapping, plannedTables, type Mapping } from "../mapping/compile.ts";
import { EventBuffer } from "../mapping/event-buffer.ts";
import { idPrefix } from "../mapping/event-id.ts";
import { BanyanError } from "../model/errors.ts";
import type { Position } from "../model/position.ts";
import { failpoint } from "../runtime/failpoint.ts";
import type { BaselineSnapshot } from "../source/change-source.ts";
import type { BaselineRecord, EventStore, PipelineRecord } from "../store/event-store.ts";

export interface RebaselineResult {
  readonly from: Position;
  /** Where the last of the rows were read. */
  readonly to: Position;
  /** Aggregates that are there, and those that are gone. */
  readonly restated: number;
  readonly gone: number;
  /** Aggregates left as their events have them, because the new service decides over them. */
  readonly moved: number;
  /** Stream types that are not read to their end, because the signal aborted: the next run goes on with them. */
  readonly unfinished: readonly string[];
}

interface Lost {
  readonly from: Position;
  readonly reason: string;
}

type Told = (aggregates: number) => void;
type Counts = Pick<RebaselineResult, "restated" | "gone" | "moved">;

/**
 * Begins the log anew after the place in it was lost, in the same history: every aggregate gets an event
 * that says so and holds its rows. Aggregates that the source no longer has get one that says that. Those
 * over which the new service decides are left as their events have them: what it decided may not be in
 * their rows.
 *
 * Small tables and those that cannot be read in chunks are read as of one exact point, where the log is
 * read on, and all of that is one store transaction. It also notes the others as begun, which are read in
 * chunks beside the log from that point on, as a baseline is: see {@link readAnewInChunks}. Killed before that transaction, nothing is written, and it is run again; killed
 * after it, this or any other run of the pipeline goes on behind the last chunk.
 *
 * @param isWanted asked once it is known what will be done, before anything is changed
 * @param onEvents told now and then how many aggregates have their event by then, of those that are read
 *   under the snapshot; of chunks the options' `onProgress` is told
 * @returns undefined when it is not wanted
 * @throws BanyanError `PIPELINE_UNKNOWN`; `USAGE` when the place in the log is not lost
 */
export async function rebaselinePipeline(
  options: PipelineOptions,
  isWanted: (plan: Lost) => Promise<boolean>,
  signal: AbortSignal,
  onEvents: Told = () => undefined,
): Promise<RebaselineResult | undefined> {
  const { name, source, store } = options;
  const record = await store.pipeline(name);
  const from = record?.checkpoint;
  if (from === undefined) {
    throw new BanyanError("PIPELINE_UNKNOWN", `pipeline ${name} has no baseline yet`, {
      hint: "Run: banyan run",
    });
  }
  const reason = await source.placeLost(from);
  if (reason !== undefined) {
    if (!(await isWanted({ from, reason }))) return undefined;
    const begun = await beginAnew(options, record!, { from, reason }, onEvents, signal);
    if (!begun.goesOn) return { from, to: begun.to, ...begun.done, unfinished: [] };
    // How they are read is told.
    const { onBaseline: _told, ...rest } = options;
    return await finish(rest, from, begun.done, signal);
  }
  const [unfinished] = readAnewNow(record!.baselines ?? [], options.streams);
  if (unfinished === undefined) {
    throw new BanyanError(
      "USAGE",
      "the place in the log is not lost: nothing has to be read anew",
      {
        hint: "Run: banyan run; or name what is to be read anew: banyan rebaseline --stream order-1",
      },
    );
  }
  const nothing = { restated: 0, gone: 0, moved: 0 };
  return await finish(options, gapBegin(unfinished.gap!), nothing, signal);
}

/** @param before what was read under the snapshot */
async function finish(
  options: PipelineOptions,
  from: Position,
  before: Counts,
  signal: AbortSignal,
): Promise<RebaselineResult> {
  const { restated, gone, moved, ...rest } = await readAnewInChunks(options, signal);
  return {
    from,
    ...rest,
    restated: before.restated + restated,
    gone: before.gone + gone,
    moved: before.moved + moved,
  };
}

/** Makes the new place in the log durable, with all that is read under its snapshot, and what is to be read in chunks. */
async function beginAnew(
  options: PipelineOptions,
  record: PipelineRecord,
  lost: Lost,
  onEvents: Told,
  signal: AbortSignal,
): Promise<{ readonly to: Position; readonly done: Counts; readonly goesOn: boolean }> {
  const { name, source, store, streams } = options;
  const plans = await plansOf(options);
  options.onBaseline?.(plans);
  const { uri } = await source.identify();
  const capture = await store.openCapture(name, uri);
  const board = new StatusBoard(capture.record);
  const run: Run = {
    ...options,
    uri,
    capture,
    board,
    writer: undefined,
    report: () => options.onProgress?.(board.snapshot()),
  };
  try {
    const plan = { tables: plannedTables(streams), isRestart: true };
    const snapshot = await source.openBaseline(plan, signal);
    try {
      const known = record.baselines ?? [];
      const done = await restate(run, snapshot, { plans, known, lost, onEvents }, signal);
      const goesOn = plans.some(({ isChunked }) => isChunked);
      return { to: snapshot.position, done, goesOn };
    } finally {
      await snapshot.close();
    }
  } finally {
    await capture.close();
  }
}

/** How each stream type is read. */
async function plansOf({
  source,
  store,
  streams,
  baseline = "auto",
}: PipelineOptions): Promise<readonly StreamBaseline[]> {
  const tables = await source.discover(plannedTables(streams));
  const mapping = compileMapping(streams, tables, await store.mappings());
  const all = mapping.streams.map((stream) => ({ stream }));
  return await planBaselines(source, mapping, all, baseline);
}

async function restate(
  run: Run,
  snapshot: BaselineSnapshot,
  {
    plans,
    known,
    lost,
    onEvents,
  }: {
    readonly plans: readonly StreamBaseline[];
    readonly known: readonly BaselineRecord[];
    readonly lost: Lost;
    readonly onEvents: Told;
  },
  signal: AbortSignal,
): Promise<Counts> {
  const { store, name, board } = run;
  failpoint("rebaseline-slot-created");
  const mapping = compileMapping(run.streams, snapshot.tables, await store.mappings());
  const writer = writerOf(run, mapping, new Frontiers());
  await writer.learnMoved();
  const version = await writer.mappingVersion();
  mapping.setVersion(version);
  const { position: to } = snapshot;
  const { from, reason } = lost;
  const before = new Map(known.map((one) => [one.stream, one]));
  const chunked = new Map(
    plans.flatMap((plan) => (plan.isChunked ? [[plan.stream.type, plan] as const] : [])),
  );
  const done = { restated: 0, gone: 0, moved: 0, events: 0 };
  const read = new Set<string>();
  for (const stream of mapping.streams.filter(({ type }) => !chunked.has(type))) {
    for (const { tableRef } of stream.roles) read.add(tableRef.name);
    const earlier = before.get(stream.type);
    const isOpen = earlier !== undefined && isReadAnew(earlier);
    const facts = {
      prefix: idPrefix(to.slice(0, 16)),
      context: baselineContext(version),
      from: isOpen ? gapBegin(earlier.gap!) : from,
      to,
      reason,
      tag: writer.mapper.tag,
    };
    const total = done.restated + done.gone;
    const onStage = ({ restated, gone }: RestatedType): void => onEvents(total + restated + gone);
    const writing = new RestatedType(stream, mapping, snapshot, { writer, store, facts, onStage });
    await writing.write(signal);
    done.restated += writing.restated;
    done.gone += writing.gone;
    done.moved += writing.moved;
    done.events += writing.events;
    run.report();
  }
  const rewritten = (await snapshot.rewritten()).filter((table) => read.has(table));
  if (rewritten.length > 0) {
    throw new BanyanError(
      "SOURCE_NOT_READY",
      `truncated or rewritten while they were read: ${rewritten.join(", ")}`,
      { hint: "Run the command again: nothing was kept." },
    );
  }
  await giveUpParked(store, name, writer);
  writer.addToLedger({ events: done.events });
  failpoint("rebaseline-before-commit");
  const roles = mapping.streams.flatMap((stream) => stream.roles);
  const phase = chunked.size > 0 ? "baseline" : "stopped";
  board.enter(phase);
  const tables = capturedAt(roles, to);
  const baselines = [
    ...known.filter(({ stream }) => !chunked.has(stream)).map(finished),
    ...[...chunked].map(([type, plan]) =>
      recordAnew(mapping, type, before.get(type), plan, to, lost),
    ),
  ];
  await writer.commit({ phase, checkpoint: to, tables, baselines }, () => {
    failpoint("rebaseline-after-commit");
  });
  await writer.settle();
  return { restated: done.restated, gone: done.gone, moved: done.moved };
}

function finished({ gap: _gap, ...record }: BaselineRecord): BaselineRecord {
  return { ...record, chunks: [], done: true };
}

function recordAnew(
  mapping: Mapping,
  type: string,
  before: BaselineRecord | undefined,
  plan: StreamBaseline,
  to: Position,
  { from, reason }: Lost,
): BaselineRecord {
  const stream = mapping.stream(type)!;
  const order = keyOrder(mapping, stream);
  const imaged = imagedTables(mapping, stream);
  return { ...newRecord(type, to, plan, imaged), gap: newGap(reason, from, before, order) };
}

/** What waited in quarantine lies before the gap: the rows that follow hold what came of it. */
async function giveUpParked(store: EventStore, pipeline: string, writer: EventWriter) {
  for (const { stream } of await store.quarantine.streams(pipeline)) {
    if (writer.isMoved(stream)) continue;
    for await (const records of parkedChanges(store, pipeline, stream)) {
      const skipped = records.map(({ id }) => id);
      await writer.stageVersioned(new EventBuffer(), [], [], { skipped });
    }
  }
}
