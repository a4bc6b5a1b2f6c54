import { describe, expect, test } from "vitest";
import { batchOf, tailing } from "./event-batches.ts";
import type { DualStore, Proposal, ShadowWrite } from "../../src/store/dual-store.ts";
import type { EventStore } from "../../src/store/event-store.ts";

export interface OpenedDual extends AsyncDisposable {
  readonly store: EventStore;
  /** As the proxy does. */
  readonly note: (pipeline: string, writes: readonly ShadowWrite[]) => Promise<void>;
  /** As a service in shadow does. */
  readonly propose: (pipeline: string, correlationId: string, proposal: Proposal) => Promise<void>;
}

const START_MS = 1_700_000_000_000;
const ALL = {
  answeredBefore: START_MS + 1e9,
  after: undefined,
  windowMs: 1_000,
  limit: 100,
} as const;

export function writeOf(id: string, more: Partial<ShadowWrite> = {}): ShadowWrite {
  const askedAtMs = more.askedAtMs ?? START_MS;
  return {
    correlationId: id,
    streamType: "order",
    stream: "order-7",
    route: "POST /orders/:id/pay",
    legacyStatus: 200,
    newStatus: 200,
    answeredAtMs: askedAtMs + 20.5,
    ...more,
    askedAtMs,
  };
}

async function idsOf(dual: DualStore, more: object = {}): Promise<readonly string[]> {
  const page = await dual.waiting("shop", { ...ALL, ...more });
  return page.map(({ write }) => write.correlationId);
}

/** What every store must show of dual writes. `open` gives an empty, migrated store. */
export function dualStoreContract(name: string, open: () => Promise<OpenedDual>): void {
  describe(`dual store contract: ${name}`, () => {
    describe("what waits", () => waitingContract(open));
    describe("what it is judged by", () => eventsContract(open));
    describe("verdicts", () => verdictsContract(open));
  });
}

function waitingContract(open: () => Promise<OpenedDual>): void {
  test("is given back as it was noted, with all that was proposed for it, in order", async () => {
    await using opened = await open();
    const { store, note, propose } = opened;
    const one = writeOf("c1");
    const other = writeOf("c2", {
      stream: undefined,
      legacyStatus: undefined,
      newStatus: undefined,
      askedAtMs: START_MS + 5_000.125,
    });
    await note("shop", [one, other]);
    await note("elsewhere", [writeOf("c3")]);
    const events = [{ type: "OrderNoted", data: { id: "7", note: "ring 🌳 twice" } }];
    await propose("shop", "c1", { stream: "order-7", decidedOn: 3, events });
    await propose("shop", "c1", { stream: "order-8", decidedOn: 0, events: [] });
    await propose("elsewhere", "c1", { stream: "order-9", decidedOn: 0, events: [] });
    expect(await store.dual.waiting("shop", ALL)).toEqual([
      {
        write: one,
        proposals: [
          { stream: "order-7", decidedOn: 3, events },
          { stream: "order-8", decidedOn: 0, events: [] },
        ],
        isParallel: false,
        hasNeighbours: false,
      },
      { write: other, proposals: [], isParallel: false, hasNeighbours: false },
    ]);
  });

  test("comes oldest answer first, in pages, and not before its time", async () => {
    await using opened = await open();
    const { store, note } = opened;
    const at = [30, 10, 20, 10, 40];
    await note(
      "shop",
      at.map((ms, i) =>
        writeOf(`c${i}`, { stream: `order-${i}`, askedAtMs: START_MS + ms * 1_000.001 }),
      ),
    );
    expect(await idsOf(store.dual)).toEqual(["c1", "c3", "c2", "c0", "c4"]);
    expect(await idsOf(store.dual, { answeredBefore: START_MS + 21_000 })).toEqual([
      "c1",
      "c3",
      "c2",
    ]);
    let after: ShadowWrite | undefined;
    const paged: string[] = [];
    for (;;) {
      const page = await store.dual.waiting("shop", { ...ALL, after, limit: 2 });
      paged.push(...page.map(({ write }) => write.correlationId));
      if (page.length < 2) break;
      after = page.at(-1)!.write;
    }
    expect(paged).toEqual(["c1", "c3", "c2", "c0", "c4"]);
  });

  test("knows of other writes of its stream at the same time and near it", async () => {
    await using opened = await open();
    const { store, note } = opened;
    await note("shop", [
      writeOf("a", { askedAtMs: START_MS }),
      writeOf("b", { askedAtMs: START_MS + 10 }),
      writeOf("near", { askedAtMs: START_MS + 900 }),
      writeOf("far", { askedAtMs: START_MS + 5_000 }),
      writeOf("other", { askedAtMs: START_MS, stream: "order-8" }),
      writeOf("creation", { askedAtMs: START_MS, stream: undefined }),
      writeOf("creation2", { askedAtMs: START_MS, stream: undefined }),
    ]);
    await note("elsewhere", [writeOf("o", { askedAtMs: START_MS + 5_000 })]);
    const page = await store.dual.waiting("shop", ALL);
    const told = Object.fromEntries(
      page.map(({ write, isParallel, hasNeighbours }) => [
        write.correlationId,
        [isParallel, hasNeighbours],
      ]),
    );
    expect(told).toEqual({
      a: [true, true],
      b: [true, true],
      near: [false, true],
      far: [false, false],
      other: [false, false],
      creation: [false, false],
      creation2: [false, false],
    });
  });
}

function eventsContract(open: () => Promise<OpenedDual>): void {
  test("captured events are found by the id of the request, and no others", async () => {
    await using opened = await open();
    const { store, note } = opened;
    const of = (correlationId: string | undefined, origin: "capture" | "baseline" = "capture") => ({
      context: { correlationId, origin },
    });
    await capture(store, [
      { stream: "order-7", version: 1, ...of("c0", "baseline") },
      { stream: "order-7", version: 2, ...of("c1") },
      { stream: "order-7", version: 3, ...of("c1") },
      { stream: "stock-1", version: 1, ...of("c1") },
      { stream: "order-8", version: 1, ...of("c2") },
      { stream: "order-9", version: 1, ...of(undefined) },
    ]);
    await store.append(
      "order-9",
      [{ id: "00000000-0000-4000-8000-000000000001", type: "X", data: {}, correlationId: "c1" }],
      1,
    );
    const found = await store.dual.streamsOf(["c1", "c0", "none", "c2"]);
    const pairs = found.map(({ correlationId, stream }) => `${correlationId} ${stream}`);
    expect(pairs.toSorted()).toEqual(["c1 order-7", "c1 stock-1", "c2 order-8"]);
    expect(await store.dual.streamsOf([])).toEqual([]);
    expect(await store.dual.heads(["order-9", "none-1", "order-7"])).toEqual([2, 0, 3]);

    await note("shop", [writeOf("c1", { askedAtMs: START_MS + 5 })]);
    await note("elsewhere", [writeOf("c2")]);
    const events = await store.dual.events("shop", ["order-8", "order-7", "none-1"]);
    const told = events.map(({ stream, version, correlationId, askedAtMs, origin }) => [
      stream,
      version,
      correlationId,
      askedAtMs,
      origin,
    ]);
    expect(told).toEqual([
      ["order-7", 1, "c0", undefined, "baseline"],
      ["order-7", 2, "c1", START_MS + 5, "capture"],
      ["order-7", 3, "c1", START_MS + 5, "capture"],
      ["order-8", 1, "c2", undefined, "capture"],
    ]);
    expect(events[1]).toMatchObject({
      type: "OrderAmended",
      mappingVersion: 1,
      sourceTransaction: "1001",
    });
    for (const { recordedAtMs } of events)
      expect(Math.abs(recordedAtMs - Date.now())).toBeLessThan(120_000);
  });

  test("an input has moved with an event that is neither the write's own nor a later one's", async () => {
    await using opened = await open();
    const { store, note, propose } = opened;
    const inputs = { "product-1": 1, "customer 2": 0 };
    await note("shop", [writeOf("c1"), writeOf("later", { askedAtMs: START_MS + 90_000 })]);
    await propose("shop", "c1", { stream: "order-7", decidedOn: 1, events: [], inputs });
    const [waiting] = await store.dual.waiting("shop", ALL);
    expect(waiting!.proposals).toEqual([{ stream: "order-7", decidedOn: 1, events: [], inputs }]);

    const by = (correlationId: string | undefined) => ({ context: { correlationId } });
    await capture(store, [
      { stream: "own-1", version: 1, ...by(undefined) },
      { stream: "own-1", version: 2, ...by("c1") },
      { stream: "later-1", version: 1, ...by(undefined) },
      { stream: "later-1", version: 2, ...by("later") },
      { stream: "moved-1", version: 1, ...by(undefined) },
      { stream: "moved-1", version: 2, ...by(undefined) },
    ]);
    const isMoved = async (stream: string, version: number, atMs: number): Promise<boolean> => {
      const input = { correlationId: "c1", stream, version, askedAtMs: atMs };
      const asked = { ...input, answeredAtMs: START_MS + 20 };
      return (await store.dual.inputsMoved("shop", [asked])).has("c1");
    };
    const behind = Date.now() + 120_000;
    expect(await isMoved("own-1", 1, behind)).toBe(false);
    expect(await isMoved("later-1", 1, behind)).toBe(false);
    expect(await isMoved("moved-1", 1, behind)).toBe(true);
    expect(await isMoved("moved-1", 2, behind)).toBe(false);
    // Recorded while both were asked: legacy may not have seen it yet.
    expect(await isMoved("moved-1", 2, START_MS)).toBe(true);
    expect(await isMoved("none-1", 0, behind)).toBe(false);
    expect(await store.dual.inputsMoved("shop", [])).toEqual(new Set());
  });

  test("streams in quarantine are named", async () => {
    await using opened = await open();
    const { store } = opened;
    const parked = ["order-3", "order-4"].map((stream) => ({
      stream,
      position: "0000000000000001/00000001" as never,
      sourceTransaction: "1",
      table: "public.orders",
      operation: "update",
      code: "VALUE_UNMAPPABLE",
      reason: "no",
      change: {},
    }));
    await capture(store, [], parked);
    const found = await store.dual.quarantined("shop", ["order-3", "order-5"]);
    expect([...found]).toEqual(["order-3"]);
    expect(await store.dual.quarantined("elsewhere", ["order-3"])).toEqual(new Set());
  });
}

function verdictsContract(open: () => Promise<OpenedDual>): void {
  test("are kept once, counted by route and reason, and failures are shown", async () => {
    await using opened = await open();
    const { store, note } = opened;
    const { dual } = store;
    const other = { route: "POST /orders", stream: undefined };
    await note("shop", [
      writeOf("c1"),
      writeOf("c2"),
      writeOf("c3", other),
      writeOf("c4", other),
      writeOf("c5", { ...other, askedAtMs: START_MS - 100_000 }),
      writeOf("c6", { streamType: "customer" }),
    ]);
    const detail = { streams: [], partings: [{ role: "order", value: "12.50 'x' 🌳" }] };
    const fail = { verdict: "fail", reason: "state-differs", detail } as const;
    const pass = { verdict: "pass", reason: "same-state" } as const;
    expect(
      await dual.save("shop", [
        { correlationId: "c1", ...pass },
        { correlationId: "c3", ...fail },
        { correlationId: "c5", ...fail },
        { correlationId: "c6", ...pass },
        { correlationId: "unknown", ...pass },
      ]),
    ).toBe(4);
    expect(await dual.save("shop", [{ correlationId: "c3", ...pass }])).toBe(0);
    expect(await dual.save("elsewhere", [{ correlationId: "c2", ...pass }])).toBe(0);
    expect(await dual.save("shop", [])).toBe(0);
    expect(await idsOf(dual)).toEqual(["c2", "c4"]);
    const order = { streamType: "order", count: 1 };
    expect(await dual.counts("shop", ["order"], START_MS - 1)).toEqual([
      { ...order, route: "POST /orders", verdict: "fail", reason: "state-differs" },
      { ...order, route: "POST /orders", verdict: "waiting", reason: "" },
      { ...order, route: "POST /orders/:id/pay", verdict: "pass", reason: "same-state" },
      { ...order, route: "POST /orders/:id/pay", verdict: "waiting", reason: "" },
    ]);
    const all = await dual.counts("shop", ["order", "customer"], 0);
    expect(all.reduce((sum, { count }) => sum + count, 0)).toBe(6);
    expect(await dual.failures("shop", ["order"], START_MS - 1, 5)).toEqual([
      { write: writeOf("c3", other), reason: "state-differs", detail },
    ]);
    expect(await dual.failures("shop", ["order"], 0, 5)).toHaveLength(2);
    expect(await dual.failures("shop", ["order"], 0, 1)).toHaveLength(1);
    expect(await dual.failures("shop", ["customer"], 0, 5)).toEqual([]);
  });

  test("are forgotten with what they were about, a bounded number at a time", async () => {
    await using opened = await open();
    const { store, note, propose } = opened;
    const { dual } = store;
    const old = ["c1", "c2", "c3"].map((id) => writeOf(id, { askedAtMs: 1_000_000 }));
    await note("shop", [...old, writeOf("new", { askedAtMs: Date.now() })]);
    await note("elsewhere", old);
    await propose("shop", "c1", { stream: "order-7", decidedOn: 0, events: [] });
    await dual.save("shop", [{ correlationId: "c1", verdict: "pass", reason: "same-state" }]);
    const hourAgo = Date.now() - 3_600_000;
    expect(await dual.purge("shop", ["order"], hourAgo, 1)).toBe(1);
    expect(await dual.purge("shop", ["order"], hourAgo, 10)).toBe(1);
    expect(await dual.purge("shop", ["order"], hourAgo, 10)).toBe(0);
    // Judged and proposed just now.
    const later = Date.now() + 60_000;
    expect(await dual.purge("shop", ["customer"], later, 10)).toBe(2);
    expect(await dual.purge("shop", ["order"], later, 10)).toBe(1);
    expect(await dual.counts("shop", ["order"], 0)).toEqual([]);
    expect(await dual.counts("elsewhere", ["order"], 0)).toHaveLength(1);
  });
}

async function capture(
  store: EventStore,
  events: Parameters<typeof batchOf>[0],
  parked: NonNullable<
    Parameters<Awaited<ReturnType<EventStore["openCapture"]>>["stage"]>[0]["parked"]
  > = [],
): Promise<void> {
  const writer = await store.openCapture("shop", "urn:test");
  await writer.mappingVersion("fingerprint", { streams: {} });
  await writer.stage({ events: batchOf(events), parked });
  await writer.commit(tailing(1));
  await writer.close();
}
