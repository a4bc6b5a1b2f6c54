import { BUCKETS } from "./bucket.ts";
import type { Stage } from "./stage.ts";

export type MoveKind = "promote" | "rollback" | "complete";

/** Where a stream type stands, or is to stand. */
export interface Standing {
  readonly stage: Stage;
  /** See Rollout.share. */
  readonly share: number;
}

/** What was done last of a move that is under way. */
export const MOVE_STEPS = [
  "begun",
  /** Proxies hold back the writes of the moving buckets, */
  "held",
  /** and no write that they let through before is under way any more. */
  "acknowledged",
  /** A mark stands in the legacy log behind all of those, */
  "fenced",
  /** which the capture has passed. */
  "applied",
  /** Rows and folds of the moving aggregates are equal. */
  "equal",
  /** What the new service has decided is in the legacy rows. */
  "drained",
  /** The authority has changed, and writes are held back still. */
  "switched",
  /** Likewise what it decided up to the switch. */
  "settled",
  /** Reads are answered by legacy again, */
  "turned",
  /** and every proxy knows which side answers now. */
  "known",
] as const;

export type MoveStep = (typeof MOVE_STEPS)[number];

/** Beside the steps: what is being taken back, and the two ends. */
export type MoveState = MoveStep | "undoing" | "returning" | "done" | "undone";

/** What is to be done next in a state. */
export type MoveAction =
  | "hold"
  | "await-proxies"
  | "fence"
  | "await-capture"
  | "compare"
  | "drain"
  | "switch"
  | "settle"
  | "turn"
  | "spread"
  | "release"
  | "undo"
  | "switch-back";

/**
 * What the action came to. `over`: the hold had ended before, so that writes may have gone on. `resumed`:
 * another process takes the move up where the one before it fell silent.
 */
export const MOVE_EVENTS = ["done", "failed", "over", "resumed"] as const;

export type MoveEvent = (typeof MOVE_EVENTS)[number];

/** `plain`: no aggregate gets another authority. `abandon`: a rollback that gives up what legacy lacks. */
export const WAYS = ["plain", "advance", "retreat", "abandon", "complete"] as const;

export type Way = (typeof WAYS)[number];

type Row = readonly [
  action: MoveAction,
  done: MoveState,
  failed: MoveState,
  over: MoveState,
  resumed: MoveState,
];

/** There is nothing to release when the hold is over, so then it is undone already. */
const UNDOING: Row = ["undo", "undone", "undoing", "undone", "undoing"];

/**
 * Every way, state by state. A promotion that was interrupted is undone: its hold has all but run out. A
 * rollback that was interrupted before its switch begins with a new hold, because somebody needs it. Behind
 * the switch both go on: writes are held back until every proxy sends reads to the side that will take them,
 * so that no read behind an answered write is older than it. That not all do is no reason to go back.
 *
 * A hold of a rollback that is over at `switched` has been ended by going back; see banyan.end_hold.
 */
const TABLE: Readonly<Record<Way, Readonly<Partial<Record<MoveState, Row>>>>> = {
  plain: {
    begun: ["switch", "done", "undoing", "undoing", "begun"],
    undoing: UNDOING,
  },
  advance: {
    begun: ["hold", "held", "undoing", "undoing", "undoing"],
    held: ["await-proxies", "acknowledged", "undoing", "undoing", "undoing"],
    acknowledged: ["fence", "fenced", "undoing", "undoing", "undoing"],
    fenced: ["await-capture", "applied", "undoing", "undoing", "undoing"],
    applied: ["compare", "equal", "undoing", "undoing", "undoing"],
    equal: ["switch", "switched", "undoing", "undoing", "undoing"],
    switched: ["spread", "known", "known", "done", "switched"],
    known: ["release", "done", "known", "done", "known"],
    undoing: UNDOING,
  },
  retreat: {
    begun: ["hold", "held", "undoing", "undoing", "begun"],
    held: ["await-proxies", "acknowledged", "undoing", "undoing", "begun"],
    acknowledged: ["drain", "drained", "undoing", "undoing", "begun"],
    drained: ["switch", "switched", "undoing", "undoing", "begun"],
    switched: ["settle", "settled", "returning", "done", "switched"],
    settled: ["turn", "turned", "known", "done", "settled"],
    turned: ["spread", "known", "known", "done", "turned"],
    known: ["release", "done", "known", "done", "known"],
    returning: ["switch-back", "undone", "returning", "done", "returning"],
    undoing: UNDOING,
  },
  abandon: {
    begun: ["hold", "held", "undoing", "undoing", "begun"],
    held: ["await-proxies", "acknowledged", "undoing", "undoing", "begun"],
    acknowledged: ["switch", "done", "undoing", "undoing", "begun"],
    undoing: UNDOING,
  },
  complete: {
    begun: ["drain", "drained", "undoing", "undoing", "begun"],
    drained: ["switch", "done", "undoing", "undoing", "begun"],
    undoing: UNDOING,
  },
};

/** The states that a way knows, its two ends left out. */
export function statesOf(way: Way): readonly MoveState[] {
  return Object.keys(TABLE[way]) as MoveState[];
}

/** Undefined at an end, and for a state that the way does not know. */
export function actionIn(way: Way, state: MoveState): MoveAction | undefined {
  return TABLE[way][state]?.[0];
}

/** The state after an event. What is at an end stays there; a state that the way does not know is undone. */
export function after(way: Way, state: MoveState, event: MoveEvent): MoveState {
  if (state === "done" || state === "undone") return state;
  const row = TABLE[way][state];
  if (row === undefined) return "undoing";
  return row[1 + MOVE_EVENTS.indexOf(event)] as MoveState;
}

/** How many buckets new has authority over. */
export function movedBuckets({ stage, share }: Standing): number {
  switch (stage) {
    case "legacy":
    case "shadow":
      return 0;
    case "canary":
      return share;
    case "new":
    case "complete":
      return BUCKETS;
  }
}

/** Buckets from the first to before the last. */
export interface BucketRange {
  readonly from: number;
  readonly to: number;
}

/** The buckets that get another authority; undefined when none does. */
export function movingBuckets(from: Standing, to: Standing): BucketRange | undefined {
  const [before, behind] = [movedBuckets(from), movedBuckets(to)];
  if (before === behind) return undefined;
  return { from: Math.min(before, behind), to: Math.max(before, behind) };
}

/** Named in `forced` of a rollback, it gives up what reverse sync has not written. */
export const REVERSE_GATE = "reverse";

export function wayOf(move: {
  readonly kind: MoveKind;
  readonly from: Standing;
  readonly to: Standing;
  readonly forced: readonly string[];
}): Way {
  if (move.kind === "complete") return "complete";
  if (movingBuckets(move.from, move.to) === undefined) return "plain";
  if (move.kind === "promote") return "advance";
  return move.forced.includes(REVERSE_GATE) ? "abandon" : "retreat";
}
