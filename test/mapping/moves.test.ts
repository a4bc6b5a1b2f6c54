import { describe, expect, test } from "vitest";
import { emptyOutput } from "../../src/pipeline/event-writer.ts";
import { ChangeMapper, type MappedChanges } from "../../src/mapping/change-mapper.ts";
import { child, deleted, inserted, stream, table } from "../../src/mapping/rules.ts";
import { Folder, type StreamState } from "../../src/projection/fold.ts";
import type { Change } from "../../src/model/change.ts";
import { change, compile, mapAll, shape, told, transaction } from "../support/mapping-fixtures.ts";

const orders = table<{ id: string; note: string | null }>("orders");
const lines = table<{ order_id: string; line_no: number; sku: string }>("lines");
const ordersShape = shape("public.orders", "*id:int8 note");
const linesShape = shape("public.lines", "*order_id:int8 *line_no:int4 sku");

function failing(word: string, row: { readonly note: string | null }): boolean {
  if (row.note === word) throw new Error(`cannot say ${word}`);
  return true;
}

const mapping = compile(
  {
    order: stream(orders, {
      children: { lines: child(lines, { order_id: "id" }) },
      events: {
        OrderPlaced: inserted(orders, { where: (row) => failing("no arrival", row) }),
        OrderRemoved: deleted(orders, { where: (row) => failing("no departure", row) }),
      },
      otherwise: "OrderAmended",
    }),
  },
  [ordersShape, linesShape],
);

const move = (ordinal: number, from: string, to: string, was = "x", now = was): Change =>
  change("update", ordersShape, ordinal, [from, was], [to, now]);
const typesOf = (out: MappedChanges): string[] =>
  told(out).map(({ stream: id, type }) => `${id} ${type}`);

function balanced({ counts }: MappedChanges): void {
  const { changesIn, claimed, fallback, unchanged, parked } = counts;
  expect(claimed + fallback + unchanged + parked).toBe(changesIn);
}

/** The rows of all streams, folded. */
function folded(out: MappedChanges): Record<string, Record<string, unknown>> {
  const folder = new Folder(new Map([[1, mapping.definition()]]), mapping.inverses());
  const states = new Map<string, StreamState>();
  told(out).forEach(({ stream: id, type, data }, i) => {
    let state = states.get(id);
    if (state === undefined) states.set(id, (state = new Map()));
    const fact = { stream: id, version: i, type, mappingVersion: 1 };
    folder.apply(state, { ...fact, data: data as Record<string, unknown> });
  });
  return Object.fromEntries([...states].map(([id, state]) => [id, folder.toJson("order", state)]));
}

describe("a changed key", () => {
  test("three updates that swap two keys swap the rows of the two streams", () => {
    const swap = [
      move(1, "1", "99", "was one"),
      move(2, "2", "1", "was two"),
      move(3, "99", "2", "was one"),
    ];
    const start = [
      change("insert", ordersShape, 1, undefined, ["1", "was one"]),
      change("insert", ordersShape, 2, undefined, ["2", "was two"]),
    ];
    const out = mapAll(mapping, [start, swap]);
    expect(folded(out)).toEqual({
      "order-1": { id: "1", note: "was two", lines: [] },
      "order-2": { id: "2", note: "was one", lines: [] },
      "order-99": { lines: [] },
    });
    const ids = Array.from({ length: out.events.length }, (_, i) =>
      Buffer.from(out.events.ids.subarray(i * 16, i * 16 + 16)).toString("hex"),
    );
    expect(new Set(ids).size).toBe(8);
    balanced(out);
  });

  test("a row that goes away and comes back in one transaction is as it was", () => {
    const out = mapAll(mapping, [
      [change("insert", ordersShape, 1, undefined, ["1", "x"])],
      [move(1, "1", "2"), move(2, "2", "1")],
    ]);
    expect(folded(out)["order-1"]).toEqual({ id: "1", note: "x", lines: [] });
    expect(folded(out)["order-2"]).toEqual({ lines: [] });
  });

  test("a child's key that changes within its aggregate is a removal and an arrival there", () => {
    const out = mapAll(mapping, [
      [change("insert", linesShape, 1, undefined, ["1", "1", "a"])],
      [change("update", linesShape, 1, ["1", "1", "a"], ["1", "2", "a"])],
    ]);
    expect(folded(out)).toEqual({
      "order-1": { lines: [{ order_id: "1", line_no: 2, sku: "a" }] },
    });
  });

  test("a root that moves with its children leaves nothing behind", () => {
    const out = mapAll(mapping, [
      [
        change("insert", ordersShape, 1, undefined, ["1", "x"]),
        change("insert", linesShape, 2, undefined, ["1", "1", "a"]),
      ],
      [move(1, "1", "2"), change("update", linesShape, 2, ["1", "1", "a"], ["2", "1", "a"])],
    ]);
    expect(folded(out)).toEqual({
      "order-1": { lines: [] },
      "order-2": { id: "2", note: "x", lines: [{ order_id: "2", line_no: 1, sku: "a" }] },
    });
  });
});

describe("a move of which one side cannot be told", () => {
  test("the arrival fails: the departure is told all the same", () => {
    const out = mapAll(mapping, [[move(1, "1", "2", "x", "no arrival")]]);
    expect(typesOf(out)).toEqual(["order-1 OrderRemoved"]);
    expect(out.parked.map((p) => [p.stream, p.change.half])).toEqual([["order-2", "joined"]]);
    balanced(out);
  });

  test("the departure fails: the arrival is told all the same", () => {
    const out = mapAll(mapping, [[move(1, "1", "2", "no departure", "x")]]);
    expect(typesOf(out)).toEqual(["order-2 OrderPlaced"]);
    expect(out.parked.map((p) => [p.stream, p.change.half])).toEqual([["order-1", "left"]]);
    balanced(out);
  });

  test("one stream waits in quarantine: only its side waits", () => {
    for (const [blocked, expected] of [
      ["order-1", "order-2 OrderPlaced"],
      ["order-2", "order-1 OrderRemoved"],
    ] as const) {
      const mapper = new ChangeMapper(mapping, 1);
      mapper.blocked.add(blocked);
      const out = emptyOutput();
      mapper.map(transaction(1), [move(1, "1", "2")], undefined, out);
      expect(typesOf(out)).toEqual([expected]);
      expect(out.parked.map((p) => p.stream)).toEqual([blocked]);
      balanced(out);
    }
  });
});

describe("the halves of a move that are told by two mappings", () => {
  const withRules = (count: number) =>
    compile(
      {
        order: stream(orders, {
          children: { lines: child(lines, { order_id: "id" }) },
          events: Object.fromEntries(
            Array.from({ length: count }, (_, i) => [
              `OrderNamed${i}`,
              inserted(orders, { when: { note: { kind: "is", values: [`n${i}`] } } }),
            ]),
          ),
          otherwise: "OrderAmended",
        }),
      },
      [ordersShape, linesShape],
    );
  const half = (rules: number, of: "left" | "joined") => {
    const out = emptyOutput();
    const one = { ...move(1, "1", "2", "x", "n1"), half: of } as Change;
    new ChangeMapper(withRules(rules), 1).map(transaction(1), [one], undefined, out);
    const { ids, length, causationIds } = out.events;
    expect(length).toBe(1);
    return { id: Buffer.from(ids.subarray(0, 16)).toString("hex"), link: causationIds.get(0) };
  };

  // Rules are numbered in their order, so one more or less gives all that follow another number.
  test("have ids of their own and one link, however many rules came or went meanwhile", () => {
    const counts = [0, 1, 2, 3, 4, 5, 6, 7, 8];
    const lefts = counts.map((count) => half(count, "left"));
    const joins = counts.map((count) => half(count, "joined"));
    const ids = new Set(lefts.map(({ id }) => id));
    expect(joins.filter(({ id }) => ids.has(id))).toEqual([]);
    expect(new Set([...lefts, ...joins].map(({ link }) => link)).size).toBe(1);
  });
});
