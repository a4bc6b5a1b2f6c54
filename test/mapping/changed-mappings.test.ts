import { describe, expect, test } from "vitest";
import { compareMappings } from "../../src/mapping/compare-mappings.ts";
import { compileMapping, examineMapping } from "../../src/mapping/compile.ts";
import {
  becomes,
  changes,
  child,
  inserted,
  stream,
  table,
  updated,
  type StreamRef,
} from "../../src/mapping/rules.ts";
import type { MappingDefinition } from "../../src/model/mapping-definition.ts";
import { Folder, type StreamState } from "../../src/projection/fold.ts";
import { shape } from "../support/mapping-fixtures.ts";

interface Order {
  id: string;
  status: string;
  note: string;
}
const orders = table<Order>("orders");
const lines = table<{ id: string; order_id: string }>("lines");
const shapes = [
  shape("public.orders", "*id:int8 status:text note:text"),
  shape("public.lines", "*id:int8 order_id:int8"),
];

type Streams = Readonly<Record<string, StreamRef>>;
const definitionOf = (streams: Streams): MappingDefinition =>
  compileMapping(streams, shapes).definition();
const told = (before: Streams, after: Streams): readonly string[] =>
  compareMappings(definitionOf(before), definitionOf(after)).map(({ message }) => message);

const PAID = updated(orders, { status: becomes("paid") });
const order = (events: StreamRef["events"], more: object = {}): StreamRef =>
  stream(orders, { events, otherwise: "OrderAmended", ...more });

const NOTE = {
  columns: ["note"],
  to: (now: Order) => ({ words: now.note.split(" ") }),
  from: (data: Readonly<Record<string, unknown>>) => ({ note: (data["words"] as string[]).join(" ") }), // prettier-ignore
} as const;

describe("what a new mapping changes", () => {
  test("is nothing when it is the same, written anew", () => {
    const one = order({ OrderPaid: updated(orders, { status: becomes("paid") }) });
    expect(told({ order: order({ OrderPaid: PAID }) }, { order: one })).toEqual([]);
  });

  test("is told rule by rule, table by table and stream by stream", () => {
    const before = {
      order: order({ OrderPaid: PAID, OrderOpened: inserted(orders) }),
      line: stream(lines, { otherwise: "LineAmended" }),
    };
    const after = {
      order: order(
        {
          OrderPaid: updated(orders, { status: becomes("paid", "settled") }, { data: ["note"] }),
          OrderNoted: updated(orders, { note: changes() }),
        },
        { children: { lines: child(lines, { order_id: "id" }) } },
      ),
    };
    expect(told(before, after)).toEqual([
      "public.lines joins as lines: its rows get their baseline when banyan run starts",
      'OrderPaid is told otherwise: before, update of public.orders: status becomes "paid"; now, update of public.orders: status becomes "paid" or "settled"; data note',
      "OrderNoted is new: update of public.orders: note changes",
      "OrderOpened comes no more; those that are there fold as before",
      "stream line is gone: its events stay, and its tables are no longer captured",
    ]);
    expect(told(after, before)).toContain(
      "public.lines leaves: what its rows were stays in the events, and its changes are no longer captured",
    );
    expect(told({ order: order({}) }, before)).toContain(
      "stream line is new: its rows get their baseline when banyan run starts",
    );
  });

  test("is another version also when only a function's text is another", () => {
    const by = (where: (now: Order) => boolean): Streams => ({
      order: order({ OrderPaid: updated(orders, { status: becomes("paid") }, { where }) }),
    });
    const [one, two] = [by((now) => now.note === "a"), by((now) => now.note === "b")];
    expect(told(one, one)).toEqual([]);
    expect(told(one, two)).toMatchObject([expect.stringMatching(/OrderPaid is told otherwise/)]);
    const print = (streams: Streams): string => compileMapping(streams, shapes).fingerprint();
    expect(print(one)).not.toBe(print(two));
  });

  test("may be a key, which makes rows that were told before be other rows", () => {
    const before = definitionOf({ order: order({}) });
    const keyed = [shape("public.orders", "*id:int8 *status:text note:text"), shapes[1]!];
    const after = compileMapping({ order: order({}) }, keyed).definition();
    expect(compareMappings(before, after)).toMatchObject([
      { what: "key", how: "changed", message: expect.stringContaining("was id and is now id, status") as unknown }, // prettier-ignore
    ]);
  });
});

describe("a rule with a function that is gone", () => {
  const recorded = new Map([
    [1, definitionOf({ order: order({ OrderNoted: updated(orders, { note: changes() }, { transform: NOTE }) }) })], // prettier-ignore
  ]);

  test("is missed, because its events need the inverse", () => {
    const { problems } = examineMapping({ order: order({ OrderPaid: PAID }) }, shapes, recorded);
    expect(problems).toMatchObject([
      {
        code: "inverse-lost",
        stream: "order",
        rule: "OrderNoted",
        next: expect.stringContaining("inverses: { OrderNoted: (data) => … }") as unknown,
      },
    ]);
    const plain = order({ OrderNoted: updated(orders, { note: changes() }) });
    expect(examineMapping({ order: plain }, shapes, recorded).problems).toHaveLength(1);
  });

  test("leaves its inverse behind, by which its events fold", () => {
    const streams = { order: order({ OrderPaid: PAID }, { inverses: { OrderNoted: NOTE.from } }) };
    const { problems, mapping } = examineMapping(streams, shapes, recorded);
    expect(problems).toEqual([]);
    const folder = new Folder(recorded, mapping.inverses());
    const state: StreamState = new Map();
    folder.apply(state, {
      stream: "order-1",
      version: 1,
      type: "OrderNoted",
      data: { id: "1", $data: { words: ["well", "done"] } },
      mappingVersion: 1,
    });
    expect(state.get("order")!.get("1")).toMatchObject({ note: "well done" });
  });
});

describe("a row that would be another row from now on", () => {
  const lineOf = (parent: { order_id?: string; other_id?: string }): Streams => ({
    order: order(
      {},
      {
        children: { lines: child(table<{ order_id: string; other_id: string }>("lines"), parent) },
      },
    ),
  });
  const linked = [shapes[0]!, shape("public.lines", "*id:int8 order_id:int8 other_id:int8")];
  const recorded = new Map([[1, compileMapping(lineOf({ order_id: "id" }), linked).definition()]]);

  test("because its table has another key is refused", () => {
    const rekeyed = [shape("public.orders", "id:int8 *note:text status:text"), linked[1]!];
    const streams = { order: order({}) };
    expect(examineMapping(streams, rekeyed, recorded).problems).toMatchObject([
      {
        code: "key-changed",
        stream: "order",
        table: "public.orders",
        message: expect.stringContaining("was (id) and is (note) now") as unknown,
      },
    ]);
  });

  test("because a child is linked by another column is refused", () => {
    const { problems } = examineMapping(lineOf({ other_id: "id" }), linked, recorded);
    expect(problems).toMatchObject([
      { code: "parent-changed", message: expect.stringContaining("by (order_id) and is by (other_id) now") as unknown }, // prettier-ignore
    ]);
  });

  test("only seems so when the column was renamed", () => {
    const numbered = (name: string) => [
      { ...linked[0]! },
      {
        ...linked[1]!,
        columns: linked[1]!.columns.map((column, i) => ({
          ...column,
          name: i === 1 ? name : column.name,
          number: i + 1,
        })),
      },
    ];
    const before = compileMapping(lineOf({ order_id: "id" }), numbered("order_id")).definition();
    const renamed = examineMapping(
      {
        order: order(
          {},
          { children: { lines: child(table<{ ref: string }>("lines"), { ref: "id" }) } },
        ),
      },
      numbered("ref"),
      new Map([[1, before]]),
    );
    expect(renamed.problems).toEqual([]);
  });
});
