import { describe, expect, test } from "vitest";
import { MemoryEventStore } from "../../connectors/memory/event-store.ts";
import { child, inserted, stream, table } from "../../src/mapping/rules.ts";
import type { Change, RowChange } from "../../src/model/change.ts";
import type { SourceTable } from "../../src/model/table.ts";
import type { TailLimits } from "../../src/pipeline/tail.ts";
import { compileMapping } from "../../src/mapping/compile.ts";
import { Folder } from "../../src/projection/fold.ts";
import { foldStreams } from "../../src/projection/fold-streams.ts";
import { change, shape, transaction } from "../support/mapping-fixtures.ts";
import { startPipeline, type LivePipeline } from "../support/live-pipeline.ts";
import { eventually, partOf, ScriptedLog, type Rows } from "../support/scripted-log.ts";

const orders = table<{ id: string; note: string }>("orders");
const lines = table<{ id: string; order_id: string; sku: string }>("lines");
const never = new AbortController().signal;

function streamsWith(truncate: "events" | "refuse") {
  return {
    order: stream(orders, {
      children: { lines: child(lines, { order_id: "id" }) },
      events: {
        OrderPlaced: inserted(orders, {
          with: [lines],
          where: ({ note }) => {
            if (note === "bad") throw new Error("cannot say");
            return true;
          },
        }),
      },
      otherwise: "OrderAmended",
      truncate,
    }),
  };
}

const ROWS: Rows = {
  "public.orders": [
    ["1", "a"],
    ["2", "b"],
  ],
  "public.lines": [
    ["1", "1", "x"],
    ["2", "1", "y"],
    ["3", "2", "z"],
  ],
};

async function bench(
  options: {
    readonly truncate?: "events" | "refuse";
    readonly identity?: "full" | "default";
    readonly limits?: Partial<TailLimits>;
  } = {},
) {
  const { truncate = "events", identity = "full", limits = {} } = options;
  const shapes = [
    shape("public.orders", "*id:int8 note", identity),
    shape("public.lines", "*id:int8 order_id:int8 sku", identity),
  ] as const;
  const streams = streamsWith(truncate);
  const store = new MemoryEventStore();
  const log = new ScriptedLog(shapes, ROWS);
  const pipeline: LivePipeline = await startPipeline({
    name: "orders",
    openSource: () => log,
    store,
    streams,
    limits,
  });
  await pipeline.until(() => pipeline.status()?.phase === "tail");
  let taken = 0;
  return {
    store,
    log,
    pipeline,
    orders: shapes[0],
    lines: shapes[1],
    async take(changes: readonly Change[]): Promise<void> {
      log.emit(partOf(++taken, changes));
      await eventually(() => log.acknowledged.includes(transaction(taken).end));
    },
    /** Keys of the rows that the events leave, by role. */
    async rows(): Promise<Record<string, string[]>> {
      const folder = new Folder(await store.mappings(), compileMapping(streams, []).inverses());
      const keys: Record<string, string[]> = { order: [], lines: [] };
      for await (const { state } of foldStreams(store.readStreamType("order", never), folder))
        for (const [role, of] of state) for (const row of of.values()) keys[role]!.push(row["id"]!);
      return { order: keys["order"]!.sort(), lines: keys["lines"]!.sort() };
    },
    async balance(): Promise<void> {
      const ledger = (await store.pipeline("orders"))!.ledger;
      const { changesIn, changesClaimed, changesFallback, changesUnchanged, changesParked } =
        ledger;
      expect(changesClaimed + changesFallback + changesUnchanged + changesParked).toBe(changesIn);
    },
    [Symbol.asyncDispose]: () => pipeline[Symbol.asyncDispose](),
  };
}

const truncate = (of: SourceTable, ordinal: number): Change => ({
  kind: "truncate",
  table: of,
  ordinal,
});
const row = (
  kind: "insert" | "update" | "delete",
  of: SourceTable,
  ordinal: number,
  before: string[] | undefined,
  after: string[] | undefined,
): RowChange => change(kind, of, ordinal, before, after);

describe("TRUNCATE as events", () => {
  test("removes each row from its stream, and only those of that table", async () => {
    await using b = await bench();
    await b.take([truncate(b.lines, 1)]);
    expect(await b.rows()).toEqual({ order: ["1", "2"], lines: [] });
    const removed = [];
    for await (const { type, data } of b.store.readStream("order-1"))
      removed.push([type, data["$op"], data["id"]]);
    expect(removed.slice(1)).toEqual([
      ["OrderAmended", "delete", "1"],
      ["OrderAmended", "delete", "2"],
    ]);
    await b.balance();
  });

  test("of two tables at once, as by CASCADE, removes from both", async () => {
    await using b = await bench();
    await b.take([truncate(b.orders, 1), truncate(b.lines, 2)]);
    expect(await b.rows()).toEqual({ order: [], lines: [] });
    await b.balance();
  });

  test("knows what the same transaction did before, and leaves what it did after", async () => {
    await using b = await bench();
    await b.take([
      row("insert", b.lines, 1, undefined, ["9", "2", "new"]),
      row("delete", b.lines, 2, ["3", "2", "z"], undefined),
      row("update", b.lines, 3, ["1", "1", "x"], ["1", "2", "moved"]),
      truncate(b.lines, 4),
      row("insert", b.lines, 5, undefined, ["3", "2", "again"]),
    ]);
    expect(await b.rows()).toEqual({ order: ["1", "2"], lines: ["3"] });
    await b.take([truncate(b.lines, 1)]);
    expect(await b.rows()).toEqual({ order: ["1", "2"], lines: [] });
    await b.balance();
  });

  test("twice in one transaction removes nothing twice", async () => {
    await using b = await bench();
    await b.take([
      truncate(b.lines, 1),
      row("insert", b.lines, 2, undefined, ["7", "1", "between"]),
      truncate(b.lines, 3),
    ]);
    expect(await b.rows()).toEqual({ order: ["1", "2"], lines: [] });
    const { events } = await b.store.readAll(undefined, 100);
    const deletions = events.filter(({ data }) => data["$op"] === "delete");
    expect(deletions.map(({ data }) => String(data["id"])).toSorted()).toEqual([
      "1",
      "2",
      "3",
      "7",
    ]);
    expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
  });

  test("in a stream that waits in quarantine waits there too, and is told after what was before it", async () => {
    await using b = await bench();
    await b.take([row("insert", b.orders, 1, undefined, ["5", "bad"])]);
    await b.take([row("insert", b.lines, 1, undefined, ["50", "5", "waits"])]);
    await b.take([truncate(b.lines, 1)]);
    expect(await b.rows()).toEqual({ order: ["1", "2"], lines: [] });
    const parked = await b.store.quarantine.list({ pipeline: "orders", stream: "order-5" });
    expect(parked.map(({ table: of, operation }) => `${of} ${operation}`)).toEqual([
      "public.orders insert",
      "public.lines insert",
      "public.lines delete",
    ]);
    await b.store.quarantine.decide("orders", "order-5", "skip");
    await eventually(async () => (await b.store.quarantine.count("orders")) === 0);
    expect(await b.rows()).toEqual({ order: ["1", "2"], lines: [] });
    await b.balance();
  });

  test("goes by what was captured, though a service has written to a stream too", async () => {
    await using b = await bench();
    const id = "00000000-0000-7000-8000-000000000001";
    await b.store.append("order-1", [{ id, type: "OrderClosed", data: {} }], "exists");
    await b.take([truncate(b.lines, 1)]);
    const told = [];
    for await (const { type, data } of b.store.readStream("order-1"))
      told.push(`${type} ${String(data["$op"])}`);
    expect(told.slice(1)).toEqual([
      "OrderClosed undefined",
      "OrderAmended delete",
      "OrderAmended delete",
    ]);
  });

  test("forgets the images that were kept of the rows", async () => {
    await using b = await bench({ identity: "default" });
    await b.take([truncate(b.lines, 1), row("insert", b.lines, 2, undefined, ["1", "2", "fresh"])]);
    await b.take([change("update", b.lines, 1, undefined, ["1", "2", "changed"])]);
    const events = [];
    for await (const { data } of b.store.readStream("order-2")) events.push(data);
    expect(events.at(-1)).toMatchObject({ sku: "changed", $was: { sku: "fresh" } });
    await b.take([change("delete", b.lines, 1, ["2", undefined, undefined], undefined)]);
    const parked = await b.store.quarantine.list({ pipeline: "orders" });
    expect(parked.map(({ code }) => code)).toEqual(["BEFORE_IMAGE_MISSING"]);
  });
});

describe("a TRUNCATE that cannot be told ends the run, and leaves nothing of its transaction", () => {
  const expectNothing = async (
    b: Awaited<ReturnType<typeof bench>>,
    hint: RegExp,
  ): Promise<void> => {
    await expect(b.pipeline.until(() => false)).rejects.toMatchObject({
      code: "TRUNCATE_REFUSED",
      hint: expect.stringMatching(hint) as unknown,
    });
    expect(await b.rows()).toEqual({ order: ["1", "2"], lines: ["1", "2", "3"] });
    expect(b.log.acknowledged).not.toContain(transaction(1).end);
  };

  test("because the config does not allow it", async () => {
    await using b = await bench({ truncate: "refuse" });
    const before = row("insert", b.lines, 1, undefined, ["9", "1", "new"]);
    b.log.emit(partOf(1, [before, truncate(b.lines, 2)]));
    await expectNothing(b, /truncate: "events"/);
  });

  test("because its transaction is beyond the bound on memory: the hint says which bound", async () => {
    await using b = await bench({ limits: { transactionChangesMax: 1 } });
    b.log.emit(
      partOf(1, [row("insert", b.lines, 1, undefined, ["9", "1", "new"])], { last: false }),
    );
    b.log.emit(partOf(1, [truncate(b.lines, 2)]));
    await expectNothing(b, /transactionChangesMax/);
  });
});

test("a TRUNCATE of a table that no stream maps passes by, in a large transaction too", async () => {
  await using b = await bench({ limits: { transactionChangesMax: 1 } });
  const audit = shape("public.audit", "*id:int8");
  b.log.emit(partOf(1, [truncate(audit, 1)], { last: false }));
  b.log.emit(partOf(1, [row("insert", b.lines, 2, undefined, ["9", "1", "new"])]));
  await eventually(() => b.log.acknowledged.includes(transaction(1).end));
  expect((await b.rows())["lines"]).toEqual(["1", "2", "3", "9"]);
});
