import type { PlayedTransaction } from "./history.ts";
import { ChangeMapper, streamsOf, type MappedChanges } from "../mapping/change-mapper.ts";
import type { Mapping } from "../mapping/compile.ts";
import { EventBuffer } from "../mapping/event-buffer.ts";
import { formatUuid } from "../mapping/event-id.ts";
import type { RowChange, SourceTransaction } from "../model/change.ts";
import type { Position } from "../model/position.ts";

/** An event as the mapping made it. */
export interface MadeEvent {
  readonly id: string;
  readonly stream: string;
  readonly type: string;
  readonly timeUs: number;
  readonly position: Position;
  /** JSON object text. */
  readonly data: string;
  readonly causationId: string | undefined;
}

const TAG = 1;
const FIRST_COMMIT_US = 1_767_225_600_000_000;

export function newMapper(mapping: Mapping): ChangeMapper {
  return new ChangeMapper(mapping, TAG);
}

/** The transaction of a history by its number, from 0. */
export function transactionOf(number: number): SourceTransaction {
  const digits = (value: number): string =>
    (value * 256).toString(16).toUpperCase().padStart(16, "0");
  return {
    id: String(1000 + number),
    commit: digits(number * 2 + 1),
    end: `${digits(number * 2 + 2)}/00000000` as Position,
    committedAtUs: FIRST_COMMIT_US + number * 1_000_000,
  };
}

export function emptyOutput(): MappedChanges {
  return {
    events: new EventBuffer(),
    parked: [],
    counts: { changesIn: 0, claimed: 0, fallback: 0, unchanged: 0, parked: 0, echoed: 0 },
  };
}

/** Maps whole transactions by one mapper into one output, as one large batch. */
export function mapTogether(mapping: Mapping, played: readonly PlayedTransaction[]): MadeEvent[] {
  const mapper = newMapper(mapping);
  const out = emptyOutput();
  played.forEach(({ changes }, number) =>
    mapper.map(transactionOf(number), changes, undefined, out),
  );
  return madeEvents(out.events, 0);
}

/** Maps only what concerns one stream, as if nothing else had happened in the database. */
export function mapAlone(
  mapping: Mapping,
  played: readonly PlayedTransaction[],
  stream: string,
): MadeEvent[] {
  const mapper = newMapper(mapping);
  const out = emptyOutput();
  played.forEach(({ changes }, number) => {
    const own = changes.flatMap((change) => sideOf(mapping, change, stream));
    if (own.length > 0) mapper.map(transactionOf(number), own, undefined, out);
  });
  return madeEvents(out.events, 0);
}

/** The part of a change that concerns a stream: of a move between two streams its side. */
function sideOf(mapping: Mapping, change: RowChange, stream: string): readonly RowChange[] {
  const streams = streamsOf(change, mapping.mapperOf(change.table)!);
  if (!streams.includes(stream)) return [];
  if (streams.length === 1) return [change];
  return [{ ...change, half: streams[0] === stream ? "left" : "joined" }];
}

/** @param from index of the first one */
export function madeEvents(events: EventBuffer, from: number): MadeEvent[] {
  return Array.from({ length: events.length - from }, (_, i) => {
    const at = from + i;
    return {
      id: formatUuid(events.ids, at * 16),
      stream: events.streams[at]!,
      type: events.types[at]!,
      timeUs: events.timesUs[at]!,
      position: events.positions[at]!,
      data: events.data[at]!,
      causationId: events.causationIds.get(at),
    };
  });
}
