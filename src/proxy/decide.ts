import { aggregateIdOf, type RequestParts } from "./aggregate-id.ts";
import { UNCLEAR, type NamedId } from "./named-id.ts";
import type { RouteMatch } from "./route-table.ts";
import { BUCKETS, bucketOf } from "../rollout/bucket.ts";
import type { RolloutWatch } from "../rollout/rollout-watch.ts";
import { sideOf, type RequestKind } from "../rollout/side.ts";
import type { Hold, Side, Stage } from "../rollout/stage.ts";

export interface Decision {
  readonly side: Side;
  /** Absent for a request that matched no route. */
  readonly route?: RouteMatch;
  /** Of the rollout that it was decided by. */
  readonly epoch?: number;
  readonly bucket?: number | undefined;
}

export type Undecided = "authority-unknown" | "no-aggregate-id" | "ambiguous-path";

/** It has to wait, because a move of this stream type is under way; then it is decided anew. */
export interface HeldBack {
  readonly heldBy: string;
}

const UNMATCHED: Decision = { side: "legacy" };

/**
 * Which side gets a request. Decided once, from what is known now; the answer does not change under a
 * request that is already on its way.
 *
 * @param matches ways to understand the request; all must lead to one side
 * @param random 0 to below 1: draws the side of creations that have no id yet
 */
export function decide(
  matches: readonly (RouteMatch | undefined)[],
  parts: RequestParts,
  watch: RolloutWatch,
  random: () => number = Math.random,
): Decision | Undecided | HeldBack {
  let decision: Decision | undefined;
  let heldBack: HeldBack | undefined;
  let drawn: number | undefined;
  const draw = (): number => (drawn ??= Math.floor(random() * BUCKETS));
  for (const match of matches) {
    const one = match === undefined ? UNMATCHED : decideOne(match, parts, watch, draw);
    if (typeof one === "string") return one;
    if ("heldBy" in one) {
      heldBack ??= one;
      continue;
    }
    if (decision !== undefined && decision.side !== one.side) return "ambiguous-path";
    decision ??= one;
  }
  return heldBack ?? decision ?? UNMATCHED;
}

function decideOne(
  match: RouteMatch,
  parts: RequestParts,
  watch: RolloutWatch,
  draw: () => number,
): Decision | Undecided | HeldBack {
  const { stream, kind } = match.route;
  const rollout = watch.of(stream);
  if (rollout === undefined) return "authority-unknown";
  const { stage, share, salt, epoch, hold } = rollout;
  const id = stage === "canary" || hold !== undefined ? aggregateIdOf(match, parts) : undefined;
  // What one reader takes for a moved aggregate another may not: neither side is surely the one.
  if (stage === "canary" && id === UNCLEAR && kind !== "read") return "no-aggregate-id";
  const bucket = typeof id === "string" ? bucketOf(id, salt) : undefined;
  // Authority may be about to shrink, and legacy may always make what is new.
  const isByChance = kind === "create" && bucket === undefined && hold === undefined;
  const side = sideOf(stage, share, bucket, kind, isByChance ? draw() : undefined);
  if (side === "undecided") return "no-aggregate-id";
  const decision = { side, route: match, epoch, bucket };
  if (hold === undefined) return decision;
  if (kind !== "read")
    return mustWait(hold, stage, kind, id, bucket) ? { heldBy: stream } : decision;
  return { ...decision, side: readerIn(hold, bucket) ?? side };
}

/** Who answers a read while writes are held back; undefined: nothing but the stage decides it. */
function readerIn(hold: Hold, bucket: number | undefined): Side | undefined {
  // A list is answered by new where every bucket is: such a move ends or begins at the last of them.
  const isHeld = bucket === undefined ? hold.to === BUCKETS : isIn(hold, bucket);
  return isHeld ? hold.reads : undefined;
}

/** Whether a write or a creation is one of those that are held back. */
function mustWait(
  hold: Hold,
  stage: Stage,
  kind: RequestKind,
  id: NamedId,
  bucket: number | undefined,
): boolean {
  if (bucket !== undefined) return isIn(hold, bucket);
  if (kind === "write" || id === UNCLEAR) return true;
  // One without an id that new would get may come too late there. At canary legacy gets it.
  return stage === "new" || stage === "complete";
}

function isIn({ from, to }: Hold, bucket: number): boolean {
  return bucket >= from && bucket < to;
}

/** Whether the body must be read before a request can be decided. */
export function needsBody(
  matches: readonly (RouteMatch | undefined)[],
  watch: RolloutWatch,
): boolean {
  return matches.some((match) => {
    if (match?.route.id === undefined || !("json" in match.route.id)) return false;
    const rollout = watch.of(match.route.stream);
    if (rollout?.stage === "canary") return true;
    // Where every bucket is held, what is in the body makes no difference.
    const { hold } = rollout ?? {};
    return hold !== undefined && !(hold.from === 0 && hold.to === BUCKETS);
  });
}
