import { expect, test } from "vitest";
import type { OpenedStore } from "./event-batches.ts";
import {
  advance,
  eventsOf,
  expectRight,
  foldLast,
  look,
  NAMES,
  NEVER,
  scope,
  tell,
} from "./fold-sums.ts";

/** What bringing kept folds up to date must show, also when it fails or is done twice at once. */
export function advanceContract(open: () => Promise<OpenedStore>): void {
  test("is needed by as many events of the type as came since, counted up to a limit", async () => {
    await using opened = await open();
    const { store } = opened;
    expect(await store.parity.behind(scope(), 10)).toBeUndefined();
    await advance(store);
    expect(await store.parity.behind(scope(), 10)).toBe(0);
    await tell(store, [
      ["order-1", { rows: 1 }],
      ["order-1", { rows: 2 }],
      ["order-2", { rows: 1 }],
      ["orders-1", { rows: 1 }],
    ]);
    expect(await store.parity.behind(scope(), 10)).toBe(3);
    expect(await store.parity.behind(scope(), 2)).toBe(2);
    await advance(store);
    expect(await store.parity.behind(scope(), 10)).toBe(0);
  });

  test("folds only streams that changed, and these from their first event on", async () => {
    await using opened = await open();
    const { store } = opened;
    await tell(store, [
      ["order-1", { rows: 1 }],
      ["order-2", { rows: 2 }],
    ]);
    await advance(store);
    await tell(store, [["order-2", { rows: 5, sum: 7n, lines: 1 }]]);
    const seen: string[] = [];
    await store.parity.advance(
      scope(),
      (events) =>
        foldLast(
          (async function* () {
            for await (const page of events) {
              seen.push(...page.map(({ stream, version }) => `${stream} ${version}`));
              yield page;
            }
          })(),
        ),
      NEVER,
    );
    expect(seen).toEqual(["order-2 1", "order-2 2"]);
    await expectRight(store);
  });

  test("leaves of a stream what its last event left: more rows, fewer, none, and rows again", async () => {
    await using opened = await open();
    const { store } = opened;
    const steps = [
      { rows: 3, sum: 30n, lines: 2 },
      { rows: 5, sum: 1n },
      {},
      { rows: 1, sum: -9n, lines: 4 },
    ];
    await tell(store, [["order-8", { rows: 1, sum: 1n }]]);
    for (const said of steps) {
      await tell(store, [
        ["order-1", said],
        ["order-2", said],
      ]);
      await advance(store);
      await expectRight(store);
    }
    const { sums } = await look(store, (folds) => folds.sums(0, 1));
    expect([...sums]).toEqual([-17n]);
  });

  test("that fails before there were folds leaves none", async () => {
    await using opened = await open();
    const { store } = opened;
    await tell(
      store,
      NAMES.map((stream) => [stream, { rows: 1, sum: 1n }]),
    );
    await expect(store.parity.advance(scope(), failing(2), NEVER)).rejects.toThrow("killed");
    expect(await store.parity.behind(scope(), 10)).toBeUndefined();
    await expect(store.parity.openFolds(scope())).rejects.toMatchObject({ code: "STORE_REFUSED" });
    await advance(store);
    await expectRight(store);
  });

  test("that fails in the middle leaves nothing wrong: what it did is said to be still to do", async () => {
    await using opened = await open();
    const { store } = opened;
    await tell(
      store,
      NAMES.map((stream) => [stream, { rows: 1, sum: 1n }]),
    );
    await advance(store);
    await tell(
      store,
      NAMES.slice(1).map((stream) => [stream, { rows: 2, sum: 5n }]),
    );
    for (const pages of [0, 1, 3]) {
      await expect(store.parity.advance(scope(), failing(pages), NEVER)).rejects.toThrow("killed");
      expect(await store.parity.behind(scope(), 99)).toBe(8);
      await look(store, async (folds) => {
        expect(await eventsOf(folds.touched(NEVER))).toHaveLength(16);
        // Sums are those of the folds, newer ones too: whoever replaces the touched ones gets it right.
        const { streams, counts } = await folds.foldsOf(NAMES);
        expect(streams).toHaveLength(9);
        const all = await folds.sums(0, 1);
        expect([...all.counts]).toEqual([counts.reduce((sum, count) => sum + count, 0)]);
      });
    }
    await advance(store);
    await expectRight(store);
  });

  test("ends when it is aborted, and leaves nothing wrong", async () => {
    await using opened = await open();
    const { store } = opened;
    await tell(
      store,
      NAMES.map((stream) => [stream, { rows: 1, sum: 1n }]),
    );
    await advance(store);
    await tell(
      store,
      NAMES.map((stream) => [stream, { rows: 2, sum: 5n }]),
    );
    const stop = new AbortController();
    const fold: typeof foldLast = async function* (events) {
      for await (const page of foldLast(events)) {
        yield page;
        stop.abort();
      }
    };
    await expect(store.parity.advance(scope(), fold, stop.signal)).rejects.toMatchObject({
      name: "AbortError",
    });
    expect(await store.parity.behind(scope(), 99)).toBe(9);
    await advance(store);
    await expectRight(store);
  });

  test("by two programs at once comes to the same as by one", async () => {
    await using opened = await open();
    const { store } = opened;
    await tell(
      store,
      NAMES.map((stream) => [stream, { rows: 1, sum: 1n }]),
    );
    // From nothing, and from folds that are there.
    for (let round = 2; round < 5; round++) {
      await Promise.all([
        advance(store),
        advance(store),
        tell(
          store,
          NAMES.map((stream) => [stream, { rows: round, sum: BigInt(round) }]),
        ),
        advance(store),
      ]);
      await advance(store);
      await expectRight(store);
      expect(await store.parity.behind(scope(), 99)).toBe(0);
    }
  });

  test("takes more streams than fit into a page", async () => {
    await using opened = await open();
    const { store } = opened;
    const many = Array.from({ length: 2_500 }, (_, i) => `order-${i}`);
    const byHundreds: typeof foldLast = (events) => foldLast(events, 700);
    await tell(
      store,
      many.flatMap(
        (stream) =>
          [
            [stream, { rows: 1, sum: 1n }],
            [stream, { rows: 1, sum: 2n }],
          ] as const,
      ),
    );
    await store.parity.advance(scope(), byHundreds, NEVER);
    await tell(
      store,
      many.slice(100).map((stream) => [stream, { rows: 2, sum: 3n }]),
    );
    const touched = await look(store, (folds) => eventsOf(folds.touched(NEVER)));
    expect(new Set(touched).size).toBe(3 * 2_400);
    expect(touched).toHaveLength(3 * 2_400);
    await store.parity.advance(scope(), byHundreds, NEVER);
    const { counts, sums } = await look(store, (folds) => folds.sums(0, 1));
    expect([counts[0], sums[0]]).toEqual([100 + 2 * 2_400, 200n + 3n * 2_400n]);
  });
}

/** A fold that ends after so many pages as a killed program would. */
function failing(pages: number): typeof foldLast {
  return async function* (events) {
    let left = pages;
    for await (const page of foldLast(events)) {
      if (left-- === 0) throw new Error("killed");
      yield page;
    }
  };
}
