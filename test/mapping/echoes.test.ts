import { describe, expect, test } from "vitest";
import { ChangeMapper, type Refusal } from "../../src/mapping/change-mapper.ts";
import { unparkChange, type ParkedPayload } from "../../src/mapping/parked-change.ts";
import { child, inserted, stream, table } from "../../src/mapping/rules.ts";
import type { Change, Echo } from "../../src/model/change.ts";
import { emptyOutput } from "../../src/pipeline/event-writer.ts";
import { change, compile, shape, transaction } from "../support/mapping-fixtures.ts";

const orders = table<{ id: string; note: string }>("orders");
const lines = table<{ id: string; order_id: string }>("lines");
const ordersShape = shape("public.orders", "*id:int8 note");
const linesShape = shape("public.lines", "*id:int8 order_id:int8");
const mapping = compile(
  {
    order: stream(orders, {
      children: { lines: child(lines, { order_id: "id" }) },
      events: { OrderPlaced: inserted(orders, { with: [lines] }) },
      otherwise: "OrderAmended",
    }),
  },
  [ordersShape, linesShape],
);
const REFUSED: Refusal = { code: "FOREIGN_WRITE", reason: "not legacy's" };

function map(
  changes: readonly Change[],
  { echo = [], refused = [] }: { readonly echo?: Echo[]; readonly refused?: string[] } = {},
  mapper = new ChangeMapper(mapping, 1),
) {
  const out = emptyOutput();
  const whole = { ...transaction(1), echo };
  mapper.map(whole, changes, undefined, out, new Map(refused.map((one) => [one, REFUSED])));
  const { events, parked, counts } = out;
  const told = events.streams.slice(0, events.length).map((one, i) => `${one} ${events.types[i]}`);
  const waits = parked.map(({ stream: one, operation, code }) => `${one} ${operation} ${code}`);
  const { changesIn, claimed, fallback, unchanged, echoed } = counts;
  expect(claimed + fallback + unchanged + echoed + counts.parked).toBe(changesIn);
  return { told, waits, counts, parked };
}

const echoOf = (id: string): Echo => ({ stream: `order-${id}`, version: 3 });
const update = (id: string): Change => change("update", ordersShape, 1, [id, "a"], [id, "b"]);
const move = (from: string, to: string): Change =>
  change("update", linesShape, 2, ["9", from], ["9", to]);

describe("an echo", () => {
  test("becomes no event and is counted; what else the transaction changed is told", () => {
    const { told, counts } = map([update("1"), update("2")], { echo: [echoOf("1")] });
    expect(told).toEqual(["order-2 OrderAmended"]);
    expect(counts).toMatchObject({ changesIn: 2, echoed: 1, fallback: 1 });
  });

  test("of an inserted aggregate takes its children with it, and no other's", () => {
    const insertOf = (id: string, ordinal: number): Change[] => [
      change("insert", ordersShape, ordinal, undefined, [id, "new"]),
      change("insert", linesShape, ordinal + 1, undefined, [`${id}1`, id]),
    ];
    const { told, counts } = map([...insertOf("1", 1), ...insertOf("2", 3)], {
      echo: [echoOf("1")],
    });
    expect(told).toEqual(["order-2 OrderPlaced"]);
    expect(counts).toMatchObject({ changesIn: 4, echoed: 2, claimed: 2 });
  });

  test.each([
    ["the one left", ["1"], ["order-2 OrderAmended"], { echoed: 1, fallback: 0 }],
    ["the one joined", ["2"], ["order-1 OrderAmended"], { echoed: 0, fallback: 1 }],
    ["both", ["1", "2"], [], { echoed: 1, fallback: 0 }],
    [
      "neither",
      ["3"],
      ["order-1 OrderAmended", "order-2 OrderAmended"],
      { echoed: 0, fallback: 1 },
    ],
  ])("of a row that moved between two aggregates, when it is of %s", (_of, ids, told, counts) => {
    const mapped = map([move("1", "2")], { echo: ids.map(echoOf) });
    expect(mapped.told).toEqual(told);
    expect(mapped.counts).toMatchObject({ changesIn: 1, ...counts });
  });

  test("passes a stream that waits in quarantine, and blocks nothing", () => {
    const mapper = new ChangeMapper(mapping, 1);
    map([update("1")], { refused: ["order-1"] }, mapper);
    expect([...mapper.blocked]).toEqual(["order-1"]);
    const { told, waits } = map([update("1")], { echo: [echoOf("1")] }, mapper);
    expect({ told, waits }).toEqual({ told: [], waits: [] });
  });

  test("that is refused is parked with what it said, and without what it said of others", () => {
    const { waits, parked } = map([update("1")], {
      echo: [echoOf("1"), echoOf("2")],
      refused: ["order-1"],
    });
    expect(waits).toEqual(["order-1 update FOREIGN_WRITE"]);
    const payload = JSON.parse(JSON.stringify(parked[0]!.change)) as ParkedPayload;
    expect(payload.transaction.echo).toEqual([echoOf("1")]);
    const again = unparkChange(payload, ordersShape, mapping.columnsOf(ordersShape));
    expect(map([again], { echo: [...payload.transaction.echo!] }).counts.echoed).toBe(1);
  });
});

describe("a refused stream", () => {
  test("parks a root and the children that its insert would have taken, in order", () => {
    const { told, waits } = map(
      [
        change("insert", ordersShape, 1, undefined, ["1", "new"]),
        change("insert", linesShape, 2, undefined, ["9", "1"]),
      ],
      { refused: ["order-1"] },
    );
    expect(told).toEqual([]);
    expect(waits).toEqual(["order-1 insert FOREIGN_WRITE", "order-1 insert BEHIND_QUARANTINE"]);
  });

  test.each([
    ["left", "1", ["order-2 OrderAmended"], ["order-1 update FOREIGN_WRITE"]],
    ["joined", "2", ["order-1 OrderAmended"], ["order-2 update FOREIGN_WRITE"]],
  ])("parks its side of a row that %s it, and no other", (_side, id, told, waits) => {
    const mapped = map([move("1", "2")], { refused: [`order-${id}`] });
    expect(mapped).toMatchObject({ told, waits });
  });
});
