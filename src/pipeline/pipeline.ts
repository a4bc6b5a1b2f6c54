import { mkdir, rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { BaselineMode, StreamBaseline } from "./baseline-plan.ts";
import { ChunkGate } from "./chunk-gate.ts";
import type { PaceLimits } from "./chunk-pace.ts";
import { ChunkedBaseline } from "./chunked-baseline.ts";
import { noteRebaselined } from "./rebaseline-streams.ts";
import { refuseTooMany, releaseQuarantine } from "./quarantine-release.ts";
import { spilling } from "./spill-files.ts";
import { begin, resume, VERSIONS_MAX, type Run, type Started } from "./start.ts";
import { StatusBoard } from "./status-board.ts";
import type { NotReadAnew, PipelineStatus } from "./status.ts";
import { tail, type TailLimits } from "./tail.ts";
import type { Drift } from "../mapping/drift.ts";
import type { StreamRef } from "../mapping/rules.ts";
import { BanyanError } from "../model/errors.ts";
import { failpoint } from "../runtime/failpoint.ts";
import type { ChangeSource, LogLeft } from "../source/change-source.ts";
import { NOTHING_MOVED, type Authority } from "../store/authority.ts";
import type { CaptureWriter, EventStore, PipelinePhase } from "../store/event-store.ts";

export interface PipelineOptions {
  readonly name: string;
  readonly source: ChangeSource;
  readonly store: EventStore;
  readonly streams: Readonly<Record<string, StreamRef>>;
  readonly limits: TailLimits;
  /** Where transactions beyond the memory bound are spilled; emptied at the start. */
  readonly spillDirectory: string;
  /** Leaves a pipeline to whoever runs it, and fails with `PIPELINE_FENCED`. */
  readonly ifFree?: "if-free";
  /** How a baseline is read; where that is worth it and possible in chunks when absent. */
  readonly baseline?: BaselineMode;
  readonly pace?: PaceLimits;
  /** Who decides over which aggregate; legacy over all when absent. */
  readonly authority?: Authority;
  readonly onProgress?: (status: PipelineStatus) => void;
  /** Told how the baseline of each stream type is read, and why. */
  readonly onBaseline?: (plans: readonly StreamBaseline[]) => void;
  readonly onDrift?: (drift: Drift) => void;
  readonly onLogLeft?: (left: LogLeft) => void;
  /** Told of each stream that was to be read anew and cannot be. */
  readonly onNotReadAnew?: (note: NotReadAnew) => void;
}

/** The least that a change takes in the log. */
const LOG_BYTES_PER_CHANGE = 100;
/** For fewer it is not worth a session of its own. */
const RECALLED_CHANGES_MIN = 10_000;
export const PACE_DEFAULT: PaceLimits = {
  baselineSessionsMax: 50,
  baselineLagSecondsMax: 60,
  baselineSlowdownMax: 0.1,
  baselineChunkRowsMax: 100_000,
};
/** How long a run that failed tries to leave word of it. */
const NOTE_MS_MAX = 5_000;

/**
 * Runs one source into one store until the signal aborts: the whole job, in order.
 *
 * 1. Take over the pipeline, so that nobody else writes to it.
 * 2. Compile the mapping against the tables as they are.
 * 3. If there is no checkpoint, write the baseline at an exact point of the log. If there is one, do so
 *    for tables that the config has now and had not before.
 * 4. Follow the log from the checkpoint.
 *
 * Killed anywhere, it is run again and goes on at the checkpoint in the store: nothing is lost and
 * nothing repeated, because events and checkpoint are one transaction.
 */
export async function runPipeline(options: PipelineOptions, signal: AbortSignal): Promise<void> {
  const { name, source, store, authority = NOTHING_MOVED } = options;
  const { uri } = await source.identify();
  await store.migrate();
  const capture = await store.openCapture(name, uri, options.ifFree);
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
    failpoint("capture-taken-over");
    const { checkpoint } = capture.record;
    const started =
      checkpoint === undefined ? await begin(run, signal) : await resume(run, checkpoint, signal);

    await authority.refresh();
    refuseTooMany(await store.quarantine.count(name));
    await releaseQuarantine(name, store, started.mapping, started.writer);
    // Durable before the log is read: a TRUNCATE asks the store which rows there are.
    const { left: tables } = started;
    await noteRebaselined({ ...run, ...started, pipeline: name }, started.from);
    const gate = new ChunkGate(started.mapping, started.frontiers, source);
    const chunks = chunkedBaseline(run, started, gate);
    const phase = (): PipelinePhase => (chunks.isDone ? "tail" : "baseline");
    await started.writer.commit({ phase: phase(), checkpoint: undefined, tables }, () => undefined);
    await started.writer.settle();

    board.enter(phase());
    run.report();
    await spilling(options.spillDirectory, async () => {
      await rm(options.spillDirectory, { recursive: true, force: true });
      await mkdir(options.spillDirectory, { recursive: true });
    });
    const { lagBytes } = await source.head(started.from);
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    const recalling = recall(run, started, lagBytes, either);
    // A baseline in chunks goes on beside the log; when one of the two fails, the other ends as well.
    let failure: unknown;
    const end = (error: unknown): void => {
      if (!either.aborted) failure = error;
      over.abort();
    };
    const baselining = chunks.run(either).catch(end);
    const watching = authority.run(either).catch(end);
    const beside = { frontiers: started.frontiers, gate, phase };
    try {
      const options = { ...run, ...started, pipeline: name, onProgress: run.report, beside };
      await tail(options, started.from, either);
    } finally {
      over.abort();
      await Promise.all([recalling, baselining, watching]);
    }
    if (failure !== undefined) throw failure;

    board.enter("stopped");
    await started.writer.commit({ phase: "stopped", checkpoint: undefined }, run.report);
    await started.writer.settle();
  } catch (error) {
    const cause = await causeOf(error, store, capture);
    if (!signal.aborted) await noteFailure(run, cause);
    throw cause;
  } finally {
    await capture.close();
  }
}

/** What is still to be read in chunks; nothing where no baseline was begun so, or all are done. */
function chunkedBaseline(run: Run, started: Started, gate: ChunkGate): ChunkedBaseline {
  return new ChunkedBaseline({
    ...run,
    ...started,
    pipeline: run.name,
    limits: run.pace ?? PACE_DEFAULT,
    isHeld: () => gate.isHeld,
    onProgress: run.report,
  });
}

/**
 * Whatever failed, being fenced is the reason if we are: a successor takes the slot too, and moves it
 * on. Tried again, the failure would only take the pipeline back.
 */
async function causeOf(
  error: unknown,
  store: EventStore,
  { record }: CaptureWriter,
): Promise<unknown> {
  const now = await store.pipeline(record.name).catch(() => undefined);
  if (now === undefined || now.epoch <= record.epoch) return error;
  return new BanyanError(
    "PIPELINE_FENCED",
    "another process has taken over this pipeline; nothing more is written here",
    { cause: error, hint: "Only one `banyan run` per pipeline; see `banyan status`." },
  );
}

/** Lets the store know, as far as it still can be told, so that `banyan status` says more than "not running". */
async function noteFailure({ name, store, capture, board, writer }: Run, cause: unknown) {
  const note = async (): Promise<void> => {
    // What was begun on the writer's session ends before something else is asked of it.
    await writer?.settle().catch(() => undefined);
    await capture.rollback();
    const before = (await store.pipeline(name))?.phase ?? "new";
    // A failure that is tried again does not end the run, and a baseline that failed has yet to be made.
    const ends = before === "tail" && !(cause instanceof BanyanError && cause.recovery === "retry");
    const phase = ends ? "stopped" : before;
    board.enter(phase);
    board.failed(cause);
    await capture.commit({ phase, checkpoint: undefined, ledger: {}, status: board.snapshot() });
  };
  // It is the failure that counts, not whether it could be noted.
  const noted = note().catch(() => undefined);
  await Promise.race([noted, sleep(NOTE_MS_MAX, undefined, { ref: false })]);
}

/**
 * Reads where the streams written last stand, in one go and beside the tail, where the backlog is long:
 * to look them up one by one costs more than all else that is done for a change. Never rejects, for
 * whatever it does not tell is looked up.
 */
async function recall(
  { store }: Run,
  { writer }: Started,
  lagBytes: number,
  signal: AbortSignal,
): Promise<void> {
  try {
    const changes = Math.floor(lagBytes / LOG_BYTES_PER_CHANGE);
    if (changes < RECALLED_CHANGES_MIN) return;
    await writer.recall(store.recentVersions(Math.min(changes, 2 * VERSIONS_MAX), signal));
  } catch {
    // The tail meets what is wrong too, and says so.
  }
}
