import {
  countFindings,
  countVerdicts,
  FINDINGS_MAX,
  mergeFindings,
  type Look,
} from "./findings.ts";
import type { History } from "./history.ts";
import type { ParityReport, ParityState } from "./parity-report.ts";
import type { VerifyOptions } from "./prepare.ts";
import { flawedHistory, historyParity, inConflict } from "./write-report.ts";
import { count, plural } from "../model/count-text.ts";
import type {
  ParityFinding,
  ParityUpdate,
  ReverseConflict,
  SavedReport,
} from "../store/parity-store.ts";

/** A report as status, gates and looks find it; values are not in it. */
interface KeptReport extends ParityReport {
  /** ISO 8601. As of when what has changed since the report was looked at, and all was equal. */
  readonly checkedAt?: string;
}

/** What is kept once a look has been added to it. */
export interface Kept {
  readonly state: ParityState;
  readonly reasons: readonly string[];
  readonly findings: readonly ParityFinding[];
  /** Only a sweep can tell more. */
  readonly wantsSweep: boolean;
}

const MAY_PASS = ["difference may be a passing one", "differences may be passing ones"] as const;
const NOT_KEPT = `more than ${count(FINDINGS_MAX)} differences, which are more than are kept: the next sweep tells`;

/** Keeps the report of a sweep, and its findings. */
export async function keepSweep(
  { store, pipeline }: VerifyOptions,
  report: ParityReport,
  look: Look,
): Promise<Kept> {
  let kept!: Kept;
  await store.parity.update(pipeline, (now) => {
    const merged = mergeFindings(look, now.findings);
    const findings = merged.slice(0, FINDINGS_MAX);
    // Of others, or not looked at.
    const left = merged.slice(0, merged.length - look.found.length);
    const state = worse(report.state, left);
    const more = [
      "1 difference was found by another verification meanwhile, or could not be looked at again",
      `${count(left.length)} differences were found by other verifications meanwhile, or could not be looked at again`,
    ] as const;
    const reasons =
      left.length === 0 ? report.reasons : [...report.reasons, plural(left.length, ...more)];
    kept = { state, reasons, findings, wantsSweep: false };
    return {
      findings,
      report: { ...withoutValues(report), ...added(report, left), state, reasons },
    };
  });
  return kept;
}

/**
 * Keeps that a sweep could not tell. What is known by the one before is not forgotten for that: looks at
 * what changed go on from there.
 */
export async function keepUntold(
  { store, pipeline }: VerifyOptions,
  untold: ParityReport,
): Promise<Kept> {
  let kept!: Kept;
  await store.parity.update(pipeline, ({ report, findings }) => {
    const saved = keptReport(report);
    const isKnown = saved !== undefined && saved.tables.length > 0;
    const state = isKnown && saved.state === "different" ? "different" : untold.state;
    const { reasons } = untold;
    kept = { state, reasons, findings, wantsSweep: false };
    return isKnown
      ? { findings, report: { ...saved, state, reasons }, isAmended: true }
      : { findings, report: untold };
  });
  return kept;
}

export interface ChangesLook extends Look {
  /** The latest report before the look's snapshot was taken. */
  readonly reportBefore: SavedReport | undefined;
  /** What else keeps it from being told. */
  readonly unclear: readonly string[];
  readonly conflicts: readonly ReverseConflict[];
  readonly history: History;
  /** ISO 8601. As of when all that changed was looked at; undefined when it is not known. */
  readonly checkedAt: string | undefined;
}

/**
 * Adds a look at what changed to the findings, and to the report of the last sweep, which stays as old as it
 * is. A report that has come since the look began is only ever made worse by it.
 */
export async function keepChanges(
  { store, pipeline, samplesMax }: VerifyOptions,
  look: ChangesLook,
): Promise<Kept> {
  let kept!: Kept;
  await store.parity.update(pipeline, ({ report, findings: now, ...at }): ParityUpdate => {
    const merged = mergeFindings(look, now);
    const findings = merged.slice(0, FINDINGS_MAX);
    const saved = keptReport(report);
    const isCut = merged.length > FINDINGS_MAX;
    const wasCut =
      saved !== undefined && saved.missing + saved.extra + saved.different > FINDINGS_MAX;
    const told = tell(saved, merged, look, isCut || wasCut);
    kept = { ...told, findings, wantsSweep: wasCut ? merged.length === 0 : isCut };
    if (saved === undefined) return { findings };
    const isOurs = isSameSweep(saved, keptReport(look.reportBefore));
    if (!isOurs && !isWorse(told.state, saved.state)) return { findings };
    const samples = look.conflicts.slice(0, samplesMax);
    const amended: KeptReport = {
      ...saved,
      ...told,
      // Counts beyond those kept say so until the next sweep.
      ...(wasCut ? {} : countVerdicts(merged)),
      conclusive: saved.conclusive && !isCut,
      reverseConflicts: { streams: look.conflicts.length, samples },
      history: historyParity(look.history),
      ...(told.state === "equal" ? checked(saved, look.checkedAt, at.now) : {}),
    };
    return { findings, report: amended, isAmended: true };
  });
  return kept;
}

/** @param isCut whether there are more differences than are kept */
function tell(
  saved: KeptReport | undefined,
  findings: readonly ParityFinding[],
  { unclear, conflicts, history }: ChangesLook,
  isCut: boolean,
): Pick<Kept, "state" | "reasons"> {
  const { open, settled } = countFindings(findings);
  const isUntold = !isCut && saved?.conclusive !== true;
  const flawed = flawedHistory(history);
  const reasons = [
    ...(isCut ? [NOT_KEPT] : []),
    ...(isUntold ? ["the last sweep could not tell of everything"] : []),
    ...unclear,
    ...(open > settled ? [plural(open - settled, ...MAY_PASS)] : []),
    ...inConflict(conflicts),
    ...flawed,
  ];
  const isDifferent =
    settled > 0 ||
    conflicts.length > 0 ||
    flawed.length > 0 ||
    (isCut && saved?.state === "different");
  const state = isDifferent ? "different" : reasons.length > 0 ? "inconclusive" : "equal";
  return { state, reasons };
}

function isWorse(state: ParityState, than: ParityState): boolean {
  const order: readonly ParityState[] = ["equal", "inconclusive", "different"];
  return order.indexOf(state) > order.indexOf(than);
}

function worse(state: ParityState, findings: readonly ParityFinding[]): ParityState {
  const { open, settled } = countFindings(findings);
  if (state === "different" || settled > 0) return "different";
  return open > 0 ? "inconclusive" : state;
}

function added(report: ParityReport, findings: readonly ParityFinding[]): Partial<ParityReport> {
  const { missing, extra, different } = countVerdicts(findings);
  return {
    missing: report.missing + missing,
    extra: report.extra + extra,
    different: report.different + different,
  };
}

function isSameSweep(one: KeptReport, other: KeptReport | undefined): boolean {
  return one.startedAt === other?.startedAt && one.finishedAt === other.finishedAt;
}

/** Not after now by the store's clock, and never earlier than it was. */
function checked(
  { checkedAt: before = "" }: KeptReport,
  checkedAt: string | undefined,
  now: string,
): Pick<KeptReport, "checkedAt"> {
  if (checkedAt === undefined) return {};
  const at = checkedAt < now ? checkedAt : now;
  return at > before ? { checkedAt: at } : {};
}

function keptReport(saved: SavedReport | undefined): KeptReport | undefined {
  return saved?.report as KeptReport | undefined;
}

function withoutValues(report: ParityReport): ParityReport {
  const samples = report.samples.map((sample) => ({
    ...sample,
    columns: sample.columns.map(({ column }) => ({ column, row: null, fold: null })),
  }));
  return { ...report, samples };
}
