import { describe, expect, test } from "vitest";
import { ChangeMapper } from "../../src/mapping/change-mapper.ts";
import { compileMapping } from "../../src/mapping/compile.ts";
import { becomes, changed, inserted, stream, table, updated } from "../../src/mapping/rules.ts";
import type { Change } from "../../src/model/change.ts";
import { emptyOutput } from "../../src/pipeline/event-writer.ts";
import { change, shape, transaction } from "../support/mapping-fixtures.ts";

const orders = table<{ id: string; status: string; tracking: string; note: string }>("orders");
const ordersShape = shape("public.orders", "*id:int8 status tracking note");
const STREAMS = {
  order: stream(orders, {
    events: {
      OrderPlaced: inserted(orders, { when: { status: { kind: "is", values: ["new"] } } }),
      OrderShipped: updated(orders, { status: becomes("shipped") }),
      OrderNoted: updated(orders, changed("note")),
    },
    otherwise: "OrderAmended",
  }),
};

function mapped(...changes: readonly Change[]) {
  const mapping = compileMapping(STREAMS, [ordersShape]);
  new ChangeMapper(mapping, 1).map(transaction(1), changes, undefined, emptyOutput());
  return mapping.coverage();
}

let ordinal = 0;
const row = (status: string, tracking: string, note = ""): string[] => ["1", status, tracking, note]; // prettier-ignore
const update = (from: string[], to: string[]): Change =>
  change("update", ordersShape, (ordinal += 1), from, to);
const insert = (of: string[]): Change => change("insert", ordersShape, (ordinal += 1), undefined, of); // prettier-ignore
const remove = (of: string[]): Change => change("delete", ordersShape, (ordinal += 1), of, undefined); // prettier-ignore
const repeat = (count: number, make: () => Change): Change[] => Array.from({ length: count }, make);

describe("the coverage of a mapping", () => {
  test("counts per operation and column what was told by name and what by the fallback", () => {
    const coverage = mapped(
      insert(row("new", "")),
      insert(row("old", "")),
      update(row("new", ""), row("shipped", "")),
      update(row("new", ""), row("shipped", "T")),
      update(row("new", ""), row("new", "U")),
      update(row("new", "U"), row("new", "U")),
      update(row("new", ""), row("shipped", "", "n")),
      remove(row("new", "")),
    );
    expect(coverage.changes).toEqual({ named: 3, fallback: 4 });
    expect(coverage.tables).toEqual([
      {
        stream: "order",
        table: "public.orders",
        inserts: { named: 1, fallback: 1 },
        updates: { named: 2, fallback: 2 },
        deletes: { named: 0, fallback: 1 },
        columns: [
          { column: "status", named: 3, fallback: 0 },
          { column: "tracking", named: 0, fallback: 2 },
          { column: "note", named: 1, fallback: 0 },
        ],
      },
    ]);
    expect(coverage.suggestions).toEqual([]);
  });

  test("suggests the rule beside which a column changes, else one of its own, and for whole rows", () => {
    const { suggestions } = mapped(
      ...repeat(30, () => update(row("new", ""), row("shipped", "T"))),
      ...repeat(2, () => update(row("new", ""), row("new", "T"))),
      ...repeat(11, () => insert(row("old", ""))),
      ...repeat(12, () => remove(row("old", ""))),
      ...repeat(10, () => update(row("a", ""), row("b", ""))),
    );
    expect(suggestions.map(({ message }) => message)).toEqual([
      "public.orders.tracking changed 32 times only inside OrderAmended, 30 times beside OrderShipped: name it in the data of OrderShipped",
      "rows of public.orders were deleted 12 times inside OrderAmended: a rule deleted(…) would tell it",
      "rows of public.orders were inserted 11 times inside OrderAmended: a rule inserted(…) would tell it",
      'public.orders.status changed 10 times inside OrderAmended: a rule on changed("status") would tell it',
    ]);
    expect(suggestions[0]).toMatchObject({
      table: "public.orders",
      column: "tracking",
      changes: 32,
    });
  });

  test("of a mapping that nothing came to is empty", () => {
    expect(mapped()).toEqual({ changes: { named: 0, fallback: 0 }, tables: [], suggestions: [] });
  });
});
