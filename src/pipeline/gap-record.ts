import type { Position } from "../model/position.ts";
import type { ChunkKey, OrderColumn } from "../source/change-source.ts";
import { compareKeyTexts } from "../source/key-order.ts";
import type { BaselineRecord, GapRecord } from "../store/event-store.ts";

/**
 * What is noted of a stream type that is read anew because the place in the log was lost at `from`. Where
 * it was lost while the type was being read anew already, the streams that were not reached then have
 * been without history for longer.
 *
 * @param before what is noted of the type so far
 */
export function newGap(
  reason: string,
  from: Position,
  before: BaselineRecord | undefined,
  order: readonly OrderColumn["as"][],
): GapRecord {
  return { reason, since: sinceOf(from, before, order), gone: 0, moved: 0 };
}

function sinceOf(
  from: Position,
  before: BaselineRecord | undefined,
  order: readonly OrderColumn["as"][],
): GapRecord["since"] {
  if (before?.gap === undefined || before.done) return [{ from }];
  const { since } = before.gap;
  const reached = before.chunks.at(-1)?.end ?? before.told;
  if (reached === undefined) return since;
  const isBehind = ({ after }: { readonly after?: ChunkKey }): boolean =>
    after !== undefined && compareKeyTexts(after, reached, order) > 0;
  return [
    { from },
    { after: reached, from: gapFrom(since, reached, order, "behind") },
    ...since.filter(isBehind),
  ];
}

/**
 * From where on history is not known of the stream of a key.
 *
 * @param place "behind": of the streams just behind that key
 */
export function gapFrom(
  since: GapRecord["since"],
  key: readonly (string | null)[],
  order: readonly OrderColumn["as"][],
  place: "at" | "behind" = "at",
): Position {
  let { from } = since[0]!;
  for (const one of since) {
    if (one.after === undefined) continue;
    const result = compareKeyTexts(key, one.after, order);
    if (result > 0 || (result === 0 && place === "behind")) ({ from } = one);
  }
  return from;
}

/** The earliest of them. */
export function gapBegin({ since }: GapRecord): Position {
  return since.map(({ from }) => from).toSorted()[0]!;
}
