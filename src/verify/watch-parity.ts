import { hashesOf } from "./comparison.ts";
import { countFindings, FINDINGS_MAX, mergeFindings, type FindingCounts } from "./findings.ts";
import type { ParityReport, ParityState } from "./parity-report.ts";
import {
  advanceFolds,
  discoverTables,
  openComparison,
  quarantinedStreams,
  unfinishedNow,
  waitForFence,
  type VerifyOptions,
} from "./prepare.ts";
import { verifyParity } from "./verify-parity.ts";
import {
  conflictsOf,
  hiddenRows,
  inConflict,
  untoldStreams,
  waitingStreams,
} from "./write-report.ts";
import { streamTypeOf } from "../mapping/stream-id.ts";
import type { Position } from "../model/position.ts";
import type { SourceTable } from "../model/table.ts";
import type { SourceLoad } from "../source/change-source.ts";
import type { ParityFinding, ReverseConflict } from "../store/parity-store.ts";
import { pause } from "../runtime/pause.ts";
import { plural } from "../model/count-text.ts";

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

/** Aggregates looked at between two sweeps; what is beyond is left to the sweep. */
const STREAMS_PER_CHECK_MAX = 5_000;
/** A sweep may take this share of the time. */
const SWEEP_SHARE_MAX = 0.1;
/** A sweep that is due is put off for a busy source so long at most. */
const PUT_OFF_MS_MAX = 10 * 60_000;

/**
 * Verifies continuously until it is aborted: a sweep of everything now and then, and between sweeps the
 * aggregates that have changed, and those with findings once more. What is found is in the store: the
 * findings after each round, and a report of each sweep, whose state goes with them.
 *
 * @returns the last round
 * @throws BanyanError as {@link verifyParity}
 */
export async function watchParity(
  options: WatchOptions,
  signal: AbortSignal,
): Promise<WatchRound | undefined> {
  const { checkEveryMs, sweepEveryMs } = options;
  let last: WatchRound | undefined;
  let nextSweep = 0;
  let dueSince: number | undefined;
  const changed = new ChangedStreams();
  while (!signal.aborted) {
    const now = Date.now();
    const isDue = now >= nextSweep;
    if (isDue) dueSince ??= now;
    const busy = isDue && last !== undefined ? await busyWith(options) : undefined;
    let round: WatchRound | undefined;
    if (isDue && (busy === undefined || now - dueSince! > PUT_OFF_MS_MAX)) {
      const refold = options.refold === true && last === undefined;
      const late = new Set<string>();
      const onLate = (streams: ReadonlySet<string>): void =>
        streams.forEach((one) => late.add(one));
      const report = await verifyParity({ ...options, refold, onLate }, signal);
      changed.clear();
      changed.addLate(late);
      dueSince = undefined;
      const took = Date.now() - now;
      nextSweep = now + Math.max(sweepEveryMs, took / SWEEP_SHARE_MAX);
      round = await roundOf(options, report);
    } else {
      if (busy !== undefined) options.onProgress?.({ step: `a sweep waits: ${busy}`, rows: 0 });
      const known = await discoverTables(options);
      await advanceFolds(options, known, signal, {
        onFolded: (streamType, streams) => changed.add(streamType, streams),
      });
      round = await checkChanged(options, known.tables, changed, signal);
    }
    if (round !== undefined) options.onRound((last = round));
    await pause(checkEveryMs, signal);
  }
  return last;
}

/** Streams that had events since the last look, as many as one look takes. */
class ChangedStreams {
  readonly byType = new Map<string, Set<string>>();
  /** How many more there were, which are left to the next sweep. */
  skipped = 0;
  #size = 0;

  add(streamType: string, streams: readonly string[]): void {
    let set = this.byType.get(streamType);
    if (set === undefined) this.byType.set(streamType, (set = new Set()));
    for (const stream of streams) {
      if (set.has(stream)) continue;
      if (this.#size >= STREAMS_PER_CHECK_MAX) this.skipped += 1;
      else {
        set.add(stream);
        this.#size += 1;
      }
    }
  }

  /** Once they are written back their rows change, and no event comes that would tell. */
  addLate(streams: ReadonlySet<string>): void {
    for (const stream of streams) this.add(streamTypeOf(stream), [stream]);
  }

  clear(): void {
    this.byType.clear();
    this.skipped = 0;
    this.#size = 0;
  }
}

const MAY_PASS = ["difference may be a passing one", "differences may be passing ones"] as const;

/** Why a sweep should wait; undefined when it need not. */
async function busyWith({ source, activeSessionsMax }: WatchOptions): Promise<string | undefined> {
  const { activeSessions }: SourceLoad = await source.load();
  if (activeSessions === undefined || activeSessions <= activeSessionsMax) return undefined;
  return `${activeSessions} sessions are at work in the source`;
}

async function roundOf(
  { store, pipeline }: WatchOptions,
  report: ParityReport,
): Promise<WatchRound> {
  const { state, reasons, fence, finishedAt } = report;
  const findings = countFindings(await store.parity.findings(pipeline));
  return { kind: "sweep", at: finishedAt, state, reasons, fence, findings };
}

/**
 * Looks at the aggregates that changed, which are forgotten once that is done, and at those with findings.
 *
 * @returns undefined when there was nothing to look at
 */
async function checkChanged(
  options: WatchOptions,
  tables: readonly SourceTable[],
  changed: ChangedStreams,
  signal: AbortSignal,
): Promise<WatchRound | undefined> {
  const { store, pipeline } = options;
  const before = await store.parity.findings(pipeline);
  const wanted = new Map([...changed.byType].map(([type, streams]) => [type, new Set(streams)]));
  for (const { stream } of before) {
    const type = streamTypeOf(stream);
    wanted.set(type, (wanted.get(type) ?? new Set()).add(stream));
  }
  if ([...wanted.values()].every(({ size }) => size === 0)) return undefined;
  const opened = await openComparison(options, tables, signal);
  const { snapshot, comparison, mapping } = opened;
  try {
    const reached = await waitForFence(options, snapshot.fence, signal);
    const at = new Date().toISOString();
    const { fence } = snapshot;
    const untold = (reasons: readonly string[]): WatchRound => {
      const findings = countFindings(before);
      return { kind: "changes", at, state: "inconclusive", reasons, fence, findings };
    };
    if (reached !== undefined) return untold([reached]);
    const quarantined = await quarantinedStreams(options);
    const checked = new Set<string>();
    for (const [type, streams] of wanted) {
      const stream = mapping.stream(type);
      if (stream === undefined) continue;
      const hashes = hashesOf(mapping, stream, snapshot.tables);
      const compared = await comparison.compareStreams(hashes, [...streams], quarantined, signal);
      for (const id of compared) checked.add(id);
    }
    const unfinished = await unfinishedNow(options);
    if (unfinished !== undefined) return untold([unfinished]);
    const rewritten = await snapshot.rewritten();
    if (rewritten.length > 0) return untold(rewritten.map(hiddenRows));
    const { skipped } = changed;
    changed.clear();
    changed.addLate(new Set([...comparison.late, ...comparison.untold]));
    const merged = mergeFindings(before, comparison.differences, at, checked);
    await store.parity.saveFindings(pipeline, merged);
    const conflicts = conflictsOf(opened.reverse, mapping);
    const unclear = [...waitingStreams(quarantined), ...untoldStreams(comparison.untold)];
    const told = await updateReport(options, merged, unclear, conflicts);
    const findings = countFindings(merged);
    return { kind: "changes", at, ...told, fence, checked: checked.size, skipped, findings };
  } finally {
    await snapshot.close();
  }
}

/** Brings the report of the last sweep to what is known by now; it stays as old as it is. */
async function updateReport(
  { store, pipeline, samplesMax }: WatchOptions,
  findings: readonly ParityFinding[],
  unclear: readonly string[],
  conflicts: readonly ReverseConflict[],
): Promise<Pick<WatchRound, "state" | "reasons">> {
  const saved = (await store.parity.report(pipeline))?.report as ParityReport | undefined;
  // More than are kept by key: only the next sweep can tell.
  if (saved !== undefined && saved.missing + saved.extra + saved.different > FINDINGS_MAX)
    return { state: saved.state, reasons: saved.reasons };
  const { open, settled } = countFindings(findings);
  const reasons = [
    ...(saved?.conclusive === true ? [] : ["the last sweep could not tell of everything"]),
    ...unclear,
    ...(open > settled ? [plural(open - settled, ...MAY_PASS)] : []),
    ...inConflict(conflicts),
  ];
  const isDifferent = settled > 0 || conflicts.length > 0;
  const state = isDifferent ? "different" : reasons.length > 0 ? "inconclusive" : "equal";
  if (saved !== undefined) {
    const of = (verdict: ParityFinding["verdict"]): number =>
      findings.filter((finding) => finding.verdict === verdict).length;
    const counts = { missing: of("missing"), extra: of("extra"), different: of("different") };
    const samples = conflicts.slice(0, samplesMax);
    const reverseConflicts = { streams: conflicts.length, samples };
    await store.parity.saveReport(pipeline, { ...saved, ...counts, reverseConflicts, state });
  }
  return { state, reasons };
}
