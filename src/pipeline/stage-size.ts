import type { EventBuffer } from "../mapping/event-buffer.ts";

/** Events per stage, and the length of their data at which a stage is full before that. */
const EVENTS_PER_STAGE = 4_000;
const DATA_LENGTH_PER_STAGE_MAX = 8 * 1024 * 1024;

/** Whether events are enough to be staged together. @param beside images or parked changes that go with them */
export function isStageFull({ length, dataLength }: EventBuffer, beside = 0): boolean {
  return length + beside >= EVENTS_PER_STAGE || dataLength >= DATA_LENGTH_PER_STAGE_MAX;
}
