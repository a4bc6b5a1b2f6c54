import { randomUUID } from "node:crypto";
import { EventBuffer } from "../../src/mapping/event-buffer.ts";
import type { EventBatch, EventContext, NewEvent, RecordedEvent } from "../../src/model/event.ts";
import type { Position } from "../../src/model/position.ts";
import type { EventStore, Progress } from "../../src/store/event-store.ts";

export interface OpenedStore extends AsyncDisposable {
  readonly store: EventStore;
}

export interface CapturedEvent {
  readonly stream: string;
  readonly version: number;
  readonly type?: string;
  readonly id?: string;
  readonly timeUs?: number;
  readonly data?: unknown;
  readonly causationId?: string;
  readonly context?: Partial<EventContext>;
}

export const PLAIN_CONTEXT: EventContext = {
  origin: "capture",
  sourceTransaction: "1001",
  correlationId: undefined,
  causationId: undefined,
  actor: undefined,
  metadata: undefined,
  mappingVersion: 1,
};

/** Events as the mapping would hand them over; what is not said is plain. */
export function batchOf(events: readonly CapturedEvent[]): EventBatch {
  const batch = new EventBuffer();
  events.forEach((event, i) => {
    const { stream, version, type = "OrderAmended", id = randomUUID(), data = {} } = event;
    const context =
      event.context === undefined ? PLAIN_CONTEXT : { ...PLAIN_CONTEXT, ...event.context };
    const timeUs = event.timeUs ?? 1_700_000_000_000_000 + i;
    batch.push(stream, type, timeUs, position(i + 1), JSON.stringify(data), context);
    batch.versions[i] = version;
    batch.ids.set(Buffer.from(id.replaceAll("-", ""), "hex"), i * 16);
    if (event.causationId !== undefined) batch.causationIds.set(i, event.causationId);
  });
  return batch;
}

/** The n-th place of a made-up log; also good as a checkpoint. */
export function position(n: number): Position {
  return `${n.toString(16).toUpperCase().padStart(16, "0")}/00000000` as Position;
}

export function event(
  type = "Happened",
  data: Readonly<Record<string, unknown>> = { type },
): NewEvent {
  return { id: randomUUID(), type, data };
}

export async function streamOf(
  store: EventStore,
  stream: string,
  range?: { readonly fromVersion?: number; readonly toVersion?: number },
): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for await (const one of store.readStream(stream, range)) events.push(one);
  return events;
}

/** Progress of a pipeline that follows the log; nothing counted. */
export function tailing(checkpoint: number | undefined, more: Partial<Progress> = {}): Progress {
  return {
    phase: "tail",
    checkpoint: checkpoint === undefined ? undefined : position(checkpoint),
    ledger: {},
    status: {},
    ...more,
  };
}
