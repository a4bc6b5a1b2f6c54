import { describe, expect, test } from "vitest";
import { databaseFacts, type TableSketch } from "../support/database-facts.ts";
import { jsonValueOf } from "../../src/draft/column-values.ts";
import { draft } from "../../src/draft/draft.ts";
import { tableNames } from "../../src/draft/table-names.ts";
import type { CodecName } from "../../src/model/table.ts";
import type { DatabaseFacts } from "../../src/source/database-facts.ts";

/** Codecs by type, as the adapter gives them. */
const CODECS: Readonly<Record<string, CodecName>> = {
  int2: "int",
  int4: "int",
  bool: "bool",
  bytea: "bytea",
  timestamp: "timestamp",
  timestamptz: "timestamptz",
};

function factsOf(tables: Readonly<Record<string, TableSketch>>): DatabaseFacts {
  const facts = databaseFacts(tables);
  return {
    ...facts,
    tables: facts.tables.map((one) => ({
      ...one,
      table: {
        ...one.table,
        columns: one.table.columns.map((column) => ({
          ...column,
          codec: CODECS[column.type] ?? "text",
        })),
      },
    })),
  };
}

const HEADER = /^(\/\/.*\n)+import \{ table \} from "banyan";\n\n/;

describe("banyan.tables.ts", () => {
  test("gives each column the form that its values have in events", () => {
    const labels = { allowed: ["new", 'it\'s "odd"', "line\nbreak"] };
    const { tables } = draft(
      factsOf({
        orders: {
          key: ["id"],
          comment: "What */ was\nordered",
          generatedLeftOut: ["search"],
          columns: {
            "10": "text",
            id: "int8",
            small: { type: "int2", allowed: ["1", "-2"] },
            whole: "int4?",
            total: { type: "numeric(12,2)?", allowed: ["1"] },
            rate: "float8",
            ok: "bool?",
            at: "timestamptz",
            local: "timestamp?",
            day: { type: "date", allowed: ["2026-01-01"] },
            raw: "bytea",
            doc: "jsonb?",
            tags: "text[]",
            name: { type: "text", comment: "how it is called" },
            size: { type: "varchar(2)", allowed: ["S", "L"] },
            code: { type: "bpchar(3)?", allowed: ["a", "abc"] },
            big: { type: "int8", allowed: ["1", "2"] },
            folded: { type: "public.citext", allowed: ["a"] },
            status: { type: "Sales.order_status", ...labels },
            before: { type: "Sales.order_status?", ...labels },
            other: { type: "support.order_status", allowed: ["open", "shut"] },
            order: "uuid",
            "a b": "text",
          },
        },
        "Sales.no key": {
          columns: { "e-mail": "text", note: "text?" },
          key: [],
          uniqueKeys: [["e-mail"]],
        },
      }),
    );
    expect(tables.replace(HEADER, "")).toBe(`/** Sales.order_status */
export type OrderStatus = "new" | "it's \\"odd\\"" | "line\\nbreak";

/** support.order_status */
export type SupportOrderStatus = "open" | "shut";

/** Sales.no key. */
export interface NoKeyRow {
  "e-mail": string;
  note: string | null;
}
export const noKey = table<NoKeyRow>("Sales.no key", { key: ["e-mail"] });

/** public.orders. What * / was ordered Generated, and not in the log: search. */
export interface OrderRow {
  "10": string;
  id: string;
  small: 1 | -2;
  whole: number | null;
  total: string | null;
  rate: string;
  ok: boolean | null;
  at: string;
  local: string | null;
  day: string;
  raw: string;
  doc: string | null;
  tags: string;
  /** how it is called */
  name: string;
  size: "S" | "L";
  code: "a  " | "abc" | null;
  big: "1" | "2";
  folded: string;
  status: OrderStatus;
  before: OrderStatus | null;
  other: SupportOrderStatus;
  order: string;
  "a b": string;
}
export const orders = table<OrderRow>("orders");`);
  });
});

describe("a value that a rule names", () => {
  test.each([
    ["text", "text", "paid", "paid"],
    ["int", "int4", "-3", -3],
    ["bool", "bool", "t", true],
    ["bool", "bool", "false", false],
    ["text", "bpchar(4)", "ab", "ab  "],
    ["text", "int8", "1", "1"],
    ["text", "shop.status", "paid", "paid"],
  ] as const)("%s of %s: %s", (codec, type, value, json) => {
    expect(jsonValueOf(codec, type, value)).toBe(json);
  });

  test.each([
    ["int", "int4", "paid"],
    ["int", "int4", "1.0"],
    ["bool", "bool", "yes"],
    ["text", "numeric(10,2)", "1"],
    ["text", "float8", "1"],
    ["text", "date", "2026-01-01"],
    ["text", "public.citext", "a"],
    ["text", "jsonb", "{}"],
    ["timestamptz", "timestamptz", "2026-01-01 00:00:00+00"],
    ["bytea", "bytea", "\\x00"],
  ] as const)(
    "is none where the column could hold it in another form: %s of %s: %s",
    (codec, type, value) => {
      expect(jsonValueOf(codec, type, value)).toBeUndefined();
    },
  );
});

test("constants are names that TypeScript takes, none twice, those of public first", () => {
  const relations = [
    "orders",
    "Orders",
    "order_lines",
    "OrderLines",
    "default",
    "table",
    "2fa",
    "заказы",
    "😀",
    "a.b",
    "x y",
  ];
  const names = tableNames(
    factsOf(
      Object.fromEntries(
        [
          "a_first.orders",
          "public.orders",
          ...relations.map((name) => `s.${name.replaceAll(".", "\\.")}`),
        ].map((name) => [name, { columns: { id: "int8" } }]),
      ),
    ).tables,
  );
  const constantOf = (name: string): string | undefined => names.get(name)?.constant;
  expect(constantOf("public.orders")).toBe("orders");
  expect(constantOf("a_first.orders")).toBe("aFirstOrders");
  expect(relations.map((name) => constantOf(`s.${name.replaceAll(".", "\\.")}`))).toEqual([
    "ordersTable",
    "sOrders",
    "sOrderLines",
    "orderLines",
    "sDefault",
    "sTable",
    "table2fa",
    "zakazy",
    "s",
    "aB",
    "xY",
  ]);
});
