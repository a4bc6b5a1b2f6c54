import type { GateFacts, SideTraffic } from "./gate-facts.ts";
import { percentileMs } from "./latency.ts";
import { movingBuckets, REVERSE_GATE, type MoveKind, type Standing } from "./move.ts";
import type { GateSettings } from "./settings.ts";
import { LATENCY_BOUNDS_MS } from "./traffic.ts";
import { count, plural } from "../model/count-text.ts";

export const GATES = [
  "proxies",
  "lag",
  "quarantine",
  "parity",
  "dual",
  "shadow",
  "errors",
  "latency",
  REVERSE_GATE,
] as const;

export type GateName = (typeof GATES)[number];

/** Pass, fail, or not to be told yet. The third is never one of the others. */
export type GateState = "pass" | "fail" | "inconclusive";

export interface GateAnswer {
  readonly gate: GateName;
  readonly state: GateState;
  /** What was found, and where it is not a pass what is needed. */
  readonly says: string;
  /** Passed over by name. */
  readonly forced: boolean;
}

/** A process that keeps its figures current says so more often than this. */
const SILENT_SECONDS_MAX = 15;

/** A look at what changed says nothing of what no event told; everything must have been compared since. */
const SWEPT_HOURS_MAX = 24;

/** The gates that a move must pass, in the order in which they are told. */
export function gatesOf(kind: MoveKind, from: Standing, to: Standing): readonly GateName[] {
  const isPlain = movingBuckets(from, to) === undefined;
  switch (kind) {
    case "rollback":
      return isPlain ? [] : [REVERSE_GATE];
    case "complete":
      return ["quarantine", "parity", REVERSE_GATE];
    case "promote":
      // In shadow nothing depends on the new service yet.
      if (from.stage === "legacy") return ["proxies", "lag"];
      if (from.stage === "shadow")
        // What moves must be able to come back from the first aggregate on.
        return ["proxies", "lag", "quarantine", "parity", "dual", "shadow", REVERSE_GATE];
      return GATES;
  }
}

/** What each gate of a move says to these facts. @param forced gates that are passed over */
export function judgeGates(
  gates: readonly GateName[],
  facts: GateFacts,
  settings: GateSettings,
  forced: readonly string[],
): readonly GateAnswer[] {
  return gates.map((gate) => {
    const [state, says] = JUDGES[gate](facts, settings);
    const hours = facts.standsSeconds / 3_600;
    const isVain = state === "inconclusive" && hours > settings.hoursMax;
    const more = isVain
      ? `; it has been so for ${Math.floor(hours)} h: send traffic, or pass over it with --force ${gate}`
      : "";
    return { gate, state, says: `${says}${more}`, forced: forced.includes(gate) };
  });
}

/** Fail before inconclusive before pass; forced gates say nothing. */
export function sumUp(answers: readonly GateAnswer[]): GateState {
  const states = answers.filter(({ forced }) => !forced).map(({ state }) => state);
  if (states.includes("fail")) return "fail";
  return states.includes("inconclusive") ? "inconclusive" : "pass";
}

type Judgement = readonly [state: GateState, says: string];

const JUDGES: Readonly<Record<GateName, (facts: GateFacts, settings: GateSettings) => Judgement>> =
  {
    proxies: ({ proxies }) =>
      proxies > 0
        ? ["pass", `${proxies} running`]
        : ["fail", "no proxy was seen: requests would not follow the move; start banyan proxy"],

    lag({ capture }, { lagSecondsMax }) {
      if (capture === undefined) return ["fail", "the capture has never run; start banyan run"];
      const { lagSeconds, silentSeconds } = capture;
      if (silentSeconds > SILENT_SECONDS_MAX)
        return [
          "fail",
          `the capture was last seen ${whole(silentSeconds)} s ago; start banyan run`,
        ];
      if (lagSeconds === undefined)
        return ["inconclusive", "the capture still reads what was there before; see banyan status"];
      const says = `${lagSeconds.toFixed(1)} s behind`;
      return lagSeconds <= lagSecondsMax
        ? ["pass", says]
        : ["fail", `${says}, more than ${lagSecondsMax} s`];
    },

    quarantine: ({ quarantined }) =>
      quarantined === 0
        ? ["pass", "empty"]
        : [
            "fail",
            `${plural(quarantined, "aggregate waits", "aggregates wait")}; see banyan quarantine list`,
          ],

    parity({ parity }, { parityMinutesMax }) {
      if (parity === undefined)
        return ["inconclusive", "nothing was verified yet; run banyan verify"];
      const { state, ageSeconds, sweptSeconds, openFindings, conclusive } = parity;
      if (openFindings > 0) return ["fail", `${openFindings} open findings; see banyan verify`];
      if (state === "different")
        return ["fail", "rows of another stream type differ; see banyan verify"];
      const minutes = whole(ageSeconds / 60);
      if (ageSeconds > parityMinutesMax * 60)
        return [
          "inconclusive",
          `verified ${minutes} min ago, more than ${parityMinutesMax}; run banyan verify`,
        ];
      const hours = whole(sweptSeconds / 3_600);
      if (sweptSeconds > SWEPT_HOURS_MAX * 3_600)
        return [
          "inconclusive",
          `everything was last compared ${hours} h ago, more than ${SWEPT_HOURS_MAX}; run banyan verify`,
        ];
      if (state !== "equal" || !conclusive)
        return ["inconclusive", "the last verification could not tell; run banyan verify"];
      return ["pass", `equal ${minutes} min ago`];
    },

    dual({ dual }, { dualSamplesMin, dualFailuresMax }) {
      const judged = dual.pass + dual.fail;
      const says = `${count(dual.pass)} alike, ${count(dual.fail)} not, ${count(dual.inconclusive)} could not be told`;
      if (dual.fail > dualFailuresMax)
        return ["fail", `${says} since it stands here; see banyan verify --dual`];
      return enough(judged, dualSamplesMin, "judged writes", says);
    },

    shadow({ shadow }, { shadowSamplesMin, shadowMatchMin }) {
      const { compared, different, uncompared, dropped } = shadow;
      const says = `${count(compared - different)} of ${plural(compared, "read")} alike, ${count(uncompared + dropped)} not compared`;
      const waiting = enough(compared, shadowSamplesMin, "compared reads", says);
      if (waiting[0] !== "pass") return waiting;
      const isAlike = (compared - different) / compared >= shadowMatchMin;
      return isAlike
        ? ["pass", says]
        : [
            "fail",
            `${says}; at least ${shadowMatchMin * 100}% must be; table banyan.shadow_samples has what differed`,
          ];
    },

    errors({ moved, legacy }, { trafficSamplesMin, errorRateMax }) {
      const says = `${percent(rateOf(moved))} of ${plural(moved.requests, "moved request")}, ${percent(rateOf(legacy))} of legacy's`;
      const waiting = enough(
        moved.requests,
        trafficSamplesMin,
        "requests to the moved share",
        says,
      );
      if (waiting[0] !== "pass") return waiting;
      return rateOf(moved) - rateOf(legacy) <= errorRateMax ? ["pass", says] : ["fail", says];
    },

    latency({ moved, legacy }, { trafficSamplesMin, latencyMsMax }) {
      const waiting = enough(moved.requests, trafficSamplesMin, "requests to the moved share", "");
      if (waiting[0] !== "pass") return waiting;
      const beside = enough(legacy.requests, trafficSamplesMin, "requests to legacy", "");
      if (beside[0] !== "pass") return beside;
      const added = addedMs(moved, legacy);
      const says = `95% of moved requests ${within(moved)}, of legacy's ${within(legacy)}`;
      return added <= latencyMsMax
        ? ["pass", says]
        : ["fail", `${says}; ${latencyMsMax} ms more are allowed`];
    },

    reverse({ reverse, reverseConflicts }, { lagSecondsMax }) {
      if (reverseConflicts > 0)
        return [
          "fail",
          `${plural(reverseConflicts, "aggregate waits", "aggregates wait")} in a conflict; see banyan status`,
        ];
      if (reverse === undefined)
        return ["fail", "reverse sync has never run; start banyan rollout run"];
      const { lagSeconds, silentSeconds } = reverse;
      if (silentSeconds > SILENT_SECONDS_MAX)
        return [
          "fail",
          `reverse sync was last seen ${whole(silentSeconds)} s ago; start banyan rollout run`,
        ];
      const says = `${lagSeconds.toFixed(1)} s behind`;
      return lagSeconds <= lagSecondsMax
        ? ["pass", says]
        : ["fail", `${says}, more than ${lagSecondsMax} s`];
    },
  };

/** Errors of all requests, 0 to 1; 0 without requests. */
export function rateOf({ requests, errors }: SideTraffic): number {
  return requests === 0 ? 0 : errors / requests;
}

function within({ slower }: SideTraffic): string {
  const bound = percentileMs(slower, 0.95);
  return bound === undefined || Number.isFinite(bound)
    ? `within ${bound ?? 0} ms`
    : `in more than ${LATENCY_BOUNDS_MS.at(-1)} ms`;
}

/** By how much the 95th percentile of the moved share is higher. */
export function addedMs(moved: SideTraffic, legacy: SideTraffic): number {
  const [ours, theirs] = [percentileMs(moved.slower, 0.95), percentileMs(legacy.slower, 0.95)];
  // Beyond the last bound on both sides nothing tells them apart.
  if (ours === undefined || theirs === undefined || ours === theirs) return 0;
  return ours - theirs;
}

function enough(have: number, wanted: number, what: string, says: string): Judgement {
  if (have >= wanted) return ["pass", says];
  const tail = says === "" ? "" : `; ${says}`;
  return ["inconclusive", `waiting for ${count(wanted - have)} more ${what}${tail}`];
}

function percent(rate: number): string {
  return `${(rate * 100).toFixed(2)}% errors`;
}

function whole(value: number): number {
  return Math.round(value);
}
