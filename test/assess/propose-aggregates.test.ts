import { describe, expect, test } from "vitest";
import {
  databaseFacts,
  type ReferenceSketch,
  type TableSketch,
} from "../support/database-facts.ts";
import {
  proposeAggregates,
  type AggregateProposal,
  type ProposeOptions,
} from "../../src/assess/propose-aggregates.ts";

function propose(
  tables: Readonly<Record<string, TableSketch>>,
  references: readonly ReferenceSketch[] = [],
  options: ProposeOptions = {},
): { readonly shape: Record<string, string[]>; readonly all: readonly AggregateProposal[] } {
  const { aggregates } = proposeAggregates(databaseFacts(tables, references), options);
  const shape = Object.fromEntries(
    aggregates.map(({ root, children }) => [root, children.map(({ table }) => table)]),
  );
  return { shape, all: aggregates };
}

const id = { columns: { id: "int8" } };

describe("a table becomes part of another", () => {
  test("when its rows are deleted with it, or identified within it", () => {
    const { shape, all } = propose(
      {
        orders: id,
        customers: id,
        payments: { columns: { id: "uuid", order_id: "int8" } },
        notes: { columns: { order_id: "int8", no: "int4", text: "text" }, key: ["order_id", "no"] },
        visits: { columns: { id: "int8", customer_id: "int8" } },
      },
      [
        { table: "payments", columns: ["order_id"], references: "orders", onDelete: "cascade" },
        { table: "notes", columns: ["order_id"], references: "orders" },
        { table: "visits", columns: ["customer_id"], references: "customers" },
      ],
    );
    expect(shape).toEqual({
      "public.customers": [],
      "public.orders": ["public.notes", "public.payments"],
      "public.visits": [],
    });
    const order = all.find(({ name }) => name === "order")!;
    expect(order.children.map(({ role, parent }) => ({ role, parent }))).toEqual([
      { role: "notes", parent: { order_id: "id" } },
      { role: "payments", parent: { order_id: "id" } },
    ]);
    expect(all.find(({ name }) => name === "visit")!.leaving).toHaveLength(1);
  });

  test("only by the other's whole key: a reference to another unique column keeps it apart", () => {
    const { shape, all } = propose(
      {
        orders: { columns: { id: "int8", number: "text" }, uniqueKeys: [["number"]] },
        order_lines: { columns: { id: "int8", order_number: "text" } },
      },
      [
        {
          table: "order_lines",
          columns: ["order_number"],
          references: "orders",
          referencedColumns: ["number"],
          onDelete: "cascade",
        },
      ],
    );
    expect(shape).toEqual({ "public.order_lines": [], "public.orders": [] });
    expect(all[0]!.reasons.join()).toContain("refers to it by (number) and not by its key (id)");
  });

  test("not when it has no key, when there are too many of it, or when it grows with time", () => {
    const { shape } = propose(
      {
        sensors: { ...id, rows: 10 },
        keyless: { columns: { sensor_id: "int8" }, key: [] },
        sensor_readings: {
          columns: { id: "int8", sensor_id: { type: "int8", distinct: 10 } },
          rows: 900_000,
        },
        days: { columns: { sensor_id: "int8", day: "date" }, key: ["sensor_id", "day"] },
      },
      [
        { table: "keyless", columns: ["sensor_id"], references: "sensors", onDelete: "cascade" },
        {
          table: "sensor_readings",
          columns: ["sensor_id"],
          references: "sensors",
          onDelete: "cascade",
        },
        { table: "days", columns: ["sensor_id"], references: "sensors" },
      ],
    );
    expect(shape["public.sensors"]).toEqual([]);
    expect(Object.keys(shape)).toHaveLength(4);
  });

  test("by the columns' names alone, where the database has no foreign keys", () => {
    const { all } = propose({
      orders: { columns: { id: "int8" } },
      order_items: { columns: { id: "int8", order_id: "int8" } },
      billing_invoice: { columns: { id: "int4" } },
      payments: { columns: { id: "int8", invoice_id: "int4" } },
      comments: { columns: { id: "int8", commentable_type: "text", commentable_id: "int8" } },
      odd: { columns: { id: "int8", order_id: "uuid" } },
    });
    const order = all.find(({ name }) => name === "order")!;
    expect(order.children[0]!.reasons.join()).toContain("by a column name only");
    const leaving = all.flatMap(({ leaving: own }) =>
      own.map(({ table, references }) => `${table} → ${references}`),
    );
    expect(leaving).toEqual(["public.payments → public.billing_invoice"]);
    expect(all.find(({ name }) => name === "comment")!.reasons.join()).toContain(
      "rows of any table",
    );
  });
});

describe("three levels deep", () => {
  const header = { columns: { client: "int4", no: "int4" }, key: ["client", "no"] };
  const position = {
    columns: { client: "int4", order_no: "int4", pos: "int4" },
    key: ["client", "order_no", "pos"],
  };
  const toHeader: ReferenceSketch = {
    table: "order_positions",
    columns: ["client", "order_no"],
    references: "orders",
    referencedColumns: ["client", "no"],
    onDelete: "cascade",
  };

  test("a part of a part that carries the root's key is a child of the root, through any renaming", () => {
    const { all } = propose(
      {
        orders: header,
        order_positions: position,
        order_position_dates: {
          columns: { c: "int4", o: "int4", p: "int4", n: "int4" },
          key: ["c", "o", "p", "n"],
        },
      },
      [
        toHeader,
        {
          table: "order_position_dates",
          columns: ["p", "c", "o"],
          references: "order_positions",
          referencedColumns: ["pos", "client", "order_no"],
          onDelete: "cascade",
        },
      ],
    );
    expect(all).toHaveLength(1);
    expect(
      all[0]!.children.map(({ table, parent, through }) => ({ table, parent, through })),
    ).toEqual([
      {
        table: "public.order_position_dates",
        parent: { c: "client", o: "no" },
        through: "public.order_positions",
      },
      {
        table: "public.order_positions",
        parent: { client: "client", order_no: "no" },
        through: undefined,
      },
    ]);
  });

  test("one that does not is a stream of its own, with the reason, and so is what it owns", () => {
    const { shape, all } = propose(
      {
        invoices: id,
        invoice_lines: { columns: { id: "int8", invoice_id: "int8" } },
        invoice_line_taxes: { columns: { id: "int8", line_id: "int8" } },
        invoice_line_tax_parts: { columns: { id: "int8", tax_id: "int8" } },
      },
      [
        {
          table: "invoice_lines",
          columns: ["invoice_id"],
          references: "invoices",
          onDelete: "cascade",
        },
        {
          table: "invoice_line_taxes",
          columns: ["line_id"],
          references: "invoice_lines",
          onDelete: "cascade",
        },
        {
          table: "invoice_line_tax_parts",
          columns: ["tax_id"],
          references: "invoice_line_taxes",
          onDelete: "cascade",
        },
      ],
    );
    expect(shape).toEqual({
      "public.invoices": ["public.invoice_lines"],
      "public.invoice_line_taxes": ["public.invoice_line_tax_parts"],
    });
    expect(all[0]!.reasons.join()).toContain(
      "three levels deep, but without the key (id) of public.invoices",
    );
  });

  test("one that refers to the root as well is its child by that reference", () => {
    const { all } = propose(
      {
        orders: id,
        order_lines: { columns: { id: "int8", order_id: "int8" } },
        order_line_notes: { columns: { id: "int8", line_id: "int8", order_id: "int8" } },
      },
      [
        { table: "order_lines", columns: ["order_id"], references: "orders", onDelete: "cascade" },
        {
          table: "order_line_notes",
          columns: ["line_id"],
          references: "order_lines",
          onDelete: "cascade",
        },
        { table: "order_line_notes", columns: ["order_id"], references: "orders" },
      ],
    );
    expect(all[0]!.children.map(({ role, parent }) => [role, parent])).toEqual([
      ["lineNotes", { order_id: "id" }],
      ["lines", { order_id: "id" }],
    ]);
  });
});

describe("a table that two would own", () => {
  const tables = {
    suppliers: id,
    customers: id,
    contacts: { columns: { id: "int8", supplier_id: "int8?", customer_id: "int8?" } },
  };
  const references: ReferenceSketch[] = [
    { table: "contacts", columns: ["supplier_id"], references: "suppliers", onDelete: "cascade" },
    { table: "contacts", columns: ["customer_id"], references: "customers", onDelete: "cascade" },
  ];

  test("is refused to both, with the reason", () => {
    const { shape, all } = propose(tables, references);
    expect(shape["public.contacts"]).toEqual([]);
    expect(all.find(({ name }) => name === "contact")!.reasons.join()).toContain(
      "shared by public.suppliers and public.customers",
    );
  });

  test("belongs to the one that a person names, or to itself", () => {
    const named = propose(tables, references, {
      owners: new Map([["public.contacts", "public.customers"]]),
    });
    expect(named.shape["public.customers"]).toEqual(["public.contacts"]);
    const own = propose(tables, references, {
      owners: new Map([["public.contacts", "public.contacts"]]),
    });
    expect(own.shape["public.contacts"]).toEqual([]);
    const wrong = propose(tables, references, {
      owners: new Map([["public.contacts", "public.nothing"]]),
    });
    expect(wrong.all.find(({ name }) => name === "contact")!.reasons.join()).toContain(
      "does not refer to public.nothing",
    );
  });

  test("goes to the one it is named after, when that speaks clearly for it", () => {
    const { shape } = propose(
      {
        films: id,
        actors: id,
        film_actors: {
          columns: { film_id: "int8", actor_id: "int8" },
          key: ["actor_id", "film_id"],
        },
      },
      [
        { table: "film_actors", columns: ["film_id"], references: "films" },
        { table: "film_actors", columns: ["actor_id"], references: "actors" },
      ],
    );
    expect(shape["public.films"]).toEqual(["public.film_actors"]);
  });

  test("is not owned by one that it refers to twice alike", () => {
    const { shape, all } = propose(
      { accounts: id, transfers: { columns: { id: "int8", payer: "int8", payee: "int8" } } },
      [
        { table: "transfers", columns: ["payer"], references: "accounts", onDelete: "cascade" },
        { table: "transfers", columns: ["payee"], references: "accounts", onDelete: "cascade" },
      ],
    );
    expect(shape["public.accounts"]).toEqual([]);
    expect(all[1]!.reasons.join()).toContain("by payer and by payee");
  });
});

describe("references in a circle", () => {
  test("of a table to itself make a tree of streams", () => {
    const { all } = propose({ categories: { columns: { id: "int8", parent_id: "int8?" } } }, [
      {
        table: "categories",
        columns: ["parent_id"],
        references: "categories",
        onDelete: "cascade",
      },
    ]);
    expect(all).toHaveLength(1);
    expect(all[0]!.reasons.join()).toContain("a tree through parent_id");
  });

  test("of two tables that only refer to each other are told", () => {
    const facts = databaseFacts(
      {
        stores: { columns: { id: "int8", manager: "int8" } },
        staff: { columns: { id: "int8", store: "int8" } },
        other: id,
      },
      [
        { table: "stores", columns: ["manager"], references: "staff" },
        { table: "staff", columns: ["store"], references: "stores" },
      ],
    );
    expect(proposeAggregates(facts).circles).toEqual([["staff", "store"]]);
  });

  test("of tables that own each other are broken at the weakest", () => {
    const { shape } = propose(
      {
        a: { columns: { id: "int8", b_ref: "int8" } },
        b: { columns: { id: "int8", a_ref: "int8?" } },
      },
      [
        { table: "a", columns: ["b_ref"], references: "b", onDelete: "cascade" },
        { table: "b", columns: ["a_ref"], references: "a", onDelete: "cascade" },
      ],
    );
    // b may stand without a, so b is the root.
    expect(shape).toEqual({ "public.b": ["public.a"] });
  });
});

describe("names", () => {
  test("are those that a mapping takes, and tell two tables of one name apart by their schemas", () => {
    const { all } = propose({
      "sales.Order Header": id,
      "archive.Order Header": id,
      "public.2fa\\.codes": id,
      "public.select": id,
    });
    expect(all.map(({ name }) => name)).toEqual([
      "archiveOrderHeader",
      "table2faCode",
      "select",
      "salesOrderHeader",
    ]);
  });

  test("of children are not those of a column of the root, of the stream, or of each other", () => {
    const { all } = propose(
      {
        orders: { columns: { id: "int8", lines: "text", order: "text" } },
        order_lines: { columns: { order_id: "int8", n: "int4" }, key: ["order_id", "n"] },
        "x.order_lines": { columns: { order_id: "int8", n: "int4" }, key: ["order_id", "n"] },
      },
      [
        { table: "order_lines", columns: ["order_id"], references: "orders" },
        { table: "x.order_lines", columns: ["order_id"], references: "orders" },
      ],
    );
    expect(all[0]!.children.map(({ role }) => role)).toEqual(["orderLines", "orderLinesRows"]);
  });
});
