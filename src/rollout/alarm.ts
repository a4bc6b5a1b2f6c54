import type { GateFacts, SideTraffic } from "./gate-facts.ts";
import { addedMs, rateOf } from "./gates.ts";
import { movedBuckets, type Standing } from "./move.ts";
import type { AlarmSettings } from "./settings.ts";
import { plural } from "../model/count-text.ts";

/** Why a stream type should go back. */
export interface Alarm {
  readonly name: "errors" | "latency" | "dual" | "different" | "conflict";
  readonly says: string;
  /** False where a way back would meet what raised it: a person has to look first. */
  readonly goesBack: boolean;
}

/**
 * What speaks against the share that has moved, worst first; undefined while too little was seen, and at
 * stages where the new service answers for nothing.
 *
 * @param facts of which `legacy` is what it is held against: see GateFactsReader.legacyBefore
 */
export function alarmOf(
  standing: Standing,
  { moved, legacy, dual, shadow, reverseConflicts }: GateFacts,
  { samplesMin, errorRateMax, latencyMsMax, dualFailureRateMax, differentRateMax }: AlarmSettings,
): Alarm | undefined {
  if (movedBuckets(standing) === 0 || standing.stage === "complete") return undefined;
  if (moved.requests >= samplesMin) {
    const [ours, theirs] = [rateOf(moved), rateOf(legacy)];
    if (isSurelyMore(moved, theirs + errorRateMax)) {
      const says = `${percent(ours)} of ${plural(moved.requests, "request")} to the moved share failed, ${percent(theirs)} of legacy's`;
      return { name: "errors", says, goesBack: true };
    }
    const added = legacy.requests >= samplesMin ? addedMs(moved, legacy) : 0;
    if (added > latencyMsMax) {
      const says = `the moved share is ${whole(added)} slower than legacy (95th percentile of ${plural(moved.requests, "request")})`;
      return { name: "latency", says, goesBack: true };
    }
  }
  const judged = dual.pass + dual.fail;
  if (judged >= samplesMin && dual.fail / judged > dualFailureRateMax) {
    const says = `of ${plural(judged, "write")} that legacy still answers the new service would have done ${percent(dual.fail / judged)} otherwise`;
    return { name: "dual", says, goesBack: true };
  }
  const different = shadow.compared === 0 ? 0 : shadow.different / shadow.compared;
  if (shadow.compared >= samplesMin && different > differentRateMax) {
    const says = `${percent(different)} of ${plural(shadow.compared, "compared read")} differ from legacy`;
    return { name: "different", says, goesBack: true };
  }
  if (reverseConflicts === 0) return undefined;
  const says = `${plural(reverseConflicts, "aggregate waits", "aggregates wait")} in a conflict of reverse sync`;
  return { name: "conflict", says, goesBack: false };
}

/** Standard deviations that a count may lie above what is to be expected; one in a thousand by chance. */
const DEVIATIONS_MAX = 3;

/** Whether so many errors are no accident of few requests, if the rate were as high as it may be. */
function isSurelyMore({ requests, errors }: SideTraffic, rateMax: number): boolean {
  const expected = requests * Math.min(1, rateMax);
  const deviation = Math.sqrt(expected * (1 - Math.min(1, rateMax)));
  return errors > expected + DEVIATIONS_MAX * deviation;
}

/** Infinite when it is slower than the last bound that is counted. */
function whole(ms: number): string {
  return Number.isFinite(ms) ? `${ms} ms` : "far";
}

function percent(rate: number): string {
  return `${(rate * 100).toFixed(1)}%`;
}
