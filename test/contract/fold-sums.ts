import { expect } from "vitest";
import { batchOf, tailing } from "./event-batches.ts";
import type { EventStore, FoldEvent } from "../../src/store/event-store.ts";
import type { FoldScope, FoldSnapshot, FoldSums } from "../../src/store/parity-store.ts";

export const NEVER = new AbortController().signal;
/** Streams that the tests use. */
export const NAMES = Array.from({ length: 9 }, (_, i) => `order-${i}`);

/** What a stream's newest event says of its rows, by role; see {@link foldLast}. */
export interface Told {
  readonly rows?: number;
  readonly sum?: bigint;
  readonly lines?: number;
}

export function scope(more: Partial<FoldScope> = {}): FoldScope {
  return { pipeline: "shop", streamType: "order", fingerprint: "one", ...more };
}

/** Spread over all 64 bits, as hashes are. */
export function keyOf(stream: string): bigint {
  const number = BigInt(stream.slice(stream.indexOf("-") + 1));
  return BigInt.asIntN(64, number * 0x9e37_79b9_7f4a_7c15n);
}

/**
 * A fold whose result is what the last event says: `rows` of role 0 that come to `sum`, and `lines` of
 * role 1. A few streams to a page. Streams with events of others have role -1 alone.
 */
export async function* foldLast(
  events: AsyncIterable<readonly FoldEvent[]>,
  streamsPerPage = 2,
): AsyncGenerator<FoldSums, void, void> {
  const streams = new Map<string, FoldEvent[]>();
  for await (const page of events) {
    for (const event of page) {
      const known = streams.get(event.stream);
      if (known === undefined) streams.set(event.stream, [event]);
      else known.push(event);
    }
  }
  const all = [...streams];
  for (let at = 0; at < all.length; at += streamsPerPage)
    yield sumsOf(all.slice(at, at + streamsPerPage));
}

function sumsOf(streams: readonly (readonly [string, readonly FoldEvent[]])[]): FoldSums {
  const entries = streams.flatMap(([stream, events]) => {
    if (events.some(({ origin }) => origin === "native"))
      return [{ stream, role: -1, count: 0, sum: 0n }];
    const { rows = 0, sum = "0", lines = 0 } = events.at(-1)!.data as Record<string, never>;
    return [
      { stream, role: 0, count: Number(rows), sum: BigInt(sum) },
      { stream, role: 1, count: Number(lines), sum: BigInt(lines) },
    ].filter(({ count }) => count > 0);
  });
  return {
    folded: streams.map(([stream]) => stream),
    streams: entries.map(({ stream }) => stream),
    roles: entries.map(({ role }) => role),
    keys: entries.map(({ stream }) => keyOf(stream)),
    counts: entries.map(({ count }) => count),
    sums: entries.map(({ sum }) => sum),
  };
}

/** Appends captured events, one per entry, with the versions that are next. */
export async function tell(
  store: EventStore,
  told: readonly (readonly [stream: string, said: Told])[],
): Promise<void> {
  const writer = await store.openCapture("shop", "test://source");
  const streams = [...new Set(told.map(([stream]) => stream))];
  const versions = await writer.versions(streams);
  const heads = new Map(streams.map((stream, i) => [stream, versions[i]!]));
  const events = [];
  for (const [stream, { sum, ...said }] of told) {
    const before = heads.get(stream)!;
    heads.set(stream, before + 1);
    const data = { ...said, ...(sum === undefined ? {} : { sum: String(sum) }) };
    events.push({ stream, version: before + 1, data });
  }
  await writer.stage({ events: batchOf(events) });
  await writer.commit(tailing(undefined));
  await writer.close();
}

/** All of a snapshot that can be compared. */
export async function contentOf(folds: FoldSnapshot, streams: readonly string[]): Promise<unknown> {
  const content: unknown[] = [];
  for (const role of [0, 1]) {
    for (const buckets of [1, 16]) {
      const { counts, sums } = await folds.sums(role, buckets);
      content.push([[...counts], [...sums].map(String)]);
    }
  }
  content.push(
    entriesOf(await folds.foldsOf(streams)),
    [...(await folds.decided(undefined, 100))].toSorted(),
  );
  return content;
}

export function entriesOf(sums: FoldSums): readonly string[] {
  return sums.streams
    .map(
      (stream, i) => `${stream} ${sums.roles[i]} ${sums.keys[i]} ${sums.counts[i]} ${sums.sums[i]}`,
    )
    .toSorted((a, b) => (a < b ? -1 : 1));
}

export async function eventsOf(pages: AsyncIterable<readonly FoldEvent[]>): Promise<string[]> {
  const events: string[] = [];
  for await (const page of pages)
    for (const { stream, version } of page) events.push(`${stream} ${version}`);
  return events;
}

export async function advance({ parity }: EventStore, of: FoldScope = scope()): Promise<void> {
  await parity.advance(of, foldLast, NEVER);
}

export async function look<T>(
  { parity }: EventStore,
  read: (folds: FoldSnapshot) => Promise<T>,
  of: FoldScope = scope(),
): Promise<T> {
  const folds = await parity.openFolds(of);
  try {
    return await read(folds);
  } finally {
    await folds.close();
  }
}

/** What is kept of {@link NAMES} equals what a fold of all events would keep. */
export async function expectRight(store: EventStore, of: FoldScope = scope()): Promise<void> {
  const fresh = { ...of, pipeline: `${of.pipeline} anew ${Math.random()}` };
  await advance(store, fresh);
  const content = (folds: FoldSnapshot): Promise<unknown> => contentOf(folds, NAMES);
  expect(await look(store, content, of)).toEqual(await look(store, content, fresh));
}
