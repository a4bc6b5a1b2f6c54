import { describe, expect, test } from "vitest";
import {
  becomes,
  changed,
  changes,
  child,
  deleted,
  inserted,
  is,
  stream,
  table,
  updated,
  was,
} from "../../src/mapping/rules.ts";
import { change, compile, mapAll, shape, told } from "../support/mapping-fixtures.ts";

interface OrderRow {
  id: string;
  status: "placed" | "paid" | "shipped";
  total: string;
  paid_at: string | null;
  note: string | null;
}
interface LineRow {
  order_id: string;
  line_no: number;
  sku: string;
}
const orders = table<OrderRow>("orders");
const lines = table<LineRow>("order_lines");
const ordersShape = shape(
  "public.orders",
  "*id:int8 status total:numeric paid_at:timestamptz note",
);
const linesShape = shape("public.order_lines", "*order_id:int8 *line_no:int4 sku");
const streams = {
  order: stream(orders, {
    children: { lines: child(lines, { order_id: "id" }) },
    events: {
      OrderPlaced: inserted(orders, { with: [lines] }),
      OrderPaid: updated(orders, { status: becomes("paid") }, { data: ["paid_at"] }),
      OrderPriceChanged: updated(orders, changed("total")),
      OrderLineAdded: inserted(lines),
      OrderLineRemoved: deleted(lines),
    },
    otherwise: "OrderAmended",
  }),
};
const placed = ["7", "placed", "10.00", null, "hello"];
const paid = ["7", "paid", "10.00", "2026-01-31 10:00:00.5+00", "hello"];

describe("mapping a transaction", () => {
  const mapping = compile(streams, [ordersShape, linesShape]);

  test("an order and its lines inserted together are one event", () => {
    const out = mapAll(mapping, [
      [
        change("insert", ordersShape, 1, undefined, placed),
        change("insert", linesShape, 2, undefined, ["7", "1", "a"]),
        change("insert", linesShape, 3, undefined, ["7", "2", "b"]),
      ],
    ]);
    expect(told(out)).toEqual([
      {
        stream: "order-7",
        type: "OrderPlaced",
        data: {
          id: "7",
          status: "placed",
          total: "10.00",
          paid_at: null,
          note: "hello",
          lines: [
            { order_id: "7", line_no: 1, sku: "a" },
            { order_id: "7", line_no: 2, sku: "b" },
          ],
        },
      },
    ]);
    expect(out.counts).toMatchObject({ changesIn: 3, claimed: 3, parked: 0 });
  });

  test("a line that was touched before its order is not told with it", () => {
    const out = mapAll(mapping, [
      [
        change("insert", linesShape, 1, undefined, ["7", "1", "a"]),
        change("insert", ordersShape, 2, undefined, placed),
        change("delete", linesShape, 3, ["7", "1", "a"], undefined),
        change("insert", linesShape, 4, undefined, ["7", "1", "b"]),
      ],
    ]);
    expect(told(out).map((event) => event.type)).toEqual([
      "OrderLineAdded",
      "OrderPlaced",
      "OrderLineRemoved",
      "OrderLineAdded",
    ]);
  });

  test("one change may be told by several events, and what is left by the fallback", () => {
    const after = ["7", "paid", "12.00", "2026-01-31 10:00:00.5+00", "bye"];
    const out = mapAll(mapping, [[change("update", ordersShape, 1, placed, after)]]);
    expect(told(out)).toEqual([
      {
        stream: "order-7",
        type: "OrderPaid",
        data: {
          id: "7",
          status: "paid",
          paid_at: "2026-01-31T10:00:00.5Z",
          $was: { status: "placed", paid_at: null },
        },
      },
      {
        stream: "order-7",
        type: "OrderPriceChanged",
        data: { id: "7", total: "12.00", $was: { total: "10.00" } },
      },
      {
        stream: "order-7",
        type: "OrderAmended",
        data: { $row: "order", $op: "update", id: "7", note: "bye", $was: { note: "hello" } },
      },
    ]);
    expect(out.counts).toMatchObject({ changesIn: 1, fallback: 1, claimed: 0 });
  });

  test("an update that changes nothing gives no event and is counted", () => {
    const out = mapAll(mapping, [[change("update", ordersShape, 1, placed, [...placed])]]);
    expect(out.events.length).toBe(0);
    expect(out.counts).toMatchObject({ changesIn: 1, unchanged: 1 });
  });

  test("a changed key is a removal and an arrival linked by one causation id", () => {
    const moved = ["8", ...placed.slice(1)];
    const out = mapAll(mapping, [[change("update", ordersShape, 1, placed, moved)]]);
    expect(told(out).map(({ stream: id, type }) => [id, type])).toEqual([
      ["order-7", "OrderAmended"],
      ["order-8", "OrderPlaced"],
    ]);
    expect(out.events.causationIds.size).toBe(2);
    expect(new Set(out.events.causationIds.values()).size).toBe(1);
  });

  test("a child moved to another parent is removed there and added here", () => {
    const out = mapAll(mapping, [
      [change("update", linesShape, 1, ["7", "1", "a"], ["9", "1", "a"])],
    ]);
    expect(told(out).map(({ stream: id, type }) => [id, type])).toEqual([
      ["order-7", "OrderLineRemoved"],
      ["order-9", "OrderLineAdded"],
    ]);
    expect(out.counts).toMatchObject({ claimed: 1 });
  });

  test("a large value that the log did not repeat is taken from the old row", async () => {
    const { completeImages } = await import("../../src/mapping/row-images.ts");
    const update = change("update", ordersShape, 1, placed, [
      "7",
      "paid",
      "10.00",
      null,
      undefined,
    ]);
    await completeImages([update], mapping, () => Promise.reject(new Error("not needed")));
    expect(told(mapAll(mapping, [[update]]))[0]!.data).toEqual({
      id: "7",
      status: "paid",
      paid_at: null,
      $was: { status: "placed" },
    });
  });

  test("ids are the same for the same change and differ between events", () => {
    const after = ["7", "paid", "12.00", null, "bye"];
    const history = [
      [change("insert", ordersShape, 1, undefined, placed)],
      [
        change("update", ordersShape, 1, placed, after),
        change("delete", ordersShape, 2, after, undefined),
      ],
    ];
    const idsOf = (): string[] => {
      const { events } = mapAll(mapping, history);
      return Array.from({ length: events.length }, (_, i) =>
        Buffer.from(events.ids.subarray(i * 16, i * 16 + 16)).toString("hex"),
      );
    };
    const ids = idsOf();
    expect(idsOf()).toEqual(ids);
    expect(new Set(ids).size).toBe(ids.length);
    for (const id of ids) {
      expect(id[12]).toBe("8");
      expect("89ab").toContain(id[16]);
    }
  });

  test("intent becomes metadata of all events of the transaction", () => {
    const intent = { actor: "anna", correlationId: "c1", metadata: { reason: "phone call" } };
    const { events } = mapAll(mapping, [[change("update", ordersShape, 1, placed, paid)]], intent);
    expect(events.contexts[0]).toMatchObject({
      actor: "anna",
      correlationId: "c1",
      metadata: '{"reason":"phone call"}',
      sourceTransaction: "1001",
    });
  });
});

describe("conditions", () => {
  const ruled = (events: Parameters<typeof stream<OrderRow>>[1]["events"]) =>
    compile({ order: stream(orders, { events: events!, otherwise: "Other" }) }, [ordersShape]);
  const typesOf = (
    events: Parameters<typeof stream<OrderRow>>[1]["events"],
    before: string[],
    after: string[],
  ) =>
    told(mapAll(ruled(events), [[change("update", ordersShape, 1, before, after)]])).map(
      (e) => e.type,
    );
  const a = ["7", "placed", "1", "", "x"];
  const b = ["7", "paid", "2", "", "y"];

  test("was() and is() look at the old and the new value", () => {
    expect(
      typesOf({ A: updated(orders, { status: was("placed"), total: changes() }) }, a, b),
    ).toEqual(["A", "Other"]);
    expect(
      typesOf({ A: updated(orders, { status: is("placed"), total: changes() }) }, a, b),
    ).toEqual(["Other"]);
  });
  test("a column that an earlier rule claimed does not fire a later one", () => {
    const rules = {
      A: updated(orders, { status: becomes("paid") }, { data: ["total"] }),
      B: updated(orders, changed("total")),
      C: updated(orders, changed("note")),
    };
    expect(typesOf(rules, a, b)).toEqual(["A", "C"]);
  });
  test("a predicate sees rows as JSON values", () => {
    const rules = {
      A: updated(
        orders,
        { total: changes() },
        { where: (now, old) => Number(now.total) > Number(old.total) },
      ),
    };
    expect(typesOf(rules, a, ["7", "placed", "2", "", "x"])).toEqual(["A"]);
    expect(typesOf(rules, ["7", "placed", "3", "", "x"], ["7", "placed", "2", "", "x"])).toEqual([
      "Other",
    ]);
  });
});

describe("what cannot be mapped", () => {
  test("a change is parked, blocks its stream, and the others go on", () => {
    const mapping = compile(
      {
        order: stream(orders, {
          events: {
            Odd: updated(orders, changed("note"), {
              where: (now) => {
                if (now.note === "bad") throw new Error("cannot say");
                return true;
              },
            }),
          },
          otherwise: "Other",
        }),
      },
      [ordersShape],
    );
    const row = (id: string, note: string): string[] => [id, "placed", "1", "", note];
    const out = mapAll(mapping, [
      [change("update", ordersShape, 1, row("7", "a"), row("7", "bad"))],
      [change("update", ordersShape, 1, row("7", "bad"), row("7", "c"))],
      [change("update", ordersShape, 1, row("8", "a"), row("8", "b"))],
    ]);
    expect(told(out).map((event) => event.stream)).toEqual(["order-8"]);
    expect(out.parked.map(({ stream: id, code, reason }) => [id, code, reason])).toEqual([
      ["order-7", "VALUE_UNMAPPABLE", '"where" of rule Odd threw: cannot say'],
      ["order-7", "BEHIND_QUARANTINE", "waits behind an earlier change of its stream"],
    ]);
    const { changesIn, claimed, fallback, unchanged, parked } = out.counts;
    expect(changesIn).toBe(claimed + fallback + unchanged + parked);
  });

  test("a function whose inverse does not hold parks the change instead of losing a value", () => {
    const mapping = compile(
      {
        order: stream(orders, {
          events: {
            Repriced: updated(orders, changed("total"), {
              transform: {
                columns: ["total"],
                to: (now) => ({ cents: Math.round(Number(now.total) * 10) }),
                from: (data) => ({ total: (Number(data["cents"]) / 10).toFixed(2) }),
              },
            }),
          },
          otherwise: "Other",
        }),
      },
      [ordersShape],
    );
    const row = (total: string): (string | null)[] => ["7", "placed", total, null, null];
    const good = mapAll(mapping, [[change("update", ordersShape, 1, row("1.00"), row("2.50"))]]);
    expect(told(good)[0]).toMatchObject({ type: "Repriced", data: { $data: { cents: 25 } } });
    const bad = mapAll(mapping, [[change("update", ordersShape, 1, row("1.00"), row("2.55"))]]);
    expect(bad.events.length).toBe(0);
    expect(bad.parked[0]).toMatchObject({ code: "VALUE_UNMAPPABLE" });
  });

  test("a function whose inverse leaves a column out that became NULL parks the change", () => {
    const mapping = compile(
      {
        order: stream(orders, {
          events: {
            Noted: updated(orders, changed("note"), {
              transform: {
                columns: ["note"],
                to: ({ note }) => (note === null ? {} : { words: note.split(" ") }),
                from: ({ words }) =>
                  words === undefined ? {} : { note: (words as string[]).join(" ") },
              },
            }),
          },
          otherwise: "Other",
        }),
      },
      [ordersShape],
    );
    const row = (note: string | null): (string | null)[] => ["7", "placed", "1", null, note];
    const out = mapAll(mapping, [
      [change("update", ordersShape, 1, row("a"), row("b c"))],
      [change("update", ordersShape, 1, row("b c"), row(null))],
    ]);
    expect(told(out).map(({ type }) => type)).toEqual(["Noted"]);
    expect(out.parked.map(({ code }) => code)).toEqual(["VALUE_UNMAPPABLE"]);
  });

  test("TRUNCATE is refused by default", () => {
    const mapping = compile(streams, [ordersShape, linesShape]);
    expect(() => mapAll(mapping, [[{ kind: "truncate", table: ordersShape, ordinal: 1 }]])).toThrow(
      expect.objectContaining({ code: "TRUNCATE_REFUSED" }),
    );
  });
});

describe("a mapping that does not fit", () => {
  test("lists every problem at once", () => {
    const bad = {
      order: stream(orders, {
        children: { lines: child(lines, { order_id: "nope" as "id" }) },
        validTime: "gone" as "note",
        events: {
          A: updated(orders, { colour: becomes("red") } as never),
          Other: inserted(orders),
          B: inserted(table("elsewhere")),
        },
        otherwise: "Other",
      }),
      "bad-name": stream(orders, { otherwise: "X" }),
    };
    let message = "";
    try {
      compile(bad, [ordersShape, linesShape]);
    } catch (error) {
      message = (error as Error).message;
    }
    for (const part of [
      'column "colour"',
      '"gone"',
      "rule Other has the name",
      "public.elsewhere",
      'stream "bad-name"',
      "belongs to both",
      "refers to (nope)",
    ]) {
      expect(message).toContain(part);
    }
  });

  test("a dropped column that a rule uses stops the table's streams with an error that names the rule", () => {
    const mapping = compile(streams, [ordersShape, linesShape]);
    mapping.adopt({ ...ordersShape });
    const without = shape("public.orders", "*id:int8 status paid_at:timestamptz note");
    const drift = mapping.adopt(without);
    expect(drift).toMatchObject({ dropped: ["total"], broken: { code: "SCHEMA_DRIFT" } });
    expect(drift!.broken!.message).toContain("OrderPriceChanged");
    const out = mapAll(mapping, [
      [change("insert", without, 1, undefined, ["7", "placed", null, null])],
    ]);
    expect(out.parked[0]).toMatchObject({ code: "SCHEMA_DRIFT", stream: "order-7" });
  });

  test("a new column flows into the fallback and is reported", () => {
    const mapping = compile(streams, [ordersShape, linesShape]);
    const wider = shape(
      "public.orders",
      "*id:int8 status total:numeric paid_at:timestamptz note colour",
    );
    expect(mapping.adopt(wider)).toMatchObject({ added: ["colour"], broken: undefined });
    const out = mapAll(mapping, [
      [change("update", wider, 1, [...placed, null], [...placed, "red"])],
    ]);
    expect(told(out)[0]!.data).toMatchObject({
      $row: "order",
      colour: "red",
      $was: { colour: null },
    });
  });
});
