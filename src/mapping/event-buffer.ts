import type { EventBatch, EventContext } from "../model/event.ts";
import type { Position } from "../model/position.ts";

/** A growing {@link EventBatch}. Versions are filled in last, when the store has said where streams stand. */
export class EventBuffer implements EventBatch {
  length = 0;
  ids: Uint8Array = new Uint8Array(16 * 1024);
  readonly streams: string[] = [];
  readonly versions: number[] = [];
  readonly types: string[] = [];
  readonly timesUs: number[] = [];
  readonly positions: Position[] = [];
  readonly data: string[] = [];
  readonly contexts: EventContext[] = [];
  readonly causationIds = new Map<number, string>();
  /** UTF-16 units of data held; about the bytes on the wire. */
  dataLength = 0;

  /** Adds a row and returns its index; the caller writes 16 bytes of id at `16 * index`. */
  push(
    stream: string,
    type: string,
    timeUs: number,
    position: Position,
    data: string,
    context: EventContext,
  ): number {
    const index = this.length;
    if ((index + 1) * 16 > this.ids.length) {
      const grown = new Uint8Array(this.ids.length * 2);
      grown.set(this.ids);
      this.ids = grown;
    }
    this.streams.push(stream);
    this.versions.push(0);
    this.types.push(type);
    this.timesUs.push(timeUs);
    this.positions.push(position);
    this.data.push(data);
    this.contexts.push(context);
    this.dataLength += data.length;
    this.length = index + 1;
    return index;
  }

  /** Takes back the rows from `length` on: what a change had given before its mapping failed. */
  truncate(length: number): void {
    for (let i = length; i < this.length; i++) {
      this.dataLength -= this.data[i]!.length;
      this.causationIds.delete(i);
    }
    for (const column of [
      this.streams,
      this.versions,
      this.types,
      this.timesUs,
      this.positions,
      this.data,
      this.contexts,
    ]) {
      column.length = length;
    }
    this.length = length;
  }
}

/** Adds an event that was read back from somewhere, its version and id included. */
export function copyEvent(
  buffer: EventBuffer,
  event: {
    readonly stream: string;
    readonly version: number;
    readonly type: string;
    readonly timeUs: number;
    readonly position: Position;
    readonly data: string;
    readonly id: Uint8Array;
    readonly context: EventContext;
    readonly causationId: string | undefined;
  },
): void {
  const { stream, type, timeUs, position, data, context } = event;
  const index = buffer.push(stream, type, timeUs, position, data, context);
  buffer.versions[index] = event.version;
  buffer.ids.set(event.id, index * 16);
  if (event.causationId !== undefined) buffer.causationIds.set(index, event.causationId);
}
