import type { Position } from "../model/position.ts";
import type { EventStore } from "../store/event-store.ts";
import { countFindings, type FindingCounts } from "../verify/findings.ts";
import type { ParityReport } from "../verify/parity-report.ts";

/** What the last verification said, whoever ran it. */
export interface ParityNote extends Pick<
  ParityReport,
  "state" | "compared" | "present" | "missing" | "extra" | "different"
> {
  readonly verifiedAt: string;
  readonly fence: Position | undefined;
  /** Older than a day: it gates nothing. */
  readonly stale: boolean;
  readonly findings: FindingCounts;
}

const STALE_REPORT_MS = 24 * 3_600_000;

/** @returns undefined when there was none */
export async function parityNote(
  { parity }: Pick<EventStore, "parity">,
  pipeline: string,
): Promise<ParityNote | undefined> {
  const saved = await parity.report(pipeline);
  if (saved === undefined) return undefined;
  const report = saved.report as ParityReport;
  const { state, compared, present, missing, extra, different, finishedAt } = report;
  return {
    state,
    compared,
    present,
    missing,
    extra,
    different,
    verifiedAt: finishedAt,
    fence: report.fence,
    stale: Date.now() - Date.parse(finishedAt) > STALE_REPORT_MS,
    findings: countFindings(await parity.findings(pipeline)),
  };
}
