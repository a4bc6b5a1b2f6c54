import { expect, test } from "vitest";
import { child, stream, table } from "../../src/mapping/rules.ts";
import { idPrefix } from "../../src/mapping/event-id.ts";
import type { Position } from "../../src/model/position.ts";
import type { Cells } from "../../src/model/table.ts";
import { baselineContext, baselineStages, type Stage } from "../../src/pipeline/baseline-events.ts";
import { ChunkCut } from "../../src/pipeline/chunk-cut.ts";
import { gapStages } from "../../src/pipeline/gap-stages.ts";
import type { ChunkKey, RowSnapshot } from "../../src/source/change-source.ts";
import { compile, shape } from "../support/mapping-fixtures.ts";

const order = shape("public.order", "*id:int8 note");
const line = shape("public.line", "*id:int8 order_id:int8 text");
const streams = {
  order: stream(table("order"), {
    children: { lines: child(table("line"), { order_id: "id" }) },
    otherwise: "OrderAmended",
  }),
};
const mapping = compile(streams, [order, line]);
const mappers = [order, line].map((of) => mapping.mapperOf(of)!);
const plan = mapping.stream("order")!;
const never = new AbortController().signal;
const position = `${"0".repeat(16)}/00000000` as Position;
const facts = {
  prefix: idPrefix("0".repeat(16)),
  context: baselineContext(1),
  position,
  tag: 1,
  ordinal: 0,
};
const LARGE = "x".repeat(600_000);

/** In groups of one row, and counts those that were asked for. */
function rowsOf(orders: readonly Cells[], lines: readonly Cells[]) {
  const read = { orders: 0, lines: 0 };
  const snapshot: Pick<RowSnapshot, "readRows"> = {
    async *readRows(of) {
      for (const row of of === order ? orders : lines) {
        read[of === order ? "orders" : "lines"] += 1;
        yield [row];
      }
    },
  };
  return { snapshot, read };
}

async function streamsOf(stages: AsyncIterable<Stage>): Promise<string[]> {
  const all: string[] = [];
  for await (const { events } of stages) all.push(...events.streams.slice(0, events.length));
  return all;
}

const ORDERS: Cells[] = [1, 2, 3, 4, 5].map((id) => [String(id), "n"]);

test("a chunk that takes too long ends behind a whole aggregate, and reads nothing far behind it", async () => {
  // Of the second there are more rows than are in one group.
  const lines: Cells[] = Array.from({ length: 60 }, (_, i) => [
    String(i),
    i < 30 ? "2" : "4",
    LARGE,
  ]);
  const { snapshot, read } = rowsOf(ORDERS, lines);
  const cut = new ChunkCut(() => read.lines, 4);
  const told = await streamsOf(baselineStages(snapshot, plan, mappers, { ...facts, cut }, never));
  expect([...new Set(told)]).toEqual(["order-1", "order-2"]);
  expect(told.length).toBeGreaterThan(10);
  expect(cut.key).toEqual(["2"]);
  expect(cut.aggregates).toBe(2);
  expect(read.lines).toBeLessThan(45);
});

test("one aggregate at least is read, and one whose root is not there ends a chunk by its own rows", async () => {
  const { snapshot } = rowsOf(ORDERS.slice(2), [["7", "1", "orphan"]]);
  const cut = new ChunkCut(() => 1, 0);
  const told = await streamsOf(baselineStages(snapshot, plan, mappers, { ...facts, cut }, never));
  expect(told).toEqual(["order-1"]);
  expect(cut.key).toEqual(["1"]);
});

test("a chunk is not ended between rows without a whole key, nor behind the last aggregate", async () => {
  const orphans: Cells[] = Array.from({ length: 9 }, (_, i) => [String(i), null, LARGE]);
  const { snapshot, read } = rowsOf(ORDERS, orphans);
  const cut = new ChunkCut(() => (read.orders === 5 ? read.lines : 0), 3);
  const told = await streamsOf(baselineStages(snapshot, plan, mappers, { ...facts, cut }, never));
  expect(read.lines).toBe(9);
  expect(told.filter((id) => id !== "order-\\0")).toEqual(
    ["1", "2", "3", "4", "5"].map((id) => `order-${id}`),
  );
  expect(cut.key).toBeUndefined();
});

test("what the store has behind the end of a chunk that ends early is not gone", async () => {
  const stored = ["1", "2", "3", "4", "5", "6"].map((id) => ({
    stream: `order-${id}`,
    isCaptured: true,
  }));
  const asked: (ChunkKey | undefined)[] = [];
  const { snapshot } = rowsOf([ORDERS[0]!, ORDERS[2]!, ORDERS[4]!], []);
  let aggregates = 0;
  const cut = new ChunkCut(() => (aggregates += 1) - 1, 0);
  const more = {
    cut,
    gap: { reason: "a test", since: [{ from: position }], gone: 0, moved: 0 },
    order: ["integer"] as const,
    isMoved: () => false,
    begunSince: () => Promise.resolve(new Set<string>()),
    stored: (end: ChunkKey | undefined) => {
      asked.push(end);
      return stored.filter((_, i) => end === undefined || i < Number(end[0]));
    },
  };
  const stages = gapStages(snapshot, plan, mappers, { ...facts, ...more }, never);
  expect(await streamsOf(stages)).toEqual(["order-1", "order-3", "order-2"]);
  expect(asked).toEqual([undefined, ["3"]]);
});
