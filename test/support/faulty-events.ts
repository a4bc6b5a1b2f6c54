import type { copyEvent } from "../../src/mapping/event-buffer.ts";

/** An event on its way to the store. */
export type PassingEvent = Parameters<typeof copyEvent>[1];

/** What a faulty mapper or store may do to one event. */
export type Fault =
  /** It is lost. */
  | { readonly kind: "drop" }
  /** It is there twice, one behind the other. */
  | { readonly kind: "double"; readonly sameId?: boolean }
  /** It changes places with the next one of its stream. */
  | { readonly kind: "swap" }
  /** A text loses its end. */
  | { readonly kind: "truncate"; readonly column: string }
  /** A number loses its fraction. */
  | { readonly kind: "round"; readonly column: string }
  | { readonly kind: "null"; readonly column: string }
  /** A column is left out, which is not to say that it is NULL. */
  | { readonly kind: "omit"; readonly column: string }
  /** A time in its data, or its own where no column is named, is an hour early. */
  | { readonly kind: "retime"; readonly column?: string }
  /** It goes to another stream. */
  | { readonly kind: "miskey"; readonly to: string }
  /** The old value is written again. */
  | { readonly kind: "stale"; readonly column: string };

const HOUR_US = 3_600_000_000;

/** Spoils the first event of each named stream, and lets all others pass. */
export class Saboteur {
  readonly #faults = new Map<string, Fault>();
  /** Events that wait for the one behind them. */
  readonly #held = new Map<string, PassingEvent>();

  /** The next event of `stream` will be spoilt. */
  plan(stream: string, fault: Fault): void {
    this.#faults.set(stream, fault);
  }

  /** How many faults have not been done yet. */
  get pending(): number {
    return this.#faults.size + this.#held.size;
  }

  /** What becomes of an event. */
  spoil(event: PassingEvent): readonly PassingEvent[] {
    const { stream } = event;
    const held = this.#held.get(stream);
    if (held !== undefined) {
      this.#held.delete(stream);
      return [
        { ...event, version: held.version },
        { ...held, version: event.version },
      ];
    }
    const fault = this.#faults.get(stream);
    if (fault === undefined) return [event];
    this.#faults.delete(stream);
    if (fault.kind === "swap") {
      this.#held.set(stream, event);
      return [];
    }
    return spoilt(event, fault);
  }
}

function spoilt(event: PassingEvent, fault: Exclude<Fault, { kind: "swap" }>): PassingEvent[] {
  switch (fault.kind) {
    case "drop":
      return [];
    case "double": {
      const id = fault.sameId === true ? event.id : otherId(event.id);
      return [event, { ...event, id, version: event.version + 1 }];
    }
    case "truncate":
      return [withColumn(event, fault.column, (now) => String(now).slice(0, -1))];
    case "round":
      return [withColumn(event, fault.column, (now) => String(now).replace(/\..*/, ""))];
    case "null":
      return [withColumn(event, fault.column, () => null)];
    case "omit":
      return [withColumn(event, fault.column, () => undefined)];
    case "retime":
      if (fault.column === undefined) return [{ ...event, timeUs: event.timeUs - HOUR_US }];
      return [withColumn(event, fault.column, (now) => String(now).replace("12:00", "11:00"))];
    case "miskey":
      return [{ ...event, stream: fault.to }];
    case "stale":
      return [withColumn(event, fault.column, (_now, was) => was)];
  }
}

function withColumn(
  event: PassingEvent,
  column: string,
  change: (now: unknown, was: unknown) => unknown,
): PassingEvent {
  const data = JSON.parse(event.data) as Record<string, unknown>;
  const was = data["$was"] as Record<string, unknown> | undefined;
  const changed = change(data[column], was?.[column]);
  if (changed === data[column])
    throw new Error(`the fault does nothing to ${column}: ${event.data}`);
  return { ...event, data: JSON.stringify({ ...data, [column]: changed }) };
}

function otherId(id: Uint8Array): Uint8Array {
  const other = Uint8Array.from(id);
  // Of the tag, which is here in the ids of baseline events and there in those of captured ones.
  other[11]! ^= 0xff;
  other[15]! ^= 0xff;
  return other;
}
