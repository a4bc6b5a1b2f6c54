import { setTimeout as sleep } from "node:timers/promises";
import { Comparison, hashesOf } from "./comparison.ts";
import { countFindings, FINDINGS_MAX, mergeFindings, type FindingCounts } from "./findings.ts";
import type { ParityReport, ParityState } from "./parity-report.ts";
import { advanceFolds, mappingOf, waitForFence, type VerifyOptions } from "./prepare.ts";
import { verifyParity } from "./verify-parity.ts";
import { plannedTables } from "../mapping/compile.ts";
import { streamTypeOf } from "../mapping/stream-id.ts";
import type { Position } from "../model/position.ts";
import type { SourceLoad } from "../source/change-source.ts";
import type { ParityFinding } from "../store/parity-store.ts";

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
 * aggregates that have changed, and those with findings once more. Every round's outcome is in the store.
 *
 * @returns the last round
 * @throws BanyanError as {@link verifyParity}
 */
export async function watchParity(
  options: WatchOptions,
  signal: AbortSignal,
): Promise<WatchRound | undefined> {
  const { source, checkEveryMs, sweepEveryMs } = options;
  let last: WatchRound | undefined;
  let nextSweep = 0;
  let dueSince: number | undefined;
  const changed = new Map<string, Set<string>>();
  const note = (streamType: string, streams: readonly string[]): void => {
    let set = changed.get(streamType);
    if (set === undefined) changed.set(streamType, (set = new Set()));
    for (const stream of streams) set.add(stream);
  };
  while (!signal.aborted) {
    const now = Date.now();
    const isDue = now >= nextSweep;
    if (isDue) dueSince ??= now;
    const busy = isDue && last !== undefined ? await busyWith(options) : undefined;
    if (isDue && (busy === undefined || now - dueSince! > PUT_OFF_MS_MAX)) {
      const report = await verifyParity(options, signal);
      changed.clear();
      dueSince = undefined;
      const took = Date.now() - now;
      nextSweep = now + Math.max(sweepEveryMs, took / SWEEP_SHARE_MAX);
      last = await roundOf(options, report);
    } else {
      if (busy !== undefined) options.onProgress?.({ step: `a sweep waits: ${busy}`, rows: 0 });
      const tables = await source.discover(plannedTables(options.streams));
      await advanceFolds(options, tables, signal, { onFolded: note });
      last = (await checkChanged(options, changed, signal)) ?? last;
    }
    if (last !== undefined) options.onRound(last);
    await sleep(checkEveryMs, undefined, { signal }).catch(() => undefined);
  }
  return last;
}

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
 * Looks at the aggregates that changed, which are forgotten then, and at those with findings.
 *
 * @returns undefined when there was nothing to look at
 */
async function checkChanged(
  options: WatchOptions,
  changed: Map<string, Set<string>>,
  signal: AbortSignal,
): Promise<WatchRound | undefined> {
  const { store, pipeline, source, streams } = options;
  const before = await store.parity.findings(pipeline);
  for (const { stream } of before) {
    const type = streamTypeOf(stream);
    changed.set(type, (changed.get(type) ?? new Set()).add(stream));
  }
  const wanted = [...changed].map(([type, set]) => [type, [...set]] as const);
  changed.clear();
  const all = wanted.reduce((sum, [, set]) => sum + set.length, 0);
  if (all === 0) return undefined;
  const share = Math.min(1, STREAMS_PER_CHECK_MAX / all);
  const tables = await source.discover(plannedTables(streams));
  const snapshot = await source.openParity(tables, signal);
  try {
    const { mapping, folder } = await mappingOf(options, snapshot.tables);
    const comparison = new Comparison({
      ...options,
      snapshot,
      mapping,
      folder,
      onProgress: (step, rows) => options.onProgress?.({ step, rows }),
    });
    const reached = await waitForFence(options, snapshot.fence, signal);
    const at = new Date().toISOString();
    const { fence } = snapshot;
    if (reached !== undefined) {
      const findings = countFindings(before);
      return { kind: "changes", at, state: "inconclusive", reasons: [reached], fence, findings };
    }
    const waiting = await store.quarantine.streams(pipeline);
    const quarantined = new Set(waiting.map((entry) => entry.stream));
    const checked = new Set<string>();
    for (const [type, set] of wanted) {
      const stream = mapping.stream(type);
      if (stream === undefined) continue;
      const some = set.slice(0, Math.ceil(set.length * share));
      for (const id of some) checked.add(id);
      const hashes = hashesOf(mapping, stream, snapshot.tables);
      await comparison.compareStreams(hashes, some, quarantined, signal);
    }
    const rewritten = await snapshot.rewritten();
    const found = comparison.differences.filter(({ table }) => !rewritten.includes(table));
    const findings = mergeFindings(before, found, at, checked);
    await store.parity.saveFindings(pipeline, findings);
    const state = await updateReport(options, findings, at, fence);
    const counts = countFindings(findings);
    const round = { kind: "changes", at, state, reasons: [], fence, findings: counts } as const;
    return { ...round, checked: checked.size, skipped: all - checked.size };
  } finally {
    await snapshot.close();
  }
}

/** The report of the last sweep, as it is by now. */
async function updateReport(
  { store, pipeline }: WatchOptions,
  findings: readonly ParityFinding[],
  at: string,
  fence: Position,
): Promise<ParityState> {
  const saved = (await store.parity.report(pipeline))?.report as ParityReport | undefined;
  const { settled } = countFindings(findings);
  const before = saved?.state ?? "inconclusive";
  // More than are kept by key: only the next sweep can tell.
  if (saved !== undefined && saved.missing + saved.extra + saved.different > FINDINGS_MAX)
    return before;
  // A difference that is not settled may be a passing one, and what the sweep found may be gone.
  const state = settled > 0 ? "different" : before === "different" ? "equal" : before;
  if (saved === undefined) return state;
  const of = (verdict: ParityFinding["verdict"]): number =>
    findings.filter((finding) => finding.verdict === verdict).length;
  const counts = { missing: of("missing"), extra: of("extra"), different: of("different") };
  await store.parity.saveReport(pipeline, { ...saved, ...counts, state, fence, finishedAt: at });
  return state;
}
