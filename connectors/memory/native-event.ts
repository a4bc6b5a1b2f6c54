import type { NewEvent, RecordedEvent } from "../../src/model/event.ts";

const NO_SOURCE = "urn:banyan";

/** An appended event as it is read back. @param now its recorded time */
export function nativeEvent(
  event: NewEvent,
  stream: string,
  version: number,
  now: string,
): RecordedEvent {
  return {
    id: event.id.toLowerCase(),
    source: NO_SOURCE,
    stream,
    version,
    type: event.type,
    time: event.time === undefined ? now : utcMicros(event.time),
    recordedTime: now,
    origin: event.origin ?? "native",
    schemaVersion: event.schemaVersion ?? 1,
    sourcePosition: undefined,
    sourceTransaction: undefined,
    mappingVersion: undefined,
    correlationId: event.correlationId,
    causationId: event.causationId,
    actor: event.actor,
    // As JSON would give them back.
    metadata: event.metadata === undefined ? undefined : asJson(event.metadata),
    data: asJson(event.data),
  };
}

function asJson(value: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return JSON.parse(JSON.stringify(value)) as Record<string, unknown>;
}

/** Date keeps milliseconds only; the digits behind them are taken from the text. */
function utcMicros(time: string): string {
  const micros = /\.(\d+)/.exec(time)?.[1]?.padEnd(6, "0") ?? "000000";
  return `${new Date(time).toISOString().slice(0, 19)}.${micros}Z`;
}
