import { describe, expect, test } from "vitest";
import { emptyOutput } from "../../src/pipeline/event-writer.ts";
import { ChangeMapper } from "../../src/mapping/change-mapper.ts";
import {
  child,
  deleted,
  inserted,
  stream,
  table,
  updated,
  changed,
} from "../../src/mapping/rules.ts";
import type { Change } from "../../src/model/change.ts";
import { change, compile, mapAll, shape, told, transaction } from "../support/mapping-fixtures.ts";

interface OrderRow {
  id: string;
  note: string | null;
}
interface LineRow {
  id: string;
  order_id: string;
  sku: string;
}
const orders = table<OrderRow>("orders");
const lines = table<LineRow>("lines");
const ordersShape = shape("public.orders", "*id:int8 note");
/** A line's own key does not hold its order's. */
const linesShape = shape("public.lines", "*id:int8 order_id sku");

const streams = {
  order: stream(orders, {
    children: { lines: child(lines, { order_id: "id" }) },
    events: {
      OrderPlaced: inserted(orders, {
        with: [lines],
        where: (row) => {
          if (row.note === "bad insert") throw new Error("cannot say");
          return true;
        },
      }),
      OrderNoted: updated(orders, changed("note"), {
        where: (row) => {
          if (row.note === "bad update") throw new Error("cannot say");
          return true;
        },
      }),
      OrderRemoved: deleted(orders),
      LineAdded: inserted(lines),
      LineRemoved: deleted(lines),
    },
    otherwise: "OrderAmended",
  }),
};
const mapping = compile(streams, [ordersShape, linesShape]);

const insertOrder = (ordinal: number, id: string, note: string | null = null): Change =>
  change("insert", ordersShape, ordinal, undefined, [id, note]);
const insertLine = (ordinal: number, id: string, order: string, sku = "a"): Change =>
  change("insert", linesShape, ordinal, undefined, [id, order, sku]);
const deleteLine = (ordinal: number, id: string, order: string, sku = "a"): Change =>
  change("delete", linesShape, ordinal, [id, order, sku], undefined);

const typesOf = (out: ReturnType<typeof mapAll>): string[] =>
  told(out).map(({ stream: id, type }) => `${id} ${type}`);

describe("rows inserted after their root in its transaction", () => {
  test("are told with it, whatever happens to them later", () => {
    const out = mapAll(mapping, [
      [
        insertOrder(1, "7"),
        insertLine(2, "1", "7"),
        change("update", ordersShape, 3, ["7", null], ["7", "later"]),
        change("update", linesShape, 4, ["1", "7", "a"], ["1", "7", "b"]),
        deleteLine(5, "1", "7", "b"),
        insertLine(6, "1", "7", "c"),
      ],
    ]);
    expect(typesOf(out)).toEqual([
      "order-7 OrderPlaced",
      "order-7 OrderNoted",
      "order-7 OrderAmended",
      "order-7 LineRemoved",
      "order-7 LineAdded",
    ]);
    expect(told(out)[0]!.data).toMatchObject({ lines: [{ id: "1", sku: "a" }] });
  });

  test("count as told by name, as their root does", () => {
    const fresh = compile(streams, [ordersShape, linesShape]);
    mapAll(fresh, [[insertOrder(1, "7"), insertLine(2, "1", "7"), insertLine(3, "2", "7")]]);
    expect(fresh.coverage()).toMatchObject({
      changes: { named: 3, fallback: 0 },
      tables: [
        { table: "public.orders", inserts: { named: 1 } },
        { table: "public.lines", inserts: { named: 2 } },
      ],
    });
  });

  test("are told for themselves when they came first, as with a deferred foreign key", () => {
    const out = mapAll(mapping, [
      [insertLine(1, "1", "7"), insertOrder(2, "7"), insertLine(3, "2", "7")],
    ]);
    expect(typesOf(out)).toEqual(["order-7 LineAdded", "order-7 OrderPlaced"]);
    expect(told(out)[1]!.data).toMatchObject({ lines: [{ id: "2" }] });
  });

  test("go with the newer root when the root was removed and inserted again", () => {
    const out = mapAll(mapping, [
      [
        insertOrder(1, "7"),
        insertLine(2, "1", "7"),
        deleteLine(3, "1", "7"),
        change("delete", ordersShape, 4, ["7", null], undefined),
        insertOrder(5, "7"),
        insertLine(6, "2", "7"),
      ],
    ]);
    expect(typesOf(out)).toEqual([
      "order-7 OrderPlaced",
      "order-7 LineRemoved",
      "order-7 OrderRemoved",
      "order-7 OrderPlaced",
    ]);
    expect(told(out)[3]!.data).toMatchObject({ lines: [{ id: "2" }] });
  });

  test("do not depend on what happened in other streams", () => {
    // Line 1 leaves order 7 and comes to the new order 9 by a delete and an insert.
    const foreign = [deleteLine(1, "1", "7")];
    const own = [insertOrder(2, "9"), insertLine(3, "1", "9")];
    const alone = mapAll(mapping, [own]);
    const together = mapAll(mapping, [[...foreign, ...own]]);
    const ofNine = (out: ReturnType<typeof mapAll>) =>
      told(out).filter((e) => e.stream === "order-9");
    expect(ofNine(together)).toEqual(ofNine(alone));
    expect(ofNine(alone).map((e) => e.type)).toEqual(["OrderPlaced"]);
  });
});

describe("a root insert that cannot be told takes nothing with it", () => {
  const balanced = ({ counts }: ReturnType<typeof mapAll>): void => {
    const { changesIn, claimed, fallback, unchanged, parked } = counts;
    expect(claimed + fallback + unchanged + parked).toBe(changesIn);
  };

  test("when it fails itself, its rows are parked behind it", () => {
    const out = mapAll(mapping, [[insertOrder(1, "7", "bad insert"), insertLine(2, "1", "7")]]);
    expect(out.events.length).toBe(0);
    expect(out.parked.map((p) => [p.operation, p.code])).toEqual([
      ["insert", "VALUE_UNMAPPABLE"],
      ["insert", "BEHIND_QUARANTINE"],
    ]);
    balanced(out);
  });

  test("when an earlier change of its stream failed in the same transaction, no row is lost", () => {
    const out = mapAll(mapping, [
      [
        change("update", ordersShape, 1, ["7", null], ["7", "bad update"]),
        change("delete", ordersShape, 2, ["7", "bad update"], undefined),
        insertOrder(3, "7"),
        insertLine(4, "1", "7"),
      ],
    ]);
    expect(out.events.length).toBe(0);
    expect(out.parked.map((p) => [p.table, p.operation])).toEqual([
      ["public.orders", "update"],
      ["public.orders", "delete"],
      ["public.orders", "insert"],
      ["public.lines", "insert"],
    ]);
    balanced(out);
  });

  test("when its stream is blocked already, its rows wait too", () => {
    const mapper = new ChangeMapper(mapping, 1);
    mapper.blocked.add("order-7");
    const out = emptyOutput();
    mapper.map(transaction(1), [insertOrder(1, "7"), insertLine(2, "1", "7")], undefined, out);
    expect(out.parked.map((p) => p.code)).toEqual(["BEHIND_QUARANTINE", "BEHIND_QUARANTINE"]);
    balanced(out);
  });

  test("a row whose key is too long for a stream id is parked, and the others go on", () => {
    const long = "x".repeat(700);
    const out = mapAll(mapping, [
      [insertOrder(1, "7"), insertLine(2, "1", long), insertLine(3, "2", "7")],
    ]);
    expect(typesOf(out)).toEqual(["order-7 OrderPlaced"]);
    expect(told(out)[0]!.data).toMatchObject({ lines: [{ id: "2" }] });
    expect(out.parked.map((p) => p.code)).toEqual(["VALUE_UNMAPPABLE"]);
    balanced(out);
  });
});
