import { describe, expect, test } from "vitest";
import {
  DAY,
  databaseFacts,
  type ReferenceSketch,
  type TableSketch,
} from "../support/database-facts.ts";
import { assess } from "../../src/assess/assess.ts";
import type { AssessOptions } from "../../src/assess/basis.ts";
import type { Assessment, Verdict } from "../../src/assess/assessment.ts";
import type { DatabaseFacts, LogSample } from "../../src/source/database-facts.ts";

const STATES = [
  { value: "open", share: 0.5 },
  { value: "paid", share: 0.3 },
  { value: "cancelled", share: 0.2 },
];
const status = { type: "text", distinct: 3, common: STATES };
/** A table of which one knows at once that it is worth it. */
const ORDERS: TableSketch = {
  columns: {
    id: "int8",
    customer_id: "int8",
    status,
    total: "numeric(12,2)",
    paid_at: "timestamptz?",
    updated_at: "timestamptz",
  },
};
const UNCHANGED = { inserted: 0, updated: 0, deleted: 0 };

function judge(
  tables: Readonly<Record<string, TableSketch>>,
  references: readonly ReferenceSketch[] = [],
  facts: Partial<Omit<DatabaseFacts, "tables" | "foreignKeys">> = {},
  options: AssessOptions = {},
): Assessment {
  return assess(databaseFacts(tables, references, facts), options);
}

function verdicts({ tables }: Assessment): Record<string, Verdict> {
  return Object.fromEntries(
    tables.map(({ name, verdict }) => [name.replace("public.", ""), verdict]),
  );
}

function reasonsOf({ tables }: Assessment, name: string): string {
  return tables.find((table) => table.name === `public.${name}`)!.reasons.join("; ");
}

describe("the verdict", () => {
  test("migrate first goes to the aggregate that brings most, and to its parts with it", () => {
    const assessment = judge(
      {
        orders: ORDERS,
        order_lines: {
          columns: { order_id: "int8", no: "int4", price: "numeric(10,2)" },
          key: ["order_id", "no"],
        },
        invoices: { columns: { id: "int8", state: status, amount: "numeric(10,2)" } },
        customers: { columns: { id: "int8", email: "text", updated_at: "timestamptz" } },
      },
      [
        { table: "order_lines", columns: ["order_id"], references: "orders", onDelete: "cascade" },
        { table: "orders", columns: ["customer_id"], references: "customers" },
      ],
    );
    expect(verdicts(assessment)).toEqual({
      customers: "later",
      invoices: "migrate",
      order_lines: "migrate-first",
      orders: "migrate-first",
    });
    expect(assessment.first!.aggregate).toBe("order");
    expect(assessment.first!.reasons.join()).toContain(
      "its one reference to other aggregates stay",
    );
    expect(assessment.summary.sentences.join(" ")).toContain(
      "Begin with order (public.orders and 1 table",
    );
  });

  test("leave goes to what is looked up, and only with a measured rate as measured", () => {
    const tables = {
      countries: {
        columns: { code: "text", name: "text" },
        rows: 200,
        changes: { inserted: 200, updated: 0, deleted: 0 },
      },
      cities: {
        columns: { id: "int4", country: "text" },
        rows: 900,
        changes: { inserted: 3, updated: 1, deleted: 0 },
      },
      orders: { ...ORDERS, columns: { ...ORDERS.columns, city: "int4" } },
    };
    const references = [
      { table: "cities", columns: ["country"], references: "countries" },
      { table: "orders", columns: ["city"], references: "cities" },
    ];
    const measured = judge(tables, references);
    expect(verdicts(measured)).toMatchObject({ countries: "leave", cities: "leave" });
    expect(reasonsOf(measured, "cities")).toBe("900 rows to choose from, rarely changed");
    const unmeasured = judge(tables, references, { countedSeconds: 60 });
    expect(reasonsOf(unmeasured, "cities")).toBe("900 rows to choose from; not measured");
  });

  test("leave goes to rows that are only added, when that was measured", () => {
    const columns = { id: "int8", at: "timestamptz", amount: "numeric(10,2)", celsius: "float8" };
    const grown = { inserted: 300_000, updated: 0, deleted: 0 };
    const of = (more: Partial<TableSketch>): Assessment =>
      judge({ entries: { columns, rows: 900_000, changes: grown, ...more }, orders: ORDERS });
    expect(reasonsOf(of({}), "entries")).toContain("they are their own history already");
    expect(verdicts(of({}))["entries"]).toBe("leave");
    expect(verdicts(of({ changes: { ...grown, updated: 5_000 } }))["entries"]).not.toBe("leave");
    // As many insertions as rows may have been one load: columns that are there to be changed contradict.
    const loaded = { rows: 300_000, columns: { ...columns, status, updated_at: "timestamptz" } };
    expect(verdicts(of(loaded))["entries"]).toBe("migrate");
  });

  test("leave goes to frameworks' tables, work lists, histories, unlogged and foreign tables", () => {
    const assessment = judge({
      orders: ORDERS,
      orders_history: ORDERS,
      versions: {
        columns: { id: "int8", item_type: "text", item_id: "int8", object_changes: "jsonb" },
      },
      schema_migrations: { columns: { version: "text" } },
      tasks: { columns: { id: "int8", run_at: "timestamptz", attempts: "int4", status } },
      cache: {
        columns: { key: "text", value: "jsonb" },
        kind: "unlogged",
        loggedMend: "ALTER TABLE …",
      },
      remote: { columns: { id: "int8", status }, kind: "foreign" },
    });
    const { orders, ...others } = verdicts(assessment);
    expect(orders).toBe("migrate-first");
    expect(new Set(Object.values(others))).toEqual(new Set(["leave"]));
    expect(reasonsOf(assessment, "orders_history")).toContain("holds the history of public.orders");
    expect(reasonsOf(assessment, "orders")).toContain(
      "its history is kept already, in public.orders_history",
    );
    expect(assessment.blockers).toEqual([]);
  });

  test("leave needs a reason: what is not known is put off instead", () => {
    const plain = { columns: { id: "int8", text: "text" } };
    expect(verdicts(judge({ plain }, [], { countedSeconds: 600 }))).toEqual({ plain: "later" });
    expect(verdicts(judge({ plain }, [], { countedSeconds: undefined }))).toEqual({
      plain: "later",
    });
    expect(verdicts(judge({ plain: { ...plain, changes: undefined } }))).toEqual({
      plain: "later",
    });
    const known = judge({ plain: { ...plain, changes: { inserted: 9, updated: 9, deleted: 0 } } });
    expect(verdicts(known)).toEqual({ plain: "leave" });
    expect(reasonsOf(known, "plain")).toContain("migrate it only when somebody needs its history");
  });

  test("blocked names the SQL, and the aggregate waits with it", () => {
    const assessment = judge(
      {
        orders: ORDERS,
        order_lines: {
          columns: { order_id: "int8", no: "int4", price: "numeric(10,2)" },
          key: [],
          uniqueKeys: [["order_id", "no"]],
          identityMend: "ALTER TABLE lines …;",
        },
        dunning: {
          columns: { status, fee: "numeric(8,2)" },
          key: [],
          identityMend: "…FULL;",
          keyMend: "ALTER TABLE dunning ADD …;",
        },
      },
      [{ table: "order_lines", columns: ["order_id"], references: "orders", onDelete: "cascade" }],
    );
    expect(verdicts(assessment)).toEqual({
      dunning: "blocked",
      order_lines: "blocked",
      orders: "later",
    });
    expect(assessment.first).toBeUndefined();
    expect(assessment.blockers.map(({ table, sql }) => [table, sql])).toEqual([
      ["public.dunning", "ALTER TABLE dunning ADD …;"],
      ["public.order_lines", "ALTER TABLE lines …;"],
    ]);
    expect(assessment.summary.sentences.join(" ")).toContain("What is worth migrating is blocked");
  });

  test("what the server lacks is a blocker of all, and of no table", () => {
    const mend = "ALTER SYSTEM SET wal_level = 'logical';";
    const assessment = judge({ orders: ORDERS }, [], {
      findings: [
        { severity: "error", code: "wal-level", message: "wal_level is replica", mend },
        { severity: "info", code: "slot-log-unlimited", message: "…" },
      ],
    });
    expect(verdicts(assessment)).toEqual({ orders: "migrate-first" });
    expect(assessment.blockers).toEqual([
      { severity: "error", code: "wal-level", text: "wal_level is replica", sql: mend },
    ]);
  });
});

describe("how often rows change", () => {
  const rateOf = (
    facts: Partial<DatabaseFacts>,
    table: Partial<TableSketch>,
    options: AssessOptions = {},
  ) =>
    judge({ orders: { ...ORDERS, ...table }, other: ORDERS }, [], facts, options).tables[0]!
      .changes;

  test("is an average over the time that the server has counted", () => {
    const changes = { inserted: 300, updated: 600, deleted: 30 };
    expect(rateOf({ countedSeconds: 30 * DAY }, { changes })).toEqual({
      basis: "statistics",
      insertedPerDay: 10,
      updatedPerDay: 20,
      deletedPerDay: 1,
    });
  });

  test("is not known after less than an hour, or of a copy that was loaded or rests", () => {
    expect(rateOf({ countedSeconds: 1_800 }, {})).toEqual({
      basis: "unknown",
      remark: "counted for 30 min only",
    });
    const copies = [{ inserted: 1_000, updated: 2, deleted: 0 }, UNCHANGED];
    for (const changes of copies) {
      const assessment = judge(
        { orders: { ...ORDERS, changes }, other: { ...ORDERS, changes } },
        [],
        { countedSeconds: 90 * DAY },
      );
      expect(assessment.tables.map((table) => table.changes.basis)).toEqual(["unknown", "unknown"]);
      expect(assessment.advice.join()).toContain("as in a copy that");
      expect(assessment.summary.changesPerDay).toEqual({ value: 0, atLeast: true });
    }
  });

  test("does not count a load as a day's work", () => {
    const changes = { inserted: 1_000, updated: 20, deleted: 0 };
    expect(rateOf({ countedSeconds: 2 * DAY }, { changes })).toMatchObject({
      basis: "statistics",
      updatedPerDay: 10,
    });
    expect(rateOf({ countedSeconds: 2 * DAY }, { changes })).not.toHaveProperty("insertedPerDay");
    expect(rateOf({ countedSeconds: 20 * DAY }, { changes })).toMatchObject({ insertedPerDay: 50 });
  });

  test("comes from the sample where the server has counted for less than a day", () => {
    const sample: LogSample = {
      seconds: 60,
      transactions: 3,
      bytes: 500,
      tables: new Map([
        [
          "public.orders",
          {
            inserted: 0,
            updated: 2,
            deleted: 0,
            truncated: 1,
            bytes: 500,
            changedTogether: new Map([["status, updated_at", 2]]),
            transitions: new Map([
              ["status", new Map([["open → paid", 2]])],
              ["total", new Map([["1 → 2", 1]])],
            ]),
          },
        ],
      ]),
    };
    expect(rateOf({ countedSeconds: 7_200 }, {}, { sample })).toMatchObject({
      basis: "sample",
      updatedPerDay: 2_880,
    });
    expect(rateOf({ countedSeconds: 30 * DAY }, {}, { sample })).toMatchObject({
      basis: "statistics",
    });
    const assessment = judge(
      { orders: ORDERS, quiet: ORDERS },
      [],
      { countedSeconds: 7_200 },
      { sample },
    );
    expect(assessment.basis.sample).toEqual({
      seconds: 60,
      transactions: 3,
      changes: 2,
      bytes: 500,
    });
    expect(reasonsOf(assessment, "orders")).toContain("status moves (open → paid)");
    // Values of what is no state are nobody's business.
    expect(assessment.tables[0]!.transitions).toEqual({ status: { "open → paid": 2 } });
    expect(assessment.tables[0]!.notes.map(({ code }) => code)).toContain("truncated");
    expect(assessment.tables[1]!.changes.remark).toBe("none seen in 60 s");
  });
});

describe("what is not known", () => {
  test("is said, and makes sums at least", () => {
    const assessment = judge({ orders: { ...ORDERS, rows: undefined }, other: ORDERS });
    expect(assessment.basis.neverAnalysed).toEqual(["public.orders"]);
    expect(assessment.advice.join()).toContain("ANALYZE");
    expect(assessment.tables[0]).not.toHaveProperty("rows");
    expect(assessment.summary.rows).toEqual({ value: 1_000, atLeast: true });
    expect(assessment.summary.migrating.baselineBytes.atLeast).toBe(true);
  });

  test("for want of rights, too, with what would give them", () => {
    const assessment = judge({ orders: { ...ORDERS, readable: false } });
    expect(assessment.basis.unreadable).toEqual(["public.orders"]);
    expect(assessment.advice.join()).toContain("Role assessor may not read one table");
  });

  test("an empty database has nothing to say, and says so", () => {
    const assessment = judge({});
    expect(assessment.summary.sentences).toEqual([
      "legacy has no tables of an application to look at.",
    ]);
    expect(assessment.aggregates).toEqual([]);
  });
});

test("personal values of the statistics are not repeated", () => {
  const secretive = { type: "text", distinct: 3, common: [{ value: "ada@example.org", share: 1 }] };
  const assessment = judge({
    customers: { columns: { id: "int8", email: secretive, status_email: secretive } },
  });
  expect(JSON.stringify(assessment)).not.toContain("ada@example.org");
});
