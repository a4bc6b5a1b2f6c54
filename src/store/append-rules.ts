import type { AppendResult, ExpectedVersion } from "./event-store.ts";
import { BanyanError, invariant } from "../model/errors.ts";
import type { NewEvent } from "../model/event.ts";
import { isStorableJson, isStorableText } from "../model/storable-text.ts";

/** What every store demands of an append, whatever it keeps events in. */

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const ISO_TIME =
  /^(\d{4})-(\d{2})-(\d{2})T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?(?:Z|[+-](\d{2}):\d{2})$/;
/** Postgres knows zones up to 15:59 from UTC. */
const ZONE_HOURS_MAX = 15;

const VERSION_MAX = 2 ** 31 - 1;

/** Lowest and highest version at which a stream is as expected; 0 is a stream that does not exist. */
export function expectedRange(expected: ExpectedVersion): readonly [number, number] {
  switch (expected) {
    case "any":
      return [0, VERSION_MAX];
    case "none":
      return [0, 0];
    case "exists":
      return [1, VERSION_MAX];
    default:
      invariant(
        Number.isInteger(expected) && expected >= 0 && expected <= VERSION_MAX,
        `${expected} is no version of a stream`,
      );
      return [expected, expected];
  }
}

export function versionConflict(
  stream: string,
  current: number,
  expected: ExpectedVersion,
): BanyanError {
  return new BanyanError(
    "STREAM_VERSION_CONFLICT",
    `${stream} is at version ${current}, expected ${expected}`,
    { detail: { stream, current }, hint: "Read the stream again and decide anew." },
  );
}

/** @param what the aggregate, or what was to be made */
export function authorityElsewhere(what: string): BanyanError {
  return new BanyanError("AUTHORITY_ELSEWHERE", `the legacy application decides over ${what} now`, {
    detail: { what },
    hint: "Answer 503 with Retry-After: the proxy sends the next request where it belongs.",
  });
}

/**
 * @throws BanyanError `INVARIANT_BROKEN` when the call itself is wrong, `VALUE_UNMAPPABLE` when a
 *   value cannot be kept as text
 */
export function assertAppendable(stream: string, events: readonly NewEvent[]): void {
  invariant(stream !== "", "a stream has a name");
  invariant(events.length > 0, "an append holds at least one event");
  const ids = new Set<string>();
  for (const event of events) {
    invariant(UUID.test(event.id), `the event id ${event.id} is no UUID`);
    invariant(event.type !== "", `event ${event.id} has no type`);
    invariant(
      event.time === undefined || isInstant(event.time),
      `the time of event ${event.id} is not ISO 8601 with a zone: ${event.time}`,
    );
    ids.add(event.id.toLowerCase());
    const texts = [stream, event.type, event.correlationId, event.causationId, event.actor];
    const unstorable =
      texts.some((text) => text !== undefined && !isStorableText(text)) ||
      [event.data, event.metadata].some(
        (value) => value !== undefined && !isStorableJson(asJson(value, event.id)),
      );
    if (!unstorable) continue;
    throw new BanyanError(
      "VALUE_UNMAPPABLE",
      `event ${event.id} of ${stream} holds the character U+0000 or half a surrogate pair, which text cannot keep`,
      { hint: "Keep binary values as base64." },
    );
  }
  invariant(ids.size === events.length, `two events of one append to ${stream} have the same id`);
}

/** Date.parse takes the 30th of February for the 2nd of March, and knows a year 0; no database does. */
function isInstant(text: string): boolean {
  const match = ISO_TIME.exec(text);
  if (match === null || Number.isNaN(Date.parse(text))) return false;
  const [year, month, day, zoneHours] = match.slice(1).map((digits) => Number(digits ?? 0));
  const daysInMonth = new Date(Date.UTC(year!, month!, 0)).getUTCDate();
  return year! > 0 && day! <= daysInMonth && zoneHours! <= ZONE_HOURS_MAX;
}

function asJson(value: object, id: string): string {
  try {
    return JSON.stringify(value);
  } catch (cause) {
    throw new BanyanError("VALUE_UNMAPPABLE", `event ${id} holds what JSON cannot say`, {
      cause,
      hint: "Write a bigint as text, and let nothing refer to itself.",
    });
  }
}

export interface KnownEvent {
  readonly id: string;
  readonly stream: string;
  readonly version: number;
}

/**
 * The result of the append that stored these events before.
 *
 * @param known those of the events' ids that are in the store
 * @throws BanyanError `INVARIANT_BROKEN` when they were not stored by this very append: an id belongs
 *   to one decision, so deciding anew takes new ids
 */
export function firstResult(
  stream: string,
  events: readonly NewEvent[],
  known: readonly KnownEvent[],
): AppendResult {
  const byVersion = known.toSorted((a, b) => a.version - b.version);
  const first = byVersion[0]!.version;
  const same =
    byVersion.length === events.length &&
    byVersion.every(
      ({ id, stream: at, version }, i) =>
        at === stream && id === events[i]!.id.toLowerCase() && version === first + i,
    );
  if (!same) {
    throw new BanyanError(
      "INVARIANT_BROKEN",
      `${known.length} of ${events.length} events for ${stream} are stored already, but not by this append`,
      {
        detail: { stream, known: known.length },
        hint: "Give the events of every new decision new ids.",
      },
    );
  }
  return { firstVersion: first, lastVersion: first + events.length - 1 };
}

/** What JSON has in a column, as a text without quotes; undefined for NULL and for no row. */
export function textOf(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined;
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Type and key of a stream, as its id has them. */
export function streamParts(id: string): readonly [streamType: string, key: string] {
  const dash = id.indexOf("-");
  return [id.slice(0, dash), id.slice(dash + 1)];
}
