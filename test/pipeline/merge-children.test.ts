import { describe, expect, test } from "vitest";
import { child, stream, table } from "../../src/mapping/rules.ts";
import type { Cells, SourceTable } from "../../src/model/table.ts";
import { mergeChildren, type MergedAggregate } from "../../src/pipeline/merge-children.ts";
import type { RowSnapshot } from "../../src/source/change-source.ts";
import { compareKeyTexts } from "../../src/source/key-order.ts";
import { compile, shape } from "../support/mapping-fixtures.ts";

const never = new AbortController().signal;

/** Sorts as a source does, and remembers in what order it was asked to. */
function snapshotOf(rows: Readonly<Record<string, readonly Cells[]>>, groupRows = 2) {
  const asked: Record<string, readonly string[]> = {};
  let open = 0;
  const snapshot: RowSnapshot = {
    async *readRows(of, orderBy) {
      asked[of.name] = orderBy.map(({ as }) => as);
      open += 1;
      try {
        const order = orderBy.map(({ as }) => as);
        const keyOf = (cells: Cells) => orderBy.map(({ column }) => cells[column] ?? null);
        const all = [...(rows[of.name] ?? [])].sort((a, b) =>
          compareKeyTexts(keyOf(a), keyOf(b), order),
        );
        for (let at = 0; at < all.length; at += groupRows) yield all.slice(at, at + groupRows);
      } finally {
        open -= 1;
      }
    },
    estimateRows: () => Promise.resolve(0),
    rewritten: () => Promise.resolve([]),
    close: () => Promise.resolve(),
  };
  return { snapshot, asked, isOpen: () => open > 0 };
}

function mappersOf(
  root: SourceTable,
  children: Record<string, SourceTable>,
  link: Record<string, string>,
) {
  const refs = Object.fromEntries(
    Object.entries(children).map(([role, of]) => [role, child(table(of.name), link)]),
  );
  const streams = { order: stream(table(root.name), { children: refs, otherwise: "Other" }) };
  const mapping = compile(streams, [root, ...Object.values(children)]);
  return [root, ...Object.values(children)].map((of) => mapping.mapperOf(of)!);
}

async function merge(
  snapshot: RowSnapshot,
  mappers: ReturnType<typeof mappersOf>,
): Promise<MergedAggregate[]> {
  const all: MergedAggregate[] = [];
  for await (const group of mergeChildren(snapshot, mappers, never)) all.push(...group);
  return all;
}

const orders = shape("public.orders", "*id:int8 note");
const lines = shape("public.lines", "*id:int8 order_id:int8 sku");
const notes = shape("public.notes", "*id:int8 order_id:int8 text");
const mappers = mappersOf(orders, { lines, notes }, { order_id: "id" });

describe("merging a root table with its children", () => {
  test("gives each root its rows, in the order of whole numbers and not of their text", async () => {
    const { snapshot, asked } = snapshotOf({
      "public.orders": [
        ["10", "ten"],
        ["9", "nine"],
        ["100", "hundred"],
      ],
      "public.lines": [
        ["1", "100", "a"],
        ["2", "9", "b"],
        ["3", "9", "c"],
      ],
      "public.notes": [["1", "10", "n"]],
    });
    expect(await merge(snapshot, mappers)).toMatchObject([
      {
        root: ["9", "nine"],
        children: [
          [
            ["2", "9", "b"],
            ["3", "9", "c"],
          ],
          [],
        ],
      },
      { root: ["10", "ten"], children: [[], [["1", "10", "n"]]] },
      { root: ["100", "hundred"], children: [[["1", "100", "a"]], []] },
    ]);
    expect(Object.values(asked)).toEqual([["integer"], ["integer"], ["integer"]]);
  });

  test("orders by bytes where the key is text, beyond the basic plane too", async () => {
    const people = shape("public.people", "*name:text");
    const cards = shape("public.cards", "*id:int8 owner:text");
    const of = mappersOf(people, { cards }, { owner: "name" });
    const names = ["b", "", "\u{10000}", "\uffee", "a", "é", "B", "aa"];
    const { snapshot, asked } = snapshotOf({
      "public.people": names.map((name) => [name]),
      "public.cards": names.map((name, i) => [String(i), name]),
    });
    const merged = await merge(snapshot, of);
    expect(merged.map(({ root }) => root![0])).toEqual(
      [...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
    );
    for (const { root, children } of merged) expect(children[0]![0]![1]).toBe(root![0]);
    expect(Object.values(asked)).toEqual([["bytes"], ["bytes"]]);
  });

  test("keeps rows whose root does not exist, together by the root that they name, or none", async () => {
    const { snapshot } = snapshotOf({
      "public.orders": [["5", "five"]],
      "public.lines": [
        ["1", "4", "a"],
        ["2", null, "b"],
        ["3", "6", "c"],
        ["4", null, "d"],
      ],
      "public.notes": [["1", "4", "n"]],
    });
    expect(await merge(snapshot, mappers)).toMatchObject([
      { root: undefined, children: [[["1", "4", "a"]], [["1", "4", "n"]]] },
      { root: ["5", "five"], children: [[], []] },
      { root: undefined, children: [[["3", "6", "c"]], []] },
      {
        root: undefined,
        children: [
          [
            ["2", null, "b"],
            ["4", null, "d"],
          ],
          [],
        ],
      },
    ]);
  });

  test("of empty tables is empty", async () => {
    expect(await merge(snapshotOf({}).snapshot, mappers)).toEqual([]);
    const alone = mappersOf(orders, {}, {});
    expect(await merge(snapshotOf({}).snapshot, alone)).toEqual([]);
  });

  test("a root without children is read as it is stored, each row an aggregate", async () => {
    const { snapshot, asked } = snapshotOf({
      "public.orders": [
        ["2", "b"],
        ["1", "a"],
      ],
    });
    const merged = await merge(snapshot, mappersOf(orders, {}, {}));
    expect(merged).toMatchObject([
      { root: ["2", "b"], children: [] },
      { root: ["1", "a"], children: [] },
    ]);
    expect(asked).toEqual({ "public.orders": [] });
  });

  test("an aggregate too large for memory comes in parts, of which the first has the root", async () => {
    const many = Array.from({ length: 9_000 }, (_, i) => [String(i), "7", "x".repeat(500)]);
    const { snapshot } = snapshotOf(
      {
        "public.orders": [
          ["7", "large"],
          ["8", "small"],
        ],
        "public.lines": many,
        "public.notes": [
          ["1", "7", "n"],
          ["2", "8", "m"],
        ],
      },
      1_000,
    );
    const parts = await merge(snapshot, mappers);
    expect(parts.map(({ root, continues }) => [root?.[1], continues])).toEqual([
      ["large", false],
      ...parts.slice(1, -1).map(() => [undefined, true]),
      ["small", false],
    ]);
    expect(parts.length).toBeGreaterThan(4);
    for (const { children } of parts) {
      const length = JSON.stringify(children).length;
      expect(length).toBeLessThan(2_000_000);
    }
    const large = parts.slice(0, -1);
    expect(large.flatMap(({ children }) => children[0]!)).toEqual(many);
    expect(large.flatMap(({ children }) => children[1]!)).toEqual([["1", "7", "n"]]);
  });

  test("left early closes every table it reads", async () => {
    const { snapshot, isOpen } = snapshotOf({
      "public.orders": Array.from({ length: 2_000 }, (_, i) => [String(i), "x"]),
      "public.lines": [["1", "1", "a"]],
    });
    for await (const _ of mergeChildren(snapshot, mappers, never)) break;
    expect(isOpen()).toBe(false);
  });
});
