import { describe, expect, test } from "vitest";
import { ColumnHistory, recordedRole } from "../../src/mapping/column-history.ts";
import { cellOf, type ColumnDefinition } from "../../src/model/column-definition.ts";
import type { MappingDefinition } from "../../src/model/mapping-definition.ts";
import type { SourceColumn, SourceTable } from "../../src/model/table.ts";
import { shape } from "../support/mapping-fixtures.ts";

type Column = Partial<SourceColumn> & { readonly name: string };

/** The table as a catalogue shows it: with numbers of its columns. */
function catalogue(...columns: readonly Column[]): SourceTable {
  const made = columns.map((column, i) => ({
    type: "text",
    codec: "text" as const,
    nullable: true,
    number: i + 1,
    ...column,
  }));
  return { ...shape("public.t", "*a"), columns: made };
}

function learned(...tables: readonly SourceTable[]): Map<string, ColumnDefinition> {
  const history = new ColumnHistory([]);
  for (const table of tables) history.learn(table);
  return new Map(history.of(tables.at(-1)!).map((column) => [column.name, column]));
}

describe("the columns of a table through its schema changes", () => {
  test("at first are what they are: a default of long ago says nothing of rows that were told", () => {
    const columns = learned(
      catalogue({ name: "a" }, { name: "b", filled: "x" }, { name: "c", computed: true }),
    );
    expect([...columns.values()]).toEqual([
      { name: "a", type: "text", codec: "text", number: 1 },
      { name: "b", type: "text", codec: "text", number: 2 },
      { name: "c", type: "text", codec: "text", number: 3 },
    ]);
  });

  test("added ones hold NULL, the constant they were filled with, or what nobody can tell", () => {
    const columns = learned(
      catalogue({ name: "a" }),
      catalogue(
        { name: "a" },
        { name: "b" },
        { name: "c", filled: "" },
        { name: "d", computed: true },
      ),
    );
    expect(columns.get("b")).not.toHaveProperty("filled");
    expect(columns.get("c")).toMatchObject({ filled: "" });
    expect(columns.get("d")).toMatchObject({ untold: "added" });
  });

  test("keep what they were filled with when the server has forgotten it", () => {
    const columns = learned(
      catalogue({ name: "a" }),
      catalogue({ name: "a" }, { name: "b", filled: "x" }),
      catalogue({ name: "a" }, { name: "b", computed: true }),
    );
    expect(columns.get("b")).toMatchObject({ filled: "x" });
    expect(columns.get("b")).not.toHaveProperty("untold");
  });

  test("are followed through renamings, several of them, and through a swap of names", () => {
    const columns = learned(
      catalogue({ name: "a" }, { name: "b" }),
      catalogue({ name: "a2" }, { name: "b" }),
      catalogue({ name: "a3" }, { name: "b" }),
    );
    expect(columns.get("a3")).toMatchObject({ formerly: ["a2", "a"] });
    const swapped = learned(
      catalogue({ name: "a" }, { name: "b" }),
      catalogue({ name: "b" }, { name: "a" }),
    );
    // Under the same names there are other columns now: what was told belongs to neither.
    expect(swapped.get("a")).toMatchObject({ untold: "replaced" });
    expect(swapped.get("b")).toMatchObject({ untold: "replaced" });
  });

  test("that were dropped and added again are others, though the name is the same", () => {
    const columns = learned(
      catalogue({ name: "a" }, { name: "b" }),
      catalogue({ name: "a" }, { name: "b", number: 7, filled: "x" }),
    );
    expect(columns.get("b")).toMatchObject({ number: 7, filled: "x", untold: "replaced" });
  });

  test.each([
    ["int4", "int8", undefined],
    ["int2", "int4", undefined],
    ["varchar(5)", "varchar(9)", undefined],
    ["varchar(5)", "text", undefined],
    ["int4", "text", "retyped"],
    ["numeric(5,2)", "numeric(9,4)", "retyped"],
    ["timestamp", "timestamptz", "retyped"],
  ])("that go from %s to %s hold what they were told: %s", (from, to, untold) => {
    const columns = learned(
      catalogue({ name: "a", type: from }),
      catalogue({ name: "a", type: to }),
    );
    expect(columns.get("a")?.untold).toBe(untold);
    expect(columns.get("a")?.type).toBe(to);
  });

  test("of a log that lies behind the catalogue have the names of their time", () => {
    const history = new ColumnHistory([]);
    history.learn(catalogue({ name: "a" }, { name: "b" }));
    history.learn(catalogue({ name: "a" }, { name: "c" }, { name: "d", filled: "x" }));
    const older = history.of(shape("public.t", "*a b"));
    expect(older.map(({ name, formerly }) => [name, formerly])).toEqual([
      ["a", undefined],
      ["b", undefined],
    ]);
  });

  test("go on in the next run from what was recorded", () => {
    const first = new ColumnHistory([]);
    first.learn(catalogue({ name: "a" }, { name: "b" }));
    const recorded = first.of(catalogue({ name: "a" }, { name: "b" }));
    const next = new ColumnHistory(JSON.parse(JSON.stringify(recorded)) as ColumnDefinition[]);
    const now = catalogue({ name: "a" }, { name: "c" }, { name: "d", filled: "x" });
    next.learn(now);
    expect(next.of(now)).toMatchObject([
      { name: "a" },
      { name: "c", formerly: ["b"] },
      { name: "d", filled: "x" },
    ]);
  });

  test("without numbers have nothing but their names", () => {
    const columns = learned(shape("public.t", "*a b"), shape("public.t", "*a c"));
    expect(columns.get("c")).toEqual({ name: "c", type: "text", codec: "text" });
  });
});

describe("a cell", () => {
  const column = {
    name: "c",
    codec: "text",
    type: "text",
    formerly: ["b", "a"],
    filled: "x",
  } as const;

  test("is what was told last, under whatever name, else what the column was filled with", () => {
    expect(cellOf({ a: "1", b: "2", c: "3" }, column)).toBe("3");
    expect(cellOf({ a: "1", b: "2", c: null }, column)).toBeNull();
    expect(cellOf({ a: "1", b: null }, column)).toBeNull();
    expect(cellOf({ a: "1" }, column)).toBe("1");
    expect(cellOf({}, column)).toBe("x");
    expect(cellOf({}, { name: "c", codec: "text", type: "text" })).toBeNull();
  });

  test("is not found in what every object has", () => {
    expect(cellOf({}, { name: "constructor", codec: "text", type: "text" })).toBeNull();
  });
});

test("what was recorded of a table is that of the newest mapping which has it", () => {
  const role = (name: string) => ({
    table: "public.t",
    key: [],
    columns: [{ name, codec: "text" as const, type: "text" }],
  });
  const of = (name: string): MappingDefinition => ({
    streams: { order: { root: "order", roles: { order: role(name) }, events: {} } },
  });
  const mappings = new Map([
    [3, of("newest")],
    [1, of("oldest")],
    [
      4,
      { streams: { invoice: { root: "invoice", roles: { invoice: role("other") }, events: {} } } },
    ],
  ]);
  expect(recordedRole(mappings, "order", "public.t")?.columns[0]?.name).toBe("newest");
  expect(recordedRole(mappings, "order", "public.u")).toBeUndefined();
  expect(recordedRole(mappings, "constructor", "public.t")).toBeUndefined();
});
