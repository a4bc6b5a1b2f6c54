import type { ChangedStreams, TakenStreams } from "./changed-streams.ts";
import { hashesOf } from "./comparison.ts";
import { countFindings, type FindingCounts } from "./findings.ts";
import { readHistory } from "./history.ts";
import { keepChanges, type Kept } from "./keep-report.ts";
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
import { conflictsOf, hiddenRows, untoldStreams, waitingStreams } from "./write-report.ts";
import { streamTypeOf } from "../mapping/stream-id.ts";
import type { Position } from "../model/position.ts";
import type { ParityFinding, SavedReport } from "../store/parity-store.ts";

/** A look at what changed. */
export interface Checked extends Pick<Kept, "state" | "reasons" | "wantsSweep"> {
  /** ISO 8601. */
  readonly at: string;
  readonly fence: Position | undefined;
  /** Aggregates looked at; undefined when the look came to no end. */
  readonly checked: number | undefined;
  readonly findings: FindingCounts;
}

interface Before {
  readonly report: SavedReport | undefined;
  readonly findings: readonly ParityFinding[];
}

/**
 * Looks at the aggregates that changed, which are forgotten once that is done, and at those with findings.
 *
 * @param isWanted looks also where there is nothing of the kind, to see that the pipeline follows
 * @returns undefined when there was nothing to look at
 */
export async function checkChanges(
  options: VerifyOptions,
  changed: ChangedStreams,
  isWanted: boolean,
  signal: AbortSignal,
): Promise<Checked | undefined> {
  const { store, pipeline } = options;
  const report = await store.parity.report(pipeline);
  const findings = await store.parity.findings(pipeline);
  const before: Before = { report, findings };
  const isDue = !changed.isEmpty || findings.length > 0 || isWanted;
  const notYet = isDue ? await requireBaseline(options) : undefined;
  if (notYet !== undefined) return untold(before, [notYet]);
  const taken = changed.take();
  let known: CompiledTables | undefined;
  let isDone = false;
  try {
    known = await discoverTables(options);
    await advanceFolds(options, known, signal);
    if (!isDue) return undefined;
    const checked = await lookAt({ options, known, changed, taken, before }, signal);
    isDone = checked.checked !== undefined;
    return checked;
  } catch (error) {
    const reason = passingReason(error, known !== undefined);
    if (reason === undefined || signal.aborted) throw error;
    return untold(before, [reason]);
  } finally {
    if (!isDone) changed.giveBack(taken);
  }
}

function untold(before: Before, reasons: readonly string[], fence?: Position): Checked {
  const at = new Date().toISOString();
  const findings = countFindings(before.findings);
  const state = "inconclusive";
  return { at, state, reasons, fence, checked: undefined, findings, wantsSweep: false };
}

interface ChangesPlan {
  readonly options: VerifyOptions;
  readonly known: CompiledTables;
  readonly changed: ChangedStreams;
  readonly taken: TakenStreams;
  readonly before: Before;
}

async function lookAt(
  { options, known, changed, taken, before }: ChangesPlan,
  signal: AbortSignal,
): Promise<Checked> {
  const fencedAt = new Date().toISOString();
  const opened = await openComparison(options, known.tables, signal);
  const { snapshot, comparison, mapping } = opened;
  try {
    const { fence } = snapshot;
    const late = await waitForFence(options, fence, signal);
    if (late !== undefined) return untold(before, [late], fence);
    const since = await changed.collect(options);
    const at = new Date().toISOString();
    const quarantined = await quarantinedStreams(options);
    const checked = new Set<string>();
    for (const [type, streams] of byType(taken, before.findings)) {
      const stream = mapping.stream(type);
      if (stream === undefined) continue;
      const hashes = hashesOf(mapping, stream, snapshot.tables);
      const compared = await comparison.compareStreams(hashes, [...streams], quarantined, signal);
      for (const id of compared) checked.add(id);
    }
    const unfinished = await unfinishedNow(options);
    if (unfinished !== undefined) return untold(before, [unfinished], fence);
    const rewritten = await snapshot.rewritten();
    if (rewritten.length > 0) return untold(before, rewritten.map(hiddenRows), fence);
    const history = await readHistory(options, opened, signal);
    changed.looked(comparison, quarantined);
    const kept = await keepChanges(options, {
      before: before.findings,
      reportBefore: before.report,
      found: comparison.differences,
      at,
      isChecked: ({ stream }) => checked.has(stream),
      unclear: [
        ...waitingStreams(quarantined),
        ...untoldStreams(comparison.untold),
        ...changed.reasons,
      ],
      conflicts: conflictsOf(opened.reverse, mapping),
      history,
      checkedAt: changed.passed(taken, fencedAt, since),
    });
    const { state, reasons, wantsSweep } = kept;
    const findings = countFindings(kept.findings);
    return { at, state, reasons, fence, checked: checked.size, findings, wantsSweep };
  } finally {
    await snapshot.close();
  }
}

/** All that is looked at, by stream type. */
function byType(
  { changed, late, quarantined }: TakenStreams,
  findings: readonly ParityFinding[],
): ReadonlyMap<string, ReadonlySet<string>> {
  const wanted = new Map<string, Set<string>>();
  const all = [...changed, ...late, ...quarantined, ...findings.map(({ stream }) => stream)];
  for (const stream of all) {
    const type = streamTypeOf(stream);
    const set = wanted.get(type);
    if (set === undefined) wanted.set(type, new Set([stream]));
    else set.add(stream);
  }
  return wanted;
}
