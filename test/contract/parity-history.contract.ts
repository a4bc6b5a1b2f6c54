import { expect, test } from "vitest";
import { batchOf, event, tailing, type OpenedStore } from "./event-batches.ts";
import { advance, keyOf, look, NEVER, scope, tell } from "./fold-sums.ts";
import type { EventStore, FoldEvent } from "../../src/store/event-store.ts";
import type { FoldSums } from "../../src/store/parity-store.ts";

/** What a store must show of what is wrong with events themselves. */
export function historyContract(open: () => Promise<OpenedStore>): void {
  test("names the streams that were marked as flawed, by id, until they are folded without a mark", async () => {
    await using opened = await open();
    const { store } = opened;
    await tell(store, [
      ["order-2", { rows: 1 }],
      ["order-1", { rows: 1 }],
      ["order-3", { rows: 1 }],
    ]);
    await mark(store, ["order-2", "order-1"]);
    const flawed = (limit: number): Promise<readonly unknown[]> =>
      look(store, (folds) => folds.flawed(limit));
    expect(await flawed(10)).toEqual([
      { stream: "order-1", hasSkipped: false },
      { stream: "order-2", hasSkipped: false },
    ]);
    expect(await flawed(1)).toEqual([{ stream: "order-1", hasSkipped: false }]);
    await tell(store, [["order-1", { rows: 2 }]]);
    await advance(store);
    expect(await flawed(10)).toEqual([{ stream: "order-2", hasSkipped: false }]);
  });

  test("says of a flawed stream whether a change of it was skipped, by its own pipeline", async () => {
    await using opened = await open();
    const { store } = opened;
    await tell(store, [["order-1", { rows: 1 }]]);
    await mark(store, ["order-1"]);
    for (const [pipeline, isOwn] of [
      ["other", false],
      ["shop", true],
    ] as const) {
      const writer = await store.openCapture(pipeline, "test://source");
      await writer.stage({ events: batchOf([]), parked: [PARKED] });
      await writer.commit(tailing(undefined));
      const [parked] = await store.quarantine.list({ pipeline });
      expect(await look(store, (folds) => folds.flawed(1))).toEqual([
        { stream: "order-1", hasSkipped: false },
      ]);
      await writer.stage({ events: batchOf([]), skipped: [parked!.id] });
      await writer.commit(tailing(undefined));
      await writer.close();
      expect(await look(store, (folds) => folds.flawed(1))).toEqual([
        { stream: "order-1", hasSkipped: isOwn },
      ]);
    }
  });

  test("counts the events of pipelines beside what their ledgers tell, however often it is asked", async () => {
    await using opened = await open();
    const { store } = opened;
    const expectCounts = async (stored: number, told: number, settled = 0): Promise<void> => {
      for (let times = 0; times < 2; times++)
        expect(await store.parity.countEvents()).toEqual({ stored, told, settled });
    };
    await expectCounts(0, 0);
    await write(store, "shop", 3, 3);
    await expectCounts(3, 3);
    await write(store, "other", 2, 2);
    await store.append("order-90", [event(), event()], "none");
    await expectCounts(5, 5);
    await write(store, "shop", 2, 3);
    await expectCounts(7, 8);
    await store.parity.settleEvents();
    await expectCounts(7, 8, -1);
    await write(store, "shop", 1, 1);
    await store.parity.forget("shop");
    await expectCounts(8, 9, -1);
  });
}

const PARKED = {
  stream: "order-1",
  position: "0000000000000001/00000000" as never,
  sourceTransaction: "1",
  table: "public.orders",
  operation: "update",
  code: "VALUE_UNMAPPABLE",
  reason: "no",
  change: {},
};

let streams = 0;

/** Events of streams of their own, and how many the ledger counts of them. */
async function write(
  store: EventStore,
  pipeline: string,
  written: number,
  counted: number,
): Promise<void> {
  const writer = await store.openCapture(pipeline, "test://source");
  const events = Array.from({ length: written }, () => ({
    stream: `basket-${(streams += 1)}`,
    version: 1,
  }));
  await writer.stage({ events: batchOf(events) });
  await writer.commit(tailing(undefined, { ledger: { events: counted } }));
  await writer.close();
}

async function mark({ parity }: EventStore, marked: readonly string[]): Promise<void> {
  await parity.advance(
    scope(),
    async function* (pages: AsyncIterable<readonly FoldEvent[]>): AsyncGenerator<FoldSums> {
      const folded = new Set<string>();
      for await (const page of pages) for (const { stream } of page) folded.add(stream);
      yield {
        folded: [...folded],
        streams: marked,
        roles: marked.map(() => -2),
        keys: marked.map(keyOf),
        counts: marked.map(() => 1),
        sums: marked.map(() => 0n),
      };
    },
    NEVER,
  );
}
