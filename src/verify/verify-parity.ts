import { EVENTS_BESIDE_MAX, type RowSums } from "./comparison.ts";
import { mergeFindings } from "./findings.ts";
import type { ParityReport } from "./parity-report.ts";
import {
  advanceFolds,
  discoverTables,
  openComparison,
  quarantinedStreams,
  requireBaseline,
  unfinishedNow,
  waitForFence,
  type VerifyOptions,
} from "./prepare.ts";
import { inconclusive, reportOf } from "./write-report.ts";
import type { Difference } from "../store/parity-store.ts";

export type { VerifyOptions } from "./prepare.ts";

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
  const startedAt = new Date().toISOString();
  const { store, pipeline } = options;
  const notYet = await requireBaseline(options);
  if (notYet !== undefined) return inconclusive(options, startedAt, undefined, notYet);
  if (options.refold === true) await store.parity.forget(pipeline);
  const known = await discoverTables(options);
  await advanceFolds(options, known, signal);
  const { snapshot, comparison, ...seen } = await openComparison(options, known.tables, signal);
  try {
    const { mapping, reverse } = seen;
    const sums: RowSums[] = [];
    for (const stream of mapping.streams) sums.push(await comparison.sumRows(stream, signal));
    const untold = async (reason: string): Promise<ParityReport> => {
      const report = inconclusive(options, startedAt, snapshot.fence, reason);
      await store.parity.saveReport(pipeline, report);
      return report;
    };
    const reached = await waitForFence(options, snapshot.fence, signal);
    if (reached !== undefined) return await untold(reached);
    const quarantined = await quarantinedStreams(options);
    // Only what came since the start is missing, unless the pipeline was far behind or a table changed.
    await advanceFolds(options, seen, signal, { behindMax: EVENTS_BESIDE_MAX });
    for (const rows of sums) await comparison.compare(rows, quarantined, signal);
    const unfinished = await unfinishedNow(options);
    if (unfinished !== undefined) return await untold(unfinished);
    options.onLate?.(new Set([...comparison.late, ...comparison.untold]));
    const rewritten = await snapshot.rewritten();
    const found = { comparison, mapping, quarantined, rewritten, reverse };
    const report = reportOf(options, startedAt, snapshot, found);
    const differences = comparison.differences.filter(({ table }) => !rewritten.includes(table));
    await keep(options, report, differences);
    return report;
  } finally {
    await snapshot.close();
  }
}

/** Keeps what was found for status, gates and the next verification; values never. */
async function keep(
  { store, pipeline }: VerifyOptions,
  report: ParityReport,
  found: readonly Difference[],
): Promise<void> {
  const before = await store.parity.findings(pipeline);
  const findings = mergeFindings(before, found, report.finishedAt);
  await store.parity.saveFindings(pipeline, findings);
  await store.parity.saveReport(pipeline, withoutValues(report));
}

function withoutValues(report: ParityReport): ParityReport {
  const samples = report.samples.map((sample) => ({
    ...sample,
    columns: sample.columns.map(({ column }) => ({ column, row: null, fold: null })),
  }));
  return { ...report, samples };
}
