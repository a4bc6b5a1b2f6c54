import type { Saboteur, PassingEvent } from "./faulty-events.ts";
import { copyEvent, type EventBuffer } from "../../src/mapping/event-buffer.ts";
import { TableMapper } from "../../src/mapping/table-mapper.ts";
import type { EventBatch } from "../../src/model/event.ts";

/** Spoils what the mappers of this process make of changes, until it is disposed of. */
export function faultyMapper(saboteur: Saboteur): Disposable {
  const { prototype } = TableMapper;
  const right = Object.getOwnPropertyDescriptor(prototype, "map")!;
  const map = right.value as TableMapper["map"];
  prototype.map = function (change, scope, out, absorbed) {
    const from = out.length;
    const telling = map.call(this, change, scope, out, absorbed);
    respoil(out, from, saboteur);
    return telling;
  };
  return {
    [Symbol.dispose]() {
      Object.defineProperty(prototype, "map", right);
    },
  };
}

function respoil(out: EventBuffer, from: number, saboteur: Saboteur): void {
  const events = Array.from({ length: out.length - from }, (_, i) => eventAt(out, from + i));
  out.truncate(from);
  for (const event of events) for (const spoilt of saboteur.spoil(event)) copyEvent(out, spoilt);
}

export function eventAt(batch: EventBatch, i: number): PassingEvent {
  return {
    stream: batch.streams[i]!,
    version: batch.versions[i]!,
    type: batch.types[i]!,
    timeUs: batch.timesUs[i]!,
    position: batch.positions[i]!,
    data: batch.data[i]!,
    id: batch.ids.slice(i * 16, i * 16 + 16),
    context: batch.contexts[i]!,
    causationId: batch.causationIds.get(i),
  };
}
