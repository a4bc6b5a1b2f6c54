import { aggregateIdOf, type RequestParts } from "./aggregate-id.ts";
import { UNCLEAR } from "./named-id.ts";
import type { RouteMatch } from "./route-table.ts";
import { bucketOf } from "../rollout/bucket.ts";
import type { RolloutWatch } from "../rollout/rollout-watch.ts";
import { sideOf } from "../rollout/side.ts";
import type { Side } from "../rollout/stage.ts";

export interface Decision {
  readonly side: Side;
  /** Absent for a request that matched no route. */
  readonly route?: RouteMatch;
  /** Of the rollout that it was decided by. */
  readonly epoch?: number;
  readonly bucket?: number | undefined;
}

export type Undecided = "authority-unknown" | "no-aggregate-id" | "ambiguous-path";

const UNMATCHED: Decision = { side: "legacy" };

/**
 * Which side gets a request. Decided once, from what is known now; the answer does not change under a
 * request that is already on its way.
 *
 * @param matches ways to understand the request; all must lead to one side
 */
export function decide(
  matches: readonly (RouteMatch | undefined)[],
  parts: RequestParts,
  watch: RolloutWatch,
): Decision | Undecided {
  let decision: Decision | undefined;
  for (const match of matches) {
    const one = match === undefined ? UNMATCHED : decideOne(match, parts, watch);
    if (typeof one === "string") return one;
    if (decision !== undefined && decision.side !== one.side) return "ambiguous-path";
    decision ??= one;
  }
  return decision ?? UNMATCHED;
}

function decideOne(
  match: RouteMatch,
  parts: RequestParts,
  watch: RolloutWatch,
): Decision | Undecided {
  const { stream, kind } = match.route;
  const rollout = watch.of(stream);
  if (rollout === undefined) return "authority-unknown";
  const { stage, share, salt, epoch } = rollout;
  const id = stage === "canary" ? aggregateIdOf(match, parts) : undefined;
  // What one reader takes for a moved aggregate another may not: neither side is surely the one.
  if (id === UNCLEAR && kind !== "read") return "no-aggregate-id";
  const bucket = typeof id === "string" ? bucketOf(id, salt) : undefined;
  const side = sideOf(stage, share, bucket, kind);
  if (side === "undecided") return "no-aggregate-id";
  return { side, route: match, epoch, bucket };
}

/** Whether the body must be read before a request can be decided. */
export function needsBody(
  matches: readonly (RouteMatch | undefined)[],
  watch: RolloutWatch,
): boolean {
  return matches.some(
    (match) =>
      match?.route.id !== undefined &&
      "json" in match.route.id &&
      watch.of(match.route.stream)?.stage === "canary",
  );
}
