import { completeEvent, type CompletedEvent } from "./complete-event.ts";
import type { Draft } from "./event-types.ts";
import { eventRefused } from "./given-row.ts";
import { eventsOfChange } from "./state-change.ts";
import type { StreamMapping } from "./stream-mapping.ts";
import type { StreamState } from "../projection/fold.ts";

const EVENTS_MAX = 1_000;

/**
 * Completes what was decided, one after the other, and folds it into the state.
 *
 * @param state before the first; changed in place
 * @throws BanyanError `EVENT_REFUSED`
 */
export function completeDrafts(
  mapping: StreamMapping,
  stream: string,
  version: number,
  state: StreamState,
  drafts: readonly Draft[],
): readonly CompletedEvent[] {
  const completed: CompletedEvent[] = [];
  for (const draft of drafts) {
    const events =
      "type" in draft
        ? [completeEvent(mapping, stream, state, draft)]
        : eventsOfChange(mapping, stream, state, draft.next);
    for (const event of events) {
      const place = { stream, version: version + completed.length + 1 };
      mapping.folder.apply(state, { ...event, ...place, mappingVersion: mapping.version });
      completed.push(event);
    }
    if (completed.length > EVENTS_MAX)
      throw eventRefused(`one decision on ${stream} led to more than ${EVENTS_MAX} events`);
  }
  return completed;
}
