import { describe, expect, test } from "vitest";
import {
  changed,
  child,
  deleted,
  inserted,
  stream,
  table,
  updated,
} from "../../src/mapping/rules.ts";
import type { MappingDefinition } from "../../src/model/mapping-definition.ts";
import { Folder, type Foldable, type StreamState } from "../../src/projection/fold.ts";
import { foldStreams } from "../../src/projection/fold-streams.ts";
import type { FoldEvent } from "../../src/store/event-store.ts";
import { compile, shape } from "../support/mapping-fixtures.ts";

const orders = table<{ id: string; note: string | null; total: string }>("orders");
const lines = table<{ order_id: string; line_no: number; sku: string }>("lines");
const streams = {
  order: stream(orders, {
    children: { lines: child(lines, { order_id: "id" }) },
    events: {
      OrderPlaced: inserted(orders, { with: [lines] }),
      OrderRepriced: updated(orders, changed("total"), {
        transform: {
          columns: ["total"],
          to: ({ total }) => ({ cents: Math.round(Number(total) * 100) }),
          from: (data) => ({ total: (Number(data["cents"]) / 100).toFixed(2) }),
        },
      }),
      OrderNoted: updated(orders, changed("note")),
      OrderRemoved: deleted(orders),
      LineAdded: inserted(lines),
      LineRemoved: deleted(lines),
    },
    otherwise: "OrderAmended",
  }),
};
const mapping = compile(streams, [
  shape("public.orders", "*id:int8 note total:numeric"),
  shape("public.lines", "*order_id:int8 *line_no:int4 sku"),
]);
const MAPPINGS = new Map([[1, mapping.definition()]]);

let version = 0;
const event = (
  type: string,
  data: Record<string, unknown>,
  mappingVersion: number | undefined = 1,
  id = "order-7",
): Foldable => ({ stream: id, version: ++version, type, data, mappingVersion });

function fold(events: readonly Foldable[], folder = new Folder(MAPPINGS, mapping.inverses())) {
  const state: StreamState = new Map();
  for (const each of events) folder.apply(state, each);
  return folder.toJson("order", state);
}

const placed = event("OrderPlaced", {
  id: "7",
  note: null,
  total: "1.00",
  lines: [
    { order_id: "7", line_no: 1, sku: "a" },
    { order_id: "7", line_no: 10, sku: "b" },
  ],
});

describe("folding", () => {
  test("an insert makes the row and those it took along", () => {
    expect(fold([placed])).toEqual({
      id: "7",
      note: null,
      total: "1.00",
      lines: [
        { order_id: "7", line_no: 1, sku: "a" },
        { order_id: "7", line_no: 10, sku: "b" },
      ],
    });
  });

  test("an update changes what it tells and leaves the rest; NULL is a value", () => {
    const noted = event("OrderNoted", { id: "7", note: "hello", $was: { note: null } });
    expect(fold([placed, noted])).toMatchObject({ note: "hello", total: "1.00" });
    const cleared = event("OrderNoted", { id: "7", note: null, $was: { note: "hello" } });
    expect(fold([placed, noted, cleared])).toMatchObject({ note: null });
  });

  test("a removal takes one row, found by its whole key", () => {
    const removed = event("LineRemoved", { order_id: "7", line_no: 1, $was: {} });
    expect(fold([placed, removed])).toMatchObject({
      lines: [{ order_id: "7", line_no: 10, sku: "b" }],
    });
    expect(fold([placed, event("OrderRemoved", { id: "7", $was: {} })])).toEqual({
      lines: expect.any(Array) as unknown,
    });
  });

  test("the fallback does each of the three, to whichever row it names", () => {
    const amended = (data: Record<string, unknown>) => event("OrderAmended", data);
    expect(
      fold([
        placed,
        amended({ $row: "lines", $op: "insert", order_id: "7", line_no: 2, sku: "c" }),
        amended({ $row: "lines", $op: "update", order_id: "7", line_no: 10, sku: "B", $was: {} }),
        amended({ $row: "lines", $op: "delete", order_id: "7", line_no: 1, $was: {} }),
        amended({ $row: "order", $op: "update", id: "7", total: "2.00", $was: {} }),
      ]),
    ).toEqual({
      id: "7",
      note: null,
      total: "2.00",
      lines: [
        { order_id: "7", line_no: 10, sku: "B" },
        { order_id: "7", line_no: 2, sku: "c" },
      ],
    });
  });

  test("a baseline of rows without their root makes no root", () => {
    const orphans = event("OrderBaselined", {
      $root: null,
      lines: [{ order_id: "7", line_no: 1, sku: "a" }],
    });
    expect(fold([orphans])).toEqual({ lines: [{ order_id: "7", line_no: 1, sku: "a" }] });
  });

  test("what a rule's function made is turned back by its inverse", () => {
    const repriced = event("OrderRepriced", { id: "7", $was: {}, $data: { cents: 250 } });
    expect(fold([placed, repriced])).toMatchObject({ total: "2.50" });
  });
});

test("a row is shown by the newest mapping of its type, whatever other pipelines have added", () => {
  const other: MappingDefinition = {
    streams: { invoice: { root: "invoice", roles: {}, events: {} } },
  };
  const folder = new Folder(new Map([...MAPPINGS, [9, other]]), mapping.inverses());
  expect(fold([placed], folder)).toMatchObject({ id: "7", total: "1.00" });
  expect(folder.toJson("constructor", new Map())).toEqual({});
});

describe("an event that cannot be folded is refused, never folded by guess", () => {
  test("when the rule whose function made its data is no longer in the config", () => {
    const repriced = event("OrderRepriced", { id: "7", $was: {}, $data: { cents: 250 } });
    const folder = new Folder(MAPPINGS, new Map());
    expect(() => fold([placed, repriced], folder)).toThrow(
      expect.objectContaining({ code: "MAPPING_INVALID" }),
    );
    expect(() => fold([placed, repriced], folder)).toThrow(/OrderRepriced/);
  });

  test("when no mapping explains it", () => {
    for (const unknown of [
      event("Elsewhere", { id: "7" }),
      event("OrderPlaced", { id: "7" }, 99),
      { ...placed, mappingVersion: undefined },
      event("OrderPlaced", { id: "7" }, 1, "invoice-7"),
      event("toString", { id: "7" }),
      event("OrderPlaced", { id: "7" }, 1, "constructor-7"),
    ]) {
      expect(() => fold([unknown])).toThrow(expect.objectContaining({ code: "INVARIANT_BROKEN" }));
    }
  });
});

describe("old events fold by the mapping that wrote them", () => {
  const wider: MappingDefinition = {
    streams: {
      order: {
        ...mapping.definition().streams["order"]!,
        roles: {
          ...mapping.definition().streams["order"]!.roles,
          order: {
            table: "public.orders",
            key: ["id"],
            columns: [
              { name: "id", codec: "text", type: "int8" },
              { name: "remark", codec: "text", type: "text", formerly: ["note"] },
              { name: "total", codec: "text", type: "numeric" },
              { name: "colour", codec: "text", type: "text", filled: "grey" },
              { name: "weight", codec: "int", type: "int4" },
              { name: "constructor", codec: "text", type: "text" },
            ],
          },
        },
      },
    },
  };
  const folder = new Folder(new Map([...MAPPINGS, [2, wider]]), mapping.inverses());
  const state = (...events: Foldable[]): unknown => {
    const made: StreamState = new Map();
    for (const each of events) folder.apply(made, each);
    return folder.toJson("order", made);
  };

  test("a column has what it was told under its old name, then what it is told under the new", () => {
    const noted = event("OrderNoted", { id: "7", note: "old", $was: {} });
    expect(state(placed, noted)).toMatchObject({ remark: "old" });
    const amended = event(
      "OrderAmended",
      { $row: "order", $op: "update", id: "7", remark: null, $was: {} },
      2,
    );
    expect(state(placed, noted, amended)).toMatchObject({ remark: null });
  });

  test("an event of just before a schema change, told by the mapping of after it, makes nothing NULL", () => {
    const late = event("OrderPlaced", { id: "7", total: "1.00", lines: [] }, 2);
    expect(state(late)).toEqual({ id: "7", total: "1.00", colour: "grey", lines: [] });
  });

  test("a column that came later has what it was filled with, and nothing where that is not known", () => {
    expect(state(placed)).toEqual({
      id: "7",
      remark: null,
      total: "1.00",
      colour: "grey",
      lines: expect.any(Array) as unknown,
    });
  });
});

describe("folding all streams of a type", () => {
  const of = (
    stream: string,
    at: number,
    type: string,
    data: Record<string, unknown>,
  ): FoldEvent => ({
    stream,
    version: at,
    type,
    data,
    origin: "capture",
    mappingVersion: 1,
    sourceTransaction: String(at),
    time: "2026-01-01T00:00:00.000000Z",
  });
  const pages: FoldEvent[][] = [
    [of("order-1", 1, "OrderPlaced", { id: "1", note: "a", total: "1", lines: [] })],
    [],
    [
      of("order-1", 2, "OrderNoted", { id: "1", note: "b", $was: {} }),
      of("order-2", 1, "OrderPlaced", { id: "2", note: "c", total: "1", lines: [] }),
    ],
    [of("order-2", 2, "OrderRemoved", { id: "2", $was: {} })],
  ];
  const folded = async (include?: (event: FoldEvent) => boolean): Promise<unknown[]> => {
    async function* read() {
      yield* pages;
    }
    const all = [];
    const folder = new Folder(MAPPINGS, mapping.inverses());
    for await (const { stream: id, version: last, state } of foldStreams(read(), folder, include))
      all.push([id, last, state.get("order")?.size ?? 0]);
    return all;
  };

  test("gives each once, whole, wherever the pages end; one that was removed has no rows", async () => {
    expect(await folded()).toEqual([
      ["order-1", 2, 1],
      ["order-2", 2, 0],
    ]);
  });

  test("leaves out what it is told to, and stands at the last event that was folded", async () => {
    expect(await folded(({ version: at }) => at === 1)).toEqual([
      ["order-1", 1, 1],
      ["order-2", 1, 1],
    ]);
    expect(await folded(() => false)).toEqual([
      ["order-1", 0, 0],
      ["order-2", 0, 0],
    ]);
  });

  test("of nothing is nothing", async () => {
    async function* nothing(): AsyncGenerator<FoldEvent[]> {}
    const all = [];
    for await (const each of foldStreams(nothing(), new Folder(MAPPINGS, new Map())))
      all.push(each);
    expect(all).toEqual([]);
  });
});
