import {
  cutShort,
  emptyStage,
  keepImages,
  type BaselineFacts,
  type Stage,
} from "./baseline-events.ts";
import { pushGap, wholeTypeOrdinal } from "./gap-events.ts";
import { gapFrom } from "./gap-record.ts";
import { streamOfAggregate } from "./merge-children.ts";
import { isStageFull } from "./stage-size.ts";
import type { StreamPlan } from "../mapping/stream-plan.ts";
import { keyOfStream } from "../mapping/stream-id.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import type { ChunkKey, OrderColumn, RowSnapshot } from "../source/change-source.ts";
import type { GapRecord, ListedStream } from "../store/event-store.ts";

export interface GapStagesFacts extends BaselineFacts {
  readonly gap: GapRecord;
  /** Of the root's key columns. */
  readonly order: readonly OrderColumn["as"][];
  /**
   * What the store has of the aggregates that are read, also of those that are gone. @param end the last
   * key of the chunk where it is cut; undefined for where it was to end
   */
  readonly stored: (end: ChunkKey | undefined) => readonly ListedStream[];
  /** Whether the new service decides over a stream. */
  readonly isMoved: (stream: string) => boolean;
  /**
   * Which of these streams somebody has begun by now: the service may have, since it was looked what the
   * store has.
   */
  readonly begunSince: (streams: readonly string[]) => Promise<ReadonlySet<string>>;
}

/**
 * Aggregates of one stream type that the store knows already, read anew: an event each that says from
 * where on its history is not known, and holds its rows. Those of the store that were not read are gone.
 * Those over which the new service decides are left as their events have them.
 *
 * The events have no versions yet.
 *
 * @param mappers of the root, then of the children
 */
export async function* gapStages(
  rowsOf: Pick<RowSnapshot, "readRows">,
  stream: StreamPlan,
  mappers: readonly TableMapper[],
  facts: GapStagesFacts,
  signal: AbortSignal,
): AsyncGenerator<Stage, void, void> {
  const { gap, order, stored, isMoved, begunSince, position: to } = facts;
  const known = new Set(stored(undefined).map((one) => one.stream));
  const met = new Set<string>();
  let { ordinal } = facts;
  let stage = emptyStage();
  const push = (id: string, aggregate: Parameters<typeof pushGap>[4]): void => {
    const from = gapFrom(gap.since, keyOfStream(id), order);
    const { reason } = gap;
    const own = { ...facts, from, to, reason };
    pushGap(stage.events, stream, mappers, id, aggregate, wholeTypeOrdinal(ordinal), own);
    ordinal += 1;
  };
  for await (const group of cutShort(rowsOf, mappers, facts.cut, signal)) {
    // Behind the snapshot: what it shows was written back by then, or made by legacy.
    const unknown = group
      .map((aggregate) => streamOfAggregate(mappers, aggregate))
      .filter((id) => isMoved(id) && !known.has(id));
    if (unknown.length > 0) for (const id of await begunSince(unknown)) known.add(id);
    for (const aggregate of group) {
      if (isStageFull(stage.events, stage.images.length)) {
        yield stage;
        stage = emptyStage();
      }
      const id = streamOfAggregate(mappers, aggregate);
      met.add(id);
      const count = aggregate.continues ? 0 : 1;
      // One that the store does not know yet is legacy's to have made.
      if (known.has(id) && isMoved(id)) stage.moved += count;
      else {
        stage.aggregates += count;
        push(id, aggregate);
      }
      stage.rows += keepImages(stage.images, mappers, aggregate);
    }
  }
  // What a service alone has written is not ours to end.
  for (const { stream: id, isCaptured } of stored(facts.cut?.key)) {
    if (!isCaptured || met.has(id) || isMoved(id)) continue;
    if (isStageFull(stage.events, stage.images.length)) {
      yield stage;
      stage = emptyStage();
    }
    stage.gone += 1;
    push(id, undefined);
  }
  if (stage.rows + stage.events.length > 0) yield stage;
}
