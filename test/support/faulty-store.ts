import { setTimeout as sleep } from "node:timers/promises";
import type { PassingEvent, Saboteur } from "./faulty-events.ts";
import { eventAt } from "./faulty-mapper.ts";
import { copyEvent, EventBuffer } from "../../src/mapping/event-buffer.ts";
import type { EventBatch } from "../../src/model/event.ts";
import type { CaptureWriter, EventStore } from "../../src/store/event-store.ts";

const LOOK_MS = 20;

/** A real store that spoils what is staged, and is slow to commit. */
export interface FaultyStore {
  readonly store: EventStore;
  /** How long each commit takes from now on; those under way look at it, too. */
  lagMs: number;
}

/** @param saboteur nothing is spoilt when absent */
export function faultyStore(inner: EventStore, saboteur?: Saboteur): FaultyStore {
  const faulty = {
    lagMs: 0,
    store: overridden(inner, {
      openCapture: async (pipeline, source) => {
        const writer = await inner.openCapture(pipeline, source);
        return overridden(writer, {
          stage: async (batch) => {
            if (saboteur === undefined) return await writer.stage(batch);
            await writer.stage({
              ...batch,
              events: await spoilBatch(writer, batch.events, saboteur),
            });
          },
          commit: async (progress) => {
            for (let waitedMs = 0; waitedMs < faulty.lagMs; waitedMs += LOOK_MS)
              await sleep(LOOK_MS);
            return await writer.commit(progress);
          },
        });
      },
    }),
  };
  return faulty;
}

async function spoilBatch(
  writer: CaptureWriter,
  events: EventBatch,
  saboteur: Saboteur,
): Promise<EventBatch> {
  const spoilt: PassingEvent[] = [];
  for (let i = 0; i < events.length; i++) {
    const event = eventAt(events, i);
    for (const one of saboteur.spoil(event)) {
      if (one.stream === event.stream) spoilt.push(one);
      else {
        const [version] = await writer.versions([one.stream]);
        spoilt.push({ ...one, version: version! + 1 });
      }
    }
  }
  const out = new EventBuffer();
  for (const one of spoilt) copyEvent(out, one);
  return out;
}

/** The same object with some of its methods replaced. */
function overridden<T extends object>(inner: T, methods: Partial<T>): T {
  return new Proxy(inner, {
    get(target, name) {
      const given = Reflect.get(methods, name) as unknown;
      const member = given ?? (Reflect.get(target, name, target) as unknown);
      return typeof member === "function" ? (member.bind(target) as unknown) : member;
    },
  });
}
