import { describe, expect, test } from "vitest";
import { event, type OpenedStore } from "./event-batches.ts";
import {
  advance,
  contentOf,
  entriesOf,
  eventsOf,
  expectRight,
  keyOf,
  look,
  NAMES,
  NEVER,
  scope,
  tell,
} from "./fold-sums.ts";
import { advanceContract } from "./parity-advance.contract.ts";
import { findingsContract } from "./parity-findings.contract.ts";
import { historyContract } from "./parity-history.contract.ts";
import type { FoldSnapshot } from "../../src/store/parity-store.ts";

type Open = () => Promise<OpenedStore>;

/** What every store must show of what a verification keeps in it. `open` gives an empty, migrated store. */
export function parityStoreContract(name: string, open: Open): void {
  describe(`parity store contract: ${name}`, () => {
    describe("kept folds", () => foldsContract(open));
    describe("bringing folds up to date", () => advanceContract(open));
    describe("streams that changed", () => changesContract(open));
    describe("events themselves", () => historyContract(open));
    describe("reports and findings", () => findingsContract(open));
  });
}

function changesContract(open: Open): void {
  test("are told once, by type, with how many there are beyond those that are named", async () => {
    await using opened = await open();
    const { store } = opened;
    const { parity } = store;
    await tell(store, [["order-1", { rows: 1, sum: 1n }]]);
    const types = ["order", "basket"];
    const begun = await parity.changedSince(types, undefined, 10);
    expect(begun).toMatchObject({ streams: [], total: 0 });
    await tell(store, [
      ["order-1", { rows: 2, sum: 2n }],
      ["order-1", { rows: 3, sum: 3n }],
      ["order-2", { rows: 1, sum: 1n }],
      ["basket-9", { rows: 1, sum: 1n }],
      // Types whose names begin alike, and one that was not asked for.
      ["orders-1", { rows: 1, sum: 1n }],
      ["orde-1", { rows: 1, sum: 1n }],
      ["other-1", { rows: 1, sum: 1n }],
    ]);
    const all = await parity.changedSince(types, begun.place, 10);
    expect(all.streams.toSorted()).toEqual(["basket-9", "order-1", "order-2"]);
    expect(all.total).toBe(3);
    const some = await parity.changedSince(types, begun.place, 2);
    expect([some.streams.length, some.total]).toEqual([2, 3]);
    expect(await parity.changedSince([], begun.place, 10)).toMatchObject({ streams: [], total: 0 });
    expect(await parity.changedSince(types, all.place, 10)).toMatchObject({
      streams: [],
      total: 0,
    });
    for (const { place, end } of [begun, all]) expect(BigInt(end) >= BigInt(place)).toBe(true);
    expect(BigInt(all.place) >= BigInt(begun.end)).toBe(true);
  });
}

function foldsContract(open: Open): void {
  test("are summed up by bucket, by role, and to the lowest 64 bits", async () => {
    await using opened = await open();
    const { store } = opened;
    const large = 2n ** 63n - 1n;
    await tell(store, [
      ["order-1", { rows: 2, sum: large }],
      ["order-2", { rows: 1, sum: large, lines: 7 }],
      ["order-3", { rows: 4, sum: -5n }],
      ["order-4", {}],
      // Types whose names begin alike.
      ["orders-1", { rows: 100, sum: 1n }],
      ["orde-1", { rows: 100, sum: 1n }],
    ]);
    await advance(store);
    await look(store, async (folds) => {
      const all = await folds.sums(0, 1);
      expect([...all.counts]).toEqual([7]);
      expect([...all.sums]).toEqual([BigInt.asIntN(64, 2n * large - 5n)]);
      for (const buckets of [16, 2 ** 16]) {
        const { counts, sums } = await folds.sums(0, buckets);
        expect(counts).toHaveLength(buckets);
        const at = Number(keyOf("order-3") & BigInt(buckets - 1));
        expect([counts[at], sums[at]]).toEqual([4, -5n]);
        expect(counts.filter((count) => count > 0)).toHaveLength(3);
      }
      // More finely, of those in one of two buckets.
      const wanted = Number(keyOf("order-3") & 1n);
      const finer = await folds.sums(0, 2 ** 18, { buckets: 2, wanted: [wanted] });
      expect(finer.counts).toHaveLength(2 ** 18);
      const kept = ["order-1", "order-2", "order-3"].filter(
        (stream) => Number(keyOf(stream) & 1n) === wanted,
      );
      expect(kept.length).toBeLessThan(3);
      const places = kept.map((stream) => Number(keyOf(stream) & (2n ** 18n - 1n)));
      const filled = [...finer.counts.keys()].filter((bucket) => finer.counts[bucket]! > 0);
      expect(filled).toEqual(places.toSorted((a, b) => a - b));
      expect(finer.sums[Number(keyOf("order-3") & (2n ** 18n - 1n))]).toBe(-5n);
      expect([...(await folds.sums(1, 1)).counts]).toEqual([7]);
      expect([...(await folds.sums(2, 1)).counts]).toEqual([0]);
    });
  });

  test("are told by stream and by bucket", async () => {
    await using opened = await open();
    const { store } = opened;
    await tell(
      store,
      NAMES.map((stream, i) => [stream, { rows: i, sum: BigInt(i), lines: i % 2 }]),
    );
    await advance(store);
    await look(store, async (folds) => {
      const some = await folds.foldsOf(["order-3", "order-2", "order-0", "order-99"]);
      expect(entriesOf(some)).toEqual([
        `order-2 0 ${keyOf("order-2")} 2 2`,
        `order-3 0 ${keyOf("order-3")} 3 3`,
        `order-3 1 ${keyOf("order-3")} 1 1`,
      ]);
      expect(entriesOf(await folds.foldsOf([]))).toEqual([]);
      const bucketOf = (stream: string): number => Number(keyOf(stream) & 3n);
      const wanted = [bucketOf("order-3"), bucketOf("order-5")];
      const expected = NAMES.filter((stream) => wanted.includes(bucketOf(stream)));
      expect(expected.length).toBeLessThan(NAMES.length);
      const inThem = await folds.foldsIn(4, wanted, 0);
      expect([...inThem.streams].toSorted()).toEqual(expected.filter((name) => name !== "order-0"));
      expect(inThem.roles.every((role) => role === 0)).toBe(true);
      expect(inThem.folded).toEqual([]);
      expect(entriesOf(await folds.foldsIn(4, [], 0))).toEqual([]);
    });
  });

  test("name the streams that hold events of a service, all or those behind a place in the feed", async () => {
    await using opened = await open();
    const { store } = opened;
    await tell(store, [
      ["order-1", { rows: 1, sum: 1n }],
      ["order-2", { rows: 1, sum: 2n }],
    ]);
    await advance(store);
    await store.append("order-2", [event()], "exists");
    await store.append("order-3", [event()], "none");
    expect(await look(store, (folds) => folds.decided(undefined, 100))).toEqual([]);
    await advance(store);
    expect([...(await look(store, (folds) => folds.decided(undefined, 100)))].toSorted()).toEqual([
      "order-2",
      "order-3",
    ]);
    const { next } = await store.readAll(undefined, 100);
    await store.append("order-1", [event()], "exists");
    const late = await look(store, (folds) => folds.decided(next, 100));
    expect(late).toEqual(["order-1"]);
    expect(await look(store, (folds) => folds.decided(undefined, 1))).toHaveLength(1);
    await advance(store);
    expect(await look(store, (folds) => folds.decided(undefined, 100))).toHaveLength(3);
    await expectRight(store);
  });

  test("say which streams have events that they do not have, with all events of those", async () => {
    await using opened = await open();
    const { store } = opened;
    await tell(store, [
      ["order-10", { rows: 1 }],
      ["order-2", { rows: 1 }],
      ["order-2", { rows: 2 }],
      ["order-3", { rows: 1 }],
    ]);
    await advance(store);
    const touched = (): Promise<string[]> => look(store, (folds) => eventsOf(folds.touched(NEVER)));
    expect(await touched()).toEqual([]);
    await tell(store, [
      ["order-2", { rows: 3 }],
      ["order-10", { rows: 2 }],
      ["order-11", { rows: 1 }],
      ["orders-1", { rows: 1 }],
    ]);
    expect(await touched()).toEqual([
      "order-10 1",
      "order-10 2",
      "order-11 1",
      "order-2 1",
      "order-2 2",
      "order-2 3",
    ]);
    expect(
      await look(store, (folds) =>
        eventsOf(folds.events(["order-3", "order-10", "order-404"], NEVER)),
      ),
    ).toEqual(["order-10 1", "order-10 2", "order-3 1"]);
  });

  test("are read as of one moment, whatever is appended and folded meanwhile", async () => {
    await using opened = await open();
    const { store } = opened;
    const before = [
      ["order-1", { rows: 1, sum: 1n }],
      ["order-2", { rows: 2, sum: 2n }],
    ] as const;
    await tell(store, before);
    await advance(store);
    await tell(store, [["order-2", { rows: 3, sum: 3n }]]);
    const read = async (folds: FoldSnapshot): Promise<unknown> => [
      await contentOf(folds, NAMES),
      await eventsOf(folds.touched(NEVER)),
      await eventsOf(folds.events(["order-1", "order-2"], NEVER)),
    ];
    await look(store, async (folds) => {
      const first = await read(folds);
      await tell(store, [
        ["order-1", { rows: 9, sum: 9n }],
        ["order-2", { rows: 9, sum: 9n }],
      ]);
      await advance(store);
      expect(await read(folds)).toEqual(first);
    });
    await expectRight(store);
  });

  test("of another config are not taken for one's own, and give way to new ones", async () => {
    await using opened = await open();
    const { store } = opened;
    await tell(store, [["order-1", { rows: 1, sum: 1n }]]);
    await advance(store);
    const other = scope({ fingerprint: "two" });
    expect(await store.parity.behind(other, 10)).toBeUndefined();
    await expect(store.parity.openFolds(other)).rejects.toMatchObject({
      code: "STORE_REFUSED",
      detail: { foldsGone: true },
    });
    // Folds of another pipeline or type are not theirs.
    await advance(store, scope({ pipeline: "another" }));
    await advance(store, scope({ streamType: "basket" }));
    await advance(store, other);
    await expectRight(store, other);
    expect(await store.parity.behind(scope(), 10)).toBeUndefined();
    await expect(store.parity.openFolds(scope())).rejects.toMatchObject({ code: "STORE_REFUSED" });
    expect(await store.parity.behind(scope({ pipeline: "another" }), 10)).toBe(0);
    expect(await store.parity.behind(scope({ streamType: "basket" }), 10)).toBe(0);
  });

  test("are gone when they are forgotten, of one pipeline and of all its types", async () => {
    await using opened = await open();
    const { store } = opened;
    const types = ["order", "basket"];
    for (const pipeline of ["shop", "shop 2"])
      for (const streamType of types) await advance(store, scope({ pipeline, streamType }));
    await store.parity.forget("shop");
    for (const streamType of types) {
      expect(await store.parity.behind(scope({ streamType }), 10)).toBeUndefined();
      const others = scope({ pipeline: "shop 2", streamType });
      expect(await store.parity.behind(others, 10)).toBe(0);
    }
    await expect(store.parity.openFolds(scope())).rejects.toMatchObject({ code: "STORE_REFUSED" });
    await store.parity.forget("nobody");
    await advance(store);
    await expectRight(store);
  });
}
