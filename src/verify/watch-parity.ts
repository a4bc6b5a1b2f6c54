import { ChangedStreams } from "./changed-streams.ts";
import { checkChanges } from "./check-changes.ts";
import { countFindings, type FindingCounts } from "./findings.ts";
import type { ParityState } from "./parity-report.ts";
import type { VerifyOptions } from "./prepare.ts";
import { SweepTimes } from "./sweep-times.ts";
import { sweepParity } from "./verify-parity.ts";
import type { Position } from "../model/position.ts";
import type { SourceLoad } from "../source/change-source.ts";
import { pause } from "../runtime/pause.ts";

export interface WatchOptions extends VerifyOptions {
  /** How often what changed is looked at. */
  readonly checkEveryMs: number;
  /** How often everything is; less often when that takes long. */
  readonly sweepEveryMs: number;
  /** A sweep waits while more sessions than these are at work in the source. */
  readonly activeSessionsMax: number;
  readonly onRound: (round: WatchRound) => void;
}

/** What one look came to. */
export interface WatchRound {
  /** Of everything, or of the aggregates that changed and those with findings. */
  readonly kind: "sweep" | "changes";
  /** ISO 8601. */
  readonly at: string;
  readonly state: ParityState;
  readonly reasons: readonly string[];
  /** Rows and events were compared as of a snapshot that this position lies after. */
  readonly fence: Position | undefined;
  /** Aggregates looked at; absent for a sweep. */
  readonly checked?: number;
  /** Aggregates that changed and were left to the next sweep. */
  readonly skipped?: number;
  readonly findings: FindingCounts;
}

/** Where nothing changes, it is looked so often whether the pipeline follows. */
const QUIET_LOOK_MS = 30_000;

/** What a watch knows that is begun again after its connections were lost. */
export class WatchMemory {
  readonly changed = new ChangedStreams();
  readonly times: SweepTimes;
  /** Folds are thrown away once. */
  isRefolded = false;
  /** By performance.now(). */
  lookedMs = -Infinity;
  last: WatchRound | undefined;

  constructor({ sweepEveryMs }: Pick<WatchOptions, "sweepEveryMs">) {
    this.times = new SweepTimes(sweepEveryMs);
  }
}

/**
 * Verifies continuously until it is aborted: a sweep of everything now and then, and between sweeps the
 * aggregates that have changed, and those with findings once more. What is found is in the store: the
 * findings after each round, and a report of each sweep, whose state goes with them.
 *
 * Tables that are changed under a look, and folds that another verification has thrown away, make it
 * inconclusive; it is done again with what is there then.
 *
 * @param memory of the watch that this one goes on with
 * @returns the last round
 * @throws BanyanError as {@link verifyParity}
 */
export async function watchParity(
  options: WatchOptions,
  signal: AbortSignal,
  memory = new WatchMemory(options),
): Promise<WatchRound | undefined> {
  while (!signal.aborted) {
    const round = await nextRound(options, memory, signal);
    if (round !== undefined) options.onRound((memory.last = round));
    await pause(options.checkEveryMs, signal);
  }
  return memory.last;
}

async function nextRound(
  options: WatchOptions,
  memory: WatchMemory,
  signal: AbortSignal,
): Promise<WatchRound | undefined> {
  const { changed, times, last } = memory;
  const now = Date.now();
  const isDue = times.isDue(now);
  const busy = isDue && last !== undefined ? await busyWith(options) : undefined;
  // Before a snapshot is taken: what has events from here on is looked at after it.
  await changed.collect(options);
  if (isDue && (busy === undefined || times.isOverdue(now)))
    return await sweep(options, memory, signal);
  if (busy !== undefined) options.onProgress?.({ step: `a sweep waits: ${busy}`, rows: 0 });
  return await look(options, memory, signal);
}

async function sweep(
  options: WatchOptions,
  memory: WatchMemory,
  signal: AbortSignal,
): Promise<WatchRound> {
  const { changed, times } = memory;
  const startedMs = Date.now();
  const refold = options.refold === true && !memory.isRefolded;
  const taken = changed.take();
  let isTold = false;
  try {
    const plan = {
      isRepeated: true,
      awaitsFirst: times.hasFailed,
      onForgotten: () => void (memory.isRefolded = true),
    };
    const { report, kept, told, workMs } = await sweepParity({ ...options, refold }, signal, plan);
    if (told === undefined) times.failed(Date.now(), workMs);
    else {
      isTold = true;
      changed.swept(told.comparison, told.quarantined);
      times.told(startedMs, workMs);
      memory.lookedMs = performance.now();
    }
    const findings = countFindings(kept.findings);
    const { state, reasons } = kept;
    return { kind: "sweep", at: report.finishedAt, state, reasons, fence: report.fence, findings };
  } finally {
    if (!isTold) changed.giveBack(taken);
  }
}

async function look(
  options: WatchOptions,
  memory: WatchMemory,
  signal: AbortSignal,
): Promise<WatchRound | undefined> {
  const { changed, times, last } = memory;
  const isQuiet = performance.now() - memory.lookedMs >= QUIET_LOOK_MS;
  const looked = await checkChanges(options, changed, isQuiet || changed.hasPassed, signal);
  if (looked === undefined) return undefined;
  memory.lookedMs = performance.now();
  const { wantsSweep, checked, ...told } = looked;
  const { skipped } = changed;
  if (wantsSweep || changed.reasons.length > 0) times.sooner();
  const isSame = looked.state === last?.state && looked.reasons.join() === last.reasons.join();
  if (checked === 0 && isSame) return undefined;
  return { kind: "changes", ...told, ...(checked === undefined ? {} : { checked, skipped }) };
}

/** Why a sweep should wait; undefined when it need not. */
async function busyWith({ source, activeSessionsMax }: WatchOptions): Promise<string | undefined> {
  const { activeSessions }: SourceLoad = await source.load();
  if (activeSessions === undefined || activeSessions <= activeSessionsMax) return undefined;
  return `${activeSessions} sessions are at work in the source`;
}
