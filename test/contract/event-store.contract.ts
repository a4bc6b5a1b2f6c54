import { randomUUID } from "node:crypto";
import { describe, expect, test } from "vitest";
import { captureContract } from "./event-store-capture.contract.ts";
import { batchOf, event, streamOf, tailing, type OpenedStore } from "./event-batches.ts";
import type { NewEvent, RecordedEvent } from "../../src/model/event.ts";
import type { EventStore, FeedCursor, FoldEvent } from "../../src/store/event-store.ts";

const SOURCE = "test://source";
const NEVER = new AbortController().signal;

/** The behaviour every event store must show. `open` gives an empty, migrated store. */
export function eventStoreContract(name: string, open: () => Promise<OpenedStore>): void {
  describe(`event store contract: ${name}`, () => {
    describe("append", () => appendContract(open));
    describe("reading", () => readContract(open));
    describe("capture", () => captureContract(open));
  });
}

function appendContract(open: () => Promise<OpenedStore>): void {
  test("gives the events of a new stream the versions from 1 and keeps all that was said", async () => {
    await using opened = await open();
    const { store } = opened;
    const said: NewEvent = {
      id: randomUUID(),
      type: "OrderPlaced",
      data: {
        total: "12.50",
        note: 'ünïcode 🌳 "quoted" \\ back\n',
        nested: { list: [1, null, true] },
      },
      time: "2026-01-31T12:00:00.123456+02:00",
      schemaVersion: 3,
      correlationId: "c-1",
      causationId: "k-1",
      actor: "Ada",
      metadata: { reason: "first" },
    };
    const result = await store.append("order-1", [said, event("OrderPaid")], "none");
    expect(result).toEqual({ firstVersion: 1, lastVersion: 2 });
    const [first, second] = await streamOf(store, "order-1");
    expect(first).toMatchObject({
      ...said,
      stream: "order-1",
      version: 1,
      time: "2026-01-31T10:00:00.123456Z",
      origin: "native",
      sourcePosition: undefined,
      mappingVersion: undefined,
    });
    expect(second).toMatchObject({
      version: 2,
      schemaVersion: 1,
      correlationId: undefined,
      metadata: undefined,
    });
    expect(first!.recordedTime).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
  });

  // Each really checked, on a stream that is missing (0) and on one that has two events (2).
  test.each([
    { expected: "none", at0: true, at2: false },
    { expected: "exists", at0: false, at2: true },
    { expected: "any", at0: true, at2: true },
    { expected: 0, at0: true, at2: false },
    { expected: 1, at0: false, at2: false },
    { expected: 2, at0: false, at2: true },
    { expected: 3, at0: false, at2: false },
  ] as const)("expecting $expected is checked", async ({ expected, at0, at2 }) => {
    await using opened = await open();
    const { store } = opened;
    await store.append("order-2", [event(), event()], "none");
    for (const [stream, fits, before] of [
      ["order-0", at0, 0],
      ["order-2", at2, 2],
    ] as const) {
      const appended = store.append(stream, [event()], expected);
      if (fits)
        expect(await appended).toEqual({ firstVersion: before + 1, lastVersion: before + 1 });
      else
        await expect(appended).rejects.toMatchObject({
          code: "STREAM_VERSION_CONFLICT",
          recovery: "retry",
        });
      expect(await streamOf(store, stream)).toHaveLength(fits ? before + 1 : before);
    }
  });

  test("repeating an append gives its first result, also when the stream has moved on", async () => {
    await using opened = await open();
    const { store } = opened;
    const events = [event("OrderPlaced"), event("OrderPaid")];
    const first = await store.append("order-1", events, "none");
    await store.append("order-1", [event("OrderShipped")], 2);
    for (const expected of ["none", "any", 2, 7] as const) {
      expect(await store.append("order-1", events, expected)).toEqual(first);
    }
    expect(await streamOf(store, "order-1")).toHaveLength(3);
  });

  test("an id belongs to one append: in another stream, batch or order it is refused", async () => {
    await using opened = await open();
    const { store } = opened;
    const [a, b] = [event(), event()];
    await store.append("order-1", [a, b], "none");
    const wrong: [string, NewEvent[]][] = [
      ["order-2", [a, b]],
      ["order-1", [a, event()]],
      ["order-1", [a]],
      ["order-1", [b, a]],
      ["order-3", [event(), b]],
    ];
    for (const [stream, events] of wrong) {
      // One event alone is the beginning of the batch, but not the batch.
      const appended = store.append(stream, events, "any");
      if (events.length === 1) expect(await appended).toEqual({ firstVersion: 1, lastVersion: 1 });
      else await expect(appended).rejects.toMatchObject({ code: "INVARIANT_BROKEN" });
    }
    expect(await streamOf(store, "order-1")).toHaveLength(2);
    expect(await streamOf(store, "order-3")).toHaveLength(0);
  });

  test("of appends that expect the same version one wins", async () => {
    await using opened = await open();
    const { store } = opened;
    const all = await Promise.allSettled(
      Array.from({ length: 12 }, () => store.append("order-1", [event(), event()], "none")),
    );
    expect(all.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const one of all) {
      if (one.status === "rejected")
        expect(one.reason).toMatchObject({ code: "STREAM_VERSION_CONFLICT" });
    }
    expect(await streamOf(store, "order-1")).toHaveLength(2);
  });

  test("appends that expect nothing all find a place, each in one piece", async () => {
    await using opened = await open();
    const { store } = opened;
    const batches = Array.from({ length: 8 }, (_, i) => [event(`A${i}`), event(`B${i}`)]);
    await Promise.all(batches.map((events) => store.append("order-1", events, "any")));
    const stored = await streamOf(store, "order-1");
    expect(stored.map(({ version }) => version)).toEqual(
      Array.from({ length: 16 }, (_, i) => i + 1),
    );
    for (let i = 0; i < stored.length; i += 2) {
      expect(stored[i]!.type.slice(1)).toBe(stored[i + 1]!.type.slice(1));
    }
  });

  test("the same append made several times at once is stored once", async () => {
    await using opened = await open();
    const { store } = opened;
    const events = [event(), event()];
    const results = await Promise.all(
      Array.from({ length: 8 }, () => store.append("order-1", events, "none")),
    );
    expect(new Set(results.map((result) => JSON.stringify(result))).size).toBe(1);
    expect(await streamOf(store, "order-1")).toHaveLength(2);
  });

  test("refuses what text cannot keep and what is no event, and writes nothing", async () => {
    await using opened = await open();
    const { store } = opened;
    const unmappable = [
      { ...event(), data: { name: "a\0b" } },
      { ...event(), data: { half: "\ud83c" } },
      { ...event(), metadata: { "k\0": 1 } },
      { ...event(), actor: "a\0" },
      { ...event(), actor: "half \udf33" },
      { ...event(), data: { n: 1n } },
    ];
    await expect(store.append("order-\ud83c", [event()], "any")).rejects.toMatchObject({
      code: "VALUE_UNMAPPABLE",
    });
    for (const bad of unmappable) {
      await expect(store.append("order-1", [event(), bad], "any")).rejects.toMatchObject({
        code: "VALUE_UNMAPPABLE",
      });
    }
    const same = event();
    const wrong: NewEvent[][] = [
      [],
      [same, same],
      [{ ...event(), id: "order-1" }],
      [{ ...event(), type: "" }],
      [{ ...event(), time: "yesterday" }],
      [{ ...event(), time: "2026-01-31 10:00:00" }],
    ];
    for (const events of wrong) {
      await expect(store.append("order-1", events, "any")).rejects.toMatchObject({
        code: "INVARIANT_BROKEN",
      });
    }
    // Only looks like an escape of U+0000.
    await store.append("order-1", [{ ...event(), data: { path: "C:\\u0000" } }], "any");
    expect((await streamOf(store, "order-1")).map(({ data }) => data)).toEqual([
      { path: "C:\\u0000" },
    ]);
  });
}

function readContract(open: () => Promise<OpenedStore>): void {
  test("a stream is read in version order, whole or in part, and a missing one is empty", async () => {
    await using opened = await open();
    const { store } = opened;
    const events = Array.from({ length: 2_345 }, (_, i) => event(`E${i + 1}`));
    for (let i = 0; i < events.length; i += 500)
      await store.append("order-1", events.slice(i, i + 500), i);
    await store.append("order-10", [event()], "none");
    expect((await streamOf(store, "order-1")).map(({ type }) => type)).toEqual(
      events.map(({ type }) => type),
    );
    const range = await streamOf(store, "order-1", { fromVersion: 99, toVersion: 101 });
    expect(range.map(({ version }) => version)).toEqual([99, 100, 101]);
    expect(await streamOf(store, "order-1", { fromVersion: 2_346 })).toEqual([]);
    expect(await streamOf(store, "order-2")).toEqual([]);
  });

  test("several streams are read one after the other as each alone, however long, and missing ones are passed over", async () => {
    await using opened = await open();
    const { store } = opened;
    const few = Array.from({ length: 1_100 }, (_, n) => `few-${1_100 - n}`);
    await Promise.all(few.map((stream) => store.append(stream, [event("One")], "none")));
    const large = { text: "x".repeat(1_000_000) };
    for (let n = 0; n < 6; n++) await store.append("large-1", [event("Large", large)], "any");
    const long = (count: number) => Array.from({ length: count }, () => event("Next"));
    for (let n = 0; n < 5; n++) await store.append("long-1", long(900), "any");
    const asked = ["gone-1", "long-1", ...few, "large-1", "gone-2", "few-none", "gone-3"];
    const alone: RecordedEvent[] = [];
    for (const stream of ["long-1", ...few, "large-1"])
      alone.push(...(await streamOf(store, stream)));
    const together: RecordedEvent[] = [];
    for await (const event of store.readStreams(asked)) together.push(event);
    expect(together).toHaveLength(5 * 900 + 1_100 + 6);
    expect(together.map(({ stream, version }) => `${stream} ${version}`)).toEqual(
      alone.map(({ stream, version }) => `${stream} ${version}`),
    );
    expect(together[4_499]).toEqual(alone[4_499]);
    expect(together.at(-1)).toEqual(alone.at(-1));
    for await (const _ of store.readStreams([])) expect.unreachable();
  });

  test("the feed shows every event once, in the order of commits, and goes on where it ended", async () => {
    await using opened = await open();
    const { store } = opened;
    expect(await store.readAll(undefined, 10)).toEqual({ events: [], next: undefined });
    const writer = await store.openCapture("shop", SOURCE);
    await store.append("order-1", [event("A1"), event("A2")], "none");
    await writer.stage({
      events: batchOf([2, 1, 3].map((n) => ({ stream: `item-${n}`, version: 1, type: `B${n}` }))),
    });
    await writer.stage({ events: batchOf([{ stream: "item-1", version: 2, type: "B4" }]) });
    await writer.commit(tailing(1));
    await store.append("order-1", [event("A3")], 2);
    await writer.close();

    const seen: RecordedEvent[] = [];
    let cursor: FeedCursor | undefined;
    for (;;) {
      const page = await store.readAll(cursor, 2);
      if (page.events.length === 0) {
        expect(page.next).toBe(cursor);
        break;
      }
      expect(page.events.length).toBeLessThanOrEqual(2);
      seen.push(...page.events);
      cursor = page.next;
    }
    expect(seen.map(({ type }) => type)).toEqual(["A1", "A2", "B2", "B1", "B3", "B4", "A3"]);
    expect(seen.map(({ source }) => source)).toEqual([
      "urn:banyan",
      "urn:banyan",
      SOURCE,
      SOURCE,
      SOURCE,
      SOURCE,
      "urn:banyan",
    ]);
    await store.append("order-2", [event("A4")], "none");
    expect((await store.readAll(cursor, 10)).events.map(({ type }) => type)).toEqual(["A4"]);
    for (const limit of [0, 10_001, 1.5]) {
      await expect(store.readAll(undefined, limit)).rejects.toMatchObject({
        code: "INVARIANT_BROKEN",
      });
    }
  });

  test("the streams of a type come bytewise by stream, then by version, and no others", async () => {
    await using opened = await open();
    const { store } = opened;
    const ids = [
      "1",
      "10",
      "2",
      "-1",
      "A",
      "a",
      "ä",
      "\u{1f333}",
      "\uffee",
      "1,2",
      "1\\,2",
      "",
      "'; --",
      "%",
      "_",
    ];
    for (const id of [...ids].reverse())
      await store.append(`order-${id}`, [event("A"), event("B")], "none");
    for (const other of ["order", "orderline-1", "order.1", "Order-1", "orde-r1"]) {
      await store.append(other, [event("No")], "none");
    }
    const sorted = ids
      .map((id) => `order-${id}`)
      .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    const read = await typeOf(store, "order");
    expect(read.map(({ stream, version, type }) => [stream, version, type])).toEqual(
      sorted.flatMap((id) => [
        [id, 1, "A"],
        [id, 2, "B"],
      ]),
    );
    expect(await typeOf(store, "nothing")).toEqual([]);
  });

  test("a fold event tells what a recorded event tells", async () => {
    await using opened = await open();
    const { store } = opened;
    const writer = await store.openCapture("shop", SOURCE);
    await writer.stage({
      events: batchOf([
        {
          stream: "order-1",
          version: 1,
          timeUs: -1,
          data: { a: "ä🌳" },
          context: { origin: "baseline", sourceTransaction: undefined },
        },
        { stream: "order-1", version: 2, timeUs: 253_370_764_800_000_000, data: { n: 1.5 } },
      ]),
    });
    await writer.commit(tailing(1));
    await writer.close();
    await store.append("order-1", [{ ...event(), time: "0001-01-01T00:00:00.000001Z" }], 2);
    const recorded = await streamOf(store, "order-1");
    expect(recorded.map(({ time }) => time)).toEqual([
      "1969-12-31T23:59:59.999999Z",
      "9999-01-01T00:00:00.000000Z",
      "0001-01-01T00:00:00.000001Z",
    ]);
    const folded = await typeOf(store, "order");
    expect(folded).toHaveLength(3);
    folded.forEach(({ readAt: _, ...fold }, i) => expect(recorded[i]).toMatchObject(fold));
    // Only of rows that were read.
    const [read] = recorded;
    expect(read!.sourcePosition).toBeDefined();
    expect(folded.map(({ readAt }) => readAt)).toEqual([
      read!.sourcePosition,
      undefined,
      undefined,
    ]);
    expect(folded[0]).toMatchObject({
      origin: "baseline",
      mappingVersion: 1,
      sourceTransaction: undefined,
    });
  });

  test("a read of a stream type is one snapshot in bounded groups", async () => {
    await using opened = await open();
    const { store } = opened;
    const writer = await store.openCapture("shop", SOURCE);
    const events = Array.from({ length: 9_000 }, (_, i) => ({
      stream: `order-${String(i).padStart(5, "0")}`,
      version: 1,
    }));
    await writer.stage({ events: batchOf(events) });
    await writer.commit(tailing(1));
    let read = 0;
    for await (const group of store.readStreamType("order", NEVER)) {
      if (read === 0) {
        await writer.stage({ events: batchOf([{ stream: "order-99999", version: 1 }]) });
        await writer.commit(tailing(2));
      }
      expect(group.length).toBeLessThanOrEqual(2_000);
      read += group.length;
    }
    expect(read).toBe(9_000);
    await writer.close();
  });

  test("an aborted read of a stream type rejects, so that a part never looks like the whole", async () => {
    await using opened = await open();
    const { store } = opened;
    const events = Array.from({ length: 6_000 }, (_, i) => ({ stream: `order-${i}`, version: 1 }));
    const writer = await store.openCapture("shop", SOURCE);
    await writer.stage({ events: batchOf(events) });
    await writer.commit(tailing(1));
    await writer.close();
    const stop = new AbortController();
    const reason = new Error("enough");
    const read = async (): Promise<void> => {
      for await (const group of store.readStreamType("order", stop.signal)) {
        expect(group.length).toBeGreaterThan(0);
        stop.abort(reason);
      }
    };
    await expect(read()).rejects.toBe(reason);
    await expect(read()).rejects.toBe(reason);
    // Left early, it holds nothing up.
    for await (const group of store.readStreamType("order", NEVER)) {
      expect(group.length).toBeGreaterThan(0);
      break;
    }
  });
}

async function typeOf(store: EventStore, streamType: string): Promise<FoldEvent[]> {
  const events: FoldEvent[] = [];
  for await (const group of store.readStreamType(streamType, NEVER)) events.push(...group);
  return events;
}
