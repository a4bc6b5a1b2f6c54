import { describe, expect, test } from "vitest";
import { MemoryEventStore } from "../../connectors/memory/event-store.ts";
import { changed, inserted, stream, table, updated } from "../../src/mapping/rules.ts";
import type { Change, RowChange } from "../../src/model/change.ts";
import type { Ledger } from "../../src/store/event-store.ts";
import { change, shape, transaction } from "../support/mapping-fixtures.ts";
import { startPipeline, type LivePipeline } from "../support/live-pipeline.ts";
import { eventually, partOf, ScriptedLog, type Rows } from "../support/scripted-log.ts";

const orders = table<{ id: string; note: string }>("orders");
const ordersShape = shape("public.orders", "*id:int8 note");

/** What the user's function refuses; a test mends it as a user would in the config. */
interface Refusal {
  word: string | undefined;
}

interface Bench extends AsyncDisposable {
  readonly refusal: Refusal;
  readonly store: MemoryEventStore;
  /** Has the pipeline take in these transactions, and waits until they are durable. */
  take(...transactions: (readonly Change[])[]): Promise<void>;
  decide(stream: string | undefined, decision: "retry" | "skip"): Promise<void>;
  stop(): Promise<void>;
  start(): Promise<void>;
  parked(): Promise<string[]>;
  events(stream: string): Promise<string[]>;
  ledger(): Promise<Ledger>;
}

async function bench(rows: Rows = {}): Promise<Bench> {
  const refusal: Refusal = { word: "bad" };
  const check = ({ note }: { readonly note: string }): boolean => {
    if (refusal.word !== undefined && note.includes(refusal.word)) throw new Error("cannot say");
    return true;
  };
  const streams = {
    order: stream(orders, {
      events: {
        OrderPlaced: inserted(orders, { where: check }),
        OrderNoted: updated(orders, changed("note"), { where: check }),
      },
      otherwise: "OrderAmended",
      truncate: "events",
    }),
  };
  const store = new MemoryEventStore();
  let log = new ScriptedLog([ordersShape], rows);
  let pipeline: LivePipeline | undefined;
  let taken = 0;
  const start = async (): Promise<void> => {
    log = new ScriptedLog([ordersShape], rows);
    pipeline = await startPipeline({ name: "orders", openSource: () => log, store, streams });
    await pipeline.until(() => pipeline!.status()?.phase === "tail");
  };
  await start();
  return {
    refusal,
    store,
    start,
    stop: () => pipeline!.stop(),
    async take(...transactions) {
      for (const changes of transactions) log.emit(partOf(++taken, changes));
      await eventually(() => log.acknowledged.includes(transaction(taken).end));
    },
    async decide(stream, decision) {
      await store.quarantine.decide("orders", stream, decision);
      await eventually(async () =>
        (await store.quarantine.list({ pipeline: "orders" })).every((p) => p.decision === "none"),
      );
    },
    async parked() {
      const records = await store.quarantine.list({ pipeline: "orders" });
      return records.map((p) => `${p.stream} ${p.operation} ${p.code}`);
    },
    async events(id) {
      const told: string[] = [];
      for await (const { version, type, data } of store.readStream(id))
        told.push(`${version} ${type} ${JSON.stringify(data["note"] ?? null)}`);
      return told;
    },
    async ledger() {
      return (await store.pipeline("orders"))!.ledger;
    },
    async [Symbol.asyncDispose]() {
      await pipeline?.[Symbol.asyncDispose]();
    },
  };
}

const note = (ordinal: number, id: string, was: string, now: string): RowChange =>
  change("update", ordersShape, ordinal, [id, was], [id, now]);
const insert = (ordinal: number, id: string, text: string): RowChange =>
  change("insert", ordersShape, ordinal, undefined, [id, text]);

function expectBalance(ledger: Ledger): void {
  const { changesIn, changesClaimed, changesFallback, changesUnchanged, changesParked } = ledger;
  expect(changesClaimed + changesFallback + changesUnchanged + changesParked).toBe(changesIn);
  for (const count of Object.values(ledger)) expect(count).toBeGreaterThanOrEqual(0);
}

describe("retry", () => {
  test("tells what waited in the order it came, and what comes afterwards behind it", async () => {
    await using b = await bench({
      "public.orders": [
        ["1", "a"],
        ["2", "a"],
      ],
    });
    await b.take([note(1, "1", "a", "bad"), note(2, "2", "a", "b")], [note(1, "1", "bad", "c")]);
    expect(await b.parked()).toEqual([
      "order-1 update VALUE_UNMAPPABLE",
      "order-1 update BEHIND_QUARANTINE",
    ]);
    expect(await b.events("order-2")).toEqual(['1 OrderBaselined "a"', '2 OrderNoted "b"']);
    expectBalance(await b.ledger());
    expect((await b.ledger()).changesParked).toBe(2);
    b.refusal.word = undefined;
    await b.decide("order-1", "retry");
    await b.take([note(1, "1", "c", "d")]);
    expect(await b.events("order-1")).toEqual([
      '1 OrderBaselined "a"',
      '2 OrderNoted "bad"',
      '3 OrderNoted "c"',
      '4 OrderNoted "d"',
    ]);
    expect(await b.parked()).toEqual([]);
    expect(await b.ledger()).toMatchObject({ changesIn: 4, changesClaimed: 4, changesParked: 0 });
  });

  test("parks anew what fails again, with all that waits behind it, however often", async () => {
    await using b = await bench({ "public.orders": [["1", "a"]] });
    await b.take([note(1, "1", "a", "bad")], [note(1, "1", "bad", "c")]);
    for (let round = 0; round < 3; round++) {
      await b.decide(undefined, "retry");
      expect(await b.parked()).toEqual([
        "order-1 update VALUE_UNMAPPABLE",
        "order-1 update BEHIND_QUARANTINE",
      ]);
      expect(await b.ledger()).toMatchObject({ changesIn: 2, changesParked: 2, changesClaimed: 0 });
    }
    await b.take([note(1, "1", "c", "d")]);
    expect(await b.parked()).toHaveLength(3);
    b.refusal.word = undefined;
    await b.decide(undefined, "retry");
    expect(await b.events("order-1")).toHaveLength(4);
    expectBalance(await b.ledger());
  });

  test("is carried out at the next start when the pipeline was down", async () => {
    await using b = await bench({ "public.orders": [["1", "a"]] });
    await b.take([note(1, "1", "a", "bad")]);
    await b.stop();
    await b.store.quarantine.decide("orders", "order-1", "retry");
    b.refusal.word = undefined;
    await b.start();
    await eventually(async () => (await b.events("order-1")).length === 2);
    await b.take([note(1, "1", "bad", "c")]);
    expect(await b.events("order-1")).toHaveLength(3);
    expect(await b.parked()).toEqual([]);
  });

  test("of more than are read at once keeps their order, and new changes behind them", async () => {
    await using b = await bench({ "public.orders": [["1", "0"]] });
    const count = 2_100;
    await b.take([note(1, "1", "0", "bad")]);
    const more = Array.from({ length: count }, (_, i) => [
      note(1, "1", i === 0 ? "bad" : String(i), String(i + 1)),
    ]);
    await b.take(...more);
    expect((await b.ledger()).changesParked).toBe(count + 1);
    b.refusal.word = undefined;
    await b.decide("order-1", "retry");
    await b.take([note(1, "1", String(count), "last")]);
    const events = await b.events("order-1");
    expect(events).toHaveLength(count + 3);
    expect(events.slice(1, 3)).toEqual(['2 OrderNoted "bad"', '3 OrderNoted "1"']);
    expect(events.slice(2, -1)).toEqual(more.map((_, i) => `${i + 3} OrderNoted "${i + 1}"`));
    expectBalance(await b.ledger());
  });
});

describe("skip", () => {
  test("drops the first and tells the rest, and the ledger still knows of the one", async () => {
    await using b = await bench({ "public.orders": [["1", "a"]] });
    await b.take([note(1, "1", "a", "bad")], [note(1, "1", "bad", "c")]);
    await b.decide("order-1", "skip");
    expect(await b.events("order-1")).toEqual(['1 OrderBaselined "a"', '2 OrderNoted "c"']);
    expect(await b.parked()).toEqual([]);
    expect(await b.ledger()).toMatchObject({ changesIn: 2, changesClaimed: 1, changesParked: 1 });
  });

  test("of more than are read at once drops the first of all, and no other", async () => {
    await using b = await bench({ "public.orders": [["1", "0"]] });
    const count = 2_100;
    await b.take([note(1, "1", "0", "bad")]);
    const more = Array.from({ length: count }, (_, i) => [
      note(1, "1", i === 0 ? "bad" : String(i), String(i + 1)),
    ]);
    await b.take(...more);
    await b.decide("order-1", "skip");
    expect((await b.events("order-1")).slice(1)).toEqual(
      more.map((_, i) => `${i + 2} OrderNoted "${i + 1}"`),
    );
    expect(await b.ledger()).toMatchObject({ changesIn: count + 1, changesParked: 1 });
  });

  test("drops one change only, though the next cannot be told either", async () => {
    await using b = await bench({ "public.orders": [["1", "a"]] });
    await b.take(
      [note(1, "1", "a", "bad")],
      [note(1, "1", "bad", "bad 2")],
      [note(1, "1", "bad 2", "c")],
    );
    await b.decide("order-1", "skip");
    expect(await b.parked()).toEqual([
      "order-1 update VALUE_UNMAPPABLE",
      "order-1 update BEHIND_QUARANTINE",
    ]);
    await b.decide("order-1", "skip");
    expect(await b.events("order-1")).toEqual(['1 OrderBaselined "a"', '2 OrderNoted "c"']);
    expectBalance(await b.ledger());
  });
});

describe("a row that moved between two streams", () => {
  test("waits on the side that cannot be told, and is whole once that is released", async () => {
    await using b = await bench({ "public.orders": [["1", "a"]] });
    await b.take([change("update", ordersShape, 1, ["1", "a"], ["2", "bad"])]);
    expect(await b.parked()).toEqual(["order-2 update VALUE_UNMAPPABLE"]);
    expect(await b.events("order-1")).toEqual(['1 OrderBaselined "a"', "2 OrderAmended null"]);
    expectBalance(await b.ledger());
    b.refusal.word = undefined;
    await b.decide("order-2", "retry");
    expect(await b.events("order-2")).toEqual(['1 OrderPlaced "bad"']);
    expect(await b.ledger()).toMatchObject({ changesIn: 1, changesParked: 0 });
    expectBalance(await b.ledger());
  });
});

describe("a TRUNCATE", () => {
  const truncate: Change = { kind: "truncate", table: ordersShape, ordinal: 1 };

  test("right after a start removes what that start has just released", async () => {
    await using b = await bench();
    await b.take([insert(1, "1", "bad")]);
    await b.stop();
    await b.store.quarantine.decide("orders", undefined, "retry");
    b.refusal.word = undefined;
    await b.start();
    await b.take([truncate]);
    expect(await b.events("order-1")).toEqual(['1 OrderPlaced "bad"', "2 OrderAmended null"]);
  });
});
