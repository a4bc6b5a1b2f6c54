import { EVENTS_BESIDE_MAX, type Comparison, type RowSums } from "./comparison.ts";
import { readHistory } from "./history.ts";
import { keepSweep, keepUntold, type Kept } from "./keep-report.ts";
import type { ParityReport } from "./parity-report.ts";
import { passingReason } from "./passing.ts";
import {
  advanceFolds,
  discoverTables,
  openComparison,
  quarantinedStreams,
  requireBaseline,
  unfinishedNow,
  waitForFence,
  type CompiledTables,
  type VerifyOptions,
} from "./prepare.ts";
import { inconclusive, reportOf } from "./write-report.ts";
import type { Position } from "../model/position.ts";
import { WorkingTime } from "../runtime/working-time.ts";
import type { Difference } from "../store/parity-store.ts";

export type { VerifyOptions } from "./prepare.ts";

/** How a sweep goes that is one of many; all absent for one that is asked for by itself. */
export interface SweepPlan {
  /** Tables that are changed under it, and folds that are thrown away, are no error: it could not tell. */
  readonly isRepeated?: boolean;
  /** Nothing is read before the pipeline has passed a fence. */
  readonly awaitsFirst?: boolean;
  /** Told when what is kept of folds was thrown away, with `refold`. */
  readonly onForgotten?: () => void;
}

export interface Sweep {
  readonly report: ParityReport;
  /** What is known with it. A difference that was found by others is in there too. */
  readonly kept: Kept;
  /** By key, as many as are counted so. */
  readonly differences: readonly Difference[];
  /** Streams whose events do not follow on from each other. */
  readonly flawed: readonly string[];
  /** Absent when it could not tell, for a reason that may pass; then some or all was not looked at. */
  readonly told?: {
    readonly comparison: Pick<Comparison, "late" | "unseen" | "untold">;
    readonly quarantined: ReadonlySet<string>;
  };
  /** Without what was waited for. */
  readonly workMs: number;
}

/**
 * Compares the fold of all streams with all rows, as of one point, while both sides go on changing.
 *
 * First the hashes that are kept of folds are brought up to date, which is where most of the work is when
 * much has changed. Then a snapshot of the source is taken and a fence written into its log, the rows are
 * summed up where they are, and the store awaited at the fence: it then holds every transaction that the
 * snapshot sees, and perhaps some that it does not. The events of those carry the transaction's id and are
 * left out of the fold. So lag is never a difference. Streams that were read anew after the snapshot was
 * taken are left out altogether, and while a baseline goes on nothing is told.
 *
 * @throws BanyanError of the source or store; a pipeline that does not reach the fence is not an error
 *   but an inconclusive report
 */
export async function verifyParity(
  options: VerifyOptions,
  signal: AbortSignal,
): Promise<ParityReport> {
  return (await sweepParity(options, signal)).report;
}

/** The same, with what is to be known beside the report. */
export async function sweepParity(
  options: VerifyOptions,
  signal: AbortSignal,
  plan: SweepPlan = {},
): Promise<Sweep> {
  const startedAt = new Date().toISOString();
  const { store, pipeline, source } = options;
  const time = new WorkingTime();
  const untold = async (reason: string, fence?: Position): Promise<Sweep> => {
    const report = inconclusive(options, startedAt, fence, reason);
    return {
      report,
      kept: await keepUntold(options, report),
      differences: [],
      flawed: [],
      workMs: time.ms,
    };
  };
  const notYet = await requireBaseline(options);
  if (notYet !== undefined) {
    // Nothing was looked at, and nothing is kept of that.
    const report = inconclusive(options, startedAt, undefined, notYet);
    const { state, reasons } = report;
    const findings = await store.parity.findings(pipeline);
    const kept = { state, reasons, findings, wantsSweep: false };
    return { report, kept, differences: [], flawed: [], workMs: time.ms };
  }
  if (options.refold === true) {
    await store.parity.forget(pipeline);
    plan.onForgotten?.();
  }
  if (plan.awaitsFirst === true) {
    const fence = await source.fence();
    const stuck = await time.without(waitForFence(options, fence, signal));
    if (stuck !== undefined) return await untold(stuck, fence);
  }
  let known: CompiledTables | undefined;
  try {
    known = await discoverTables(options);
    const swept = await compareAll({ ...options, startedAt }, known, time, signal);
    if ("late" in swept) return await untold(swept.late, swept.fence);
    return { ...swept, workMs: time.ms };
  } catch (error) {
    const reason = plan.isRepeated === true ? passingReason(error, known !== undefined) : undefined;
    if (reason === undefined || signal.aborted) throw error;
    return await untold(reason);
  }
}

async function compareAll(
  options: VerifyOptions & { readonly startedAt: string },
  known: CompiledTables,
  time: WorkingTime,
  signal: AbortSignal,
): Promise<Omit<Sweep, "workMs"> | { readonly late: string; readonly fence: Position }> {
  const { store, pipeline, startedAt } = options;
  await advanceFolds(options, known, signal);
  const before = await store.parity.findings(pipeline);
  const { snapshot, comparison, ...seen } = await openComparison(options, known.tables, signal);
  try {
    const { mapping, reverse } = seen;
    const sums: RowSums[] = [];
    for (const stream of mapping.streams) sums.push(await comparison.sumRows(stream, signal));
    const { fence } = snapshot;
    const late = await time.without(waitForFence(options, fence, signal));
    if (late !== undefined) return { late, fence };
    const quarantined = await quarantinedStreams(options);
    // Only what came since the start is missing, unless the pipeline was far behind or a table changed.
    await advanceFolds(options, seen, signal, { behindMax: EVENTS_BESIDE_MAX });
    for (const rows of sums) await comparison.compare(rows, quarantined, signal);
    const unfinished = await unfinishedNow(options);
    if (unfinished !== undefined) return { late: unfinished, fence };
    const rewritten = await snapshot.rewritten();
    const history = await readHistory(options, seen, signal);
    const found = { comparison, history, mapping, quarantined, rewritten, reverse };
    const report = reportOf(options, startedAt, snapshot, found);
    const differences = comparison.differences.filter(({ table }) => !rewritten.includes(table));
    const kept = await keepSweep(options, report, {
      before,
      found: differences,
      at: report.finishedAt,
      isChecked: ({ stream, table }) => !quarantined.has(stream) && !rewritten.includes(table),
    });
    const told = rewritten.length > 0 ? {} : { told: { comparison, quarantined } };
    return { report, kept, differences, flawed: history.streams, ...told };
  } finally {
    await snapshot.close();
  }
}
