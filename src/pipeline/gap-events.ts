import { aggregateMembers } from "./baseline-events.ts";
import type { MergedAggregate } from "./merge-children.ts";
import type { StreamPlan } from "../mapping/stream-plan.ts";
import { writeBaselineId, type IdPrefix } from "../mapping/event-id.ts";
import type { EventBuffer } from "../mapping/event-buffer.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import type { EventContext } from "../model/event.ts";
import type { Position } from "../model/position.ts";

export interface GapFacts {
  readonly prefix: IdPrefix;
  readonly context: EventContext;
  /** History is not known between the two; the rows are as of `to`. */
  readonly from: Position;
  readonly to: Position;
  /** For people. */
  readonly reason: string;
  /** The pipeline's part of event ids. */
  readonly tag: number;
}

/**
 * The event that says: what happened to this aggregate for a while is not known, and these are its rows
 * now. They take the place of all that was told before. Of one that is gone there are none.
 *
 * @param ordinal different for all such events with this `prefix`
 * @returns its index
 */
export function pushGap(
  events: EventBuffer,
  plan: StreamPlan,
  mappers: readonly TableMapper[],
  stream: string,
  aggregate: MergedAggregate | undefined,
  ordinal: number,
  { prefix, context, from, to, reason, tag }: GapFacts,
): number {
  const { root, children = [], continues = false } = aggregate ?? { root: undefined };
  const gap = JSON.stringify({ from, to, reason, isGone: aggregate === undefined });
  const rows = aggregateMembers(mappers, root, children);
  const data = `{"$gap":${gap},${continues ? `"$continues":true,` : ""}${rows}}`;
  const timeUs = Date.now() * 1000;
  const index = events.push(stream, plan.gapType, timeUs, to, data, context);
  writeBaselineId(events.ids, index * 16, prefix, plan.gapSlot, ordinal, tag);
  return index;
}

/**
 * Ordinal of the n-th such event among those of all streams of a type that begin at one place in the log.
 * Counted from the end: those that are asked for one by one are numbered from the beginning, and may be
 * read at the same place.
 */
export function wholeTypeOrdinal(n: number): number {
  return 2 ** 32 - 1 - n;
}
