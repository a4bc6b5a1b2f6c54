import { describe, expect, test } from "vitest";
import {
  databaseFacts,
  type ReferenceSketch,
  type TableSketch,
} from "../support/database-facts.ts";
import { draft, type DraftOptions } from "../../src/draft/draft.ts";
import type { LogSample, SampledTable } from "../../src/source/database-facts.ts";

type Tables = Readonly<Record<string, TableSketch>>;

function drafted(
  tables: Tables,
  references: readonly ReferenceSketch[] = [],
  options: DraftOptions = {},
) {
  return draft(databaseFacts(tables, references), options);
}

/** `Event: what it is about`, of all aggregates. */
function events(
  tables: Tables,
  references: readonly ReferenceSketch[] = [],
  options: DraftOptions = {},
): string[] {
  return drafted(tables, references, options).aggregates.flatMap(({ rules }) =>
    rules.map(({ event, on, when, anyOf, data, filled }) => {
      const about = [
        ...when.map(
          ({ column, becomes }) =>
            `${column}${becomes === undefined ? "" : `=${JSON.stringify(becomes)}`}`,
        ),
        ...anyOf,
      ].join("|");
      const more = `${data.length > 0 ? ` + ${data.join(", ")}` : ""}${filled === undefined ? "" : " filled"}`;
      return `${event}: ${on === "update" ? about : on}${more}`;
    }),
  );
}

const cascade = (table: string, column: string, references: string): ReferenceSketch => ({
  table,
  columns: [column],
  references,
  onDelete: "cascade",
});

describe("the events of a table", () => {
  test("each state is an event but the one in which a row begins; what tells of it goes with it", () => {
    expect(
      events({
        orders: {
          columns: {
            id: "int8",
            status: {
              type: "text",
              allowed: ["placed", "paid", "in_transit", "cancelled"],
              default: "'placed'::text",
            },
            total: "numeric(10,2)",
            cancel_reason: "text?",
            paid_at: "timestamptz?",
            updated_by: "text?",
            updated_at: "timestamptz",
          },
        },
      }),
    ).toEqual([
      "OrderPlaced: insert",
      'OrderPaid: status="paid" + paid_at, updated_by, updated_at',
      'OrderWentInTransit: status="in_transit" + updated_by, updated_at',
      'OrderCancelled: status="cancelled" + cancel_reason, updated_by, updated_at',
      "OrderTotalChanged: total + updated_by, updated_at",
      "OrderDeleted: delete",
    ]);
  });

  test("states that only the statistics know leave room for others; unknown ones are one event", () => {
    const orders = (status: Partial<Extract<TableSketch["columns"][string], object>>): Tables => ({
      orders: {
        columns: { id: "int8", status: { type: "text", ...status }, total: "numeric(10,2)" },
      },
    });
    expect(
      events(
        orders({
          distinct: 2,
          common: [
            { value: "new", share: 0.6 },
            { value: "paid", share: 0.4 },
          ],
        }),
      ),
    ).toEqual(expect.arrayContaining(['OrderPaid: status="paid"', "OrderStatusChanged: status"]));
    expect(events(orders({}))).toContain("OrderStatusChanged: status");
    expect(drafted(orders({})).config).toContain("ANALYZE orders");
  });

  test("of more declared values than anybody would read, those that occur are events", () => {
    const allowed = Array.from({ length: 30 }, (_, i) => `state${i}ed`);
    // One of them was allowed once.
    const common = ["state7ed", "forgotten"].map((value) => ({ value, share: 0.4 }));
    const status = { type: "text", allowed, distinct: 1, common };
    expect(events({ orders: { columns: { id: "int8", status, total: "money" } } })).toEqual([
      "OrderCreated: insert",
      'OrderBecameState7ed: status="state7ed"',
      "OrderStatusChanged: status",
      "OrderTotalChanged: total",
      "OrderDeleted: delete",
    ]);
  });

  test("numbers and letters are codes that somebody must name, in the form that events have", () => {
    const tables = {
      jobs: {
        columns: {
          id: "int8",
          state: { type: "int4", allowed: ["1", "2"] },
          phase: { type: "bpchar(2)", allowed: ["N", "OK"] },
          amount: "numeric(10,2)",
        },
      },
    };
    const facts = databaseFacts(tables);
    const [table] = facts.tables;
    const columns = table!.table.columns.map((column) => ({
      ...column,
      codec: column.type === "int4" ? ("int" as const) : column.codec,
    }));
    const made = draft({ ...facts, tables: [{ ...table!, table: { ...table!.table, columns } }] });
    expect(made.config).toContain("JobStateSetTo2: updated(jobs, { state: becomes(2) })");
    expect(made.config).toContain('JobPhaseSetToN: updated(jobs, { phase: becomes("N ") })');
    expect(made.config).toContain(
      "// state: declared values. They say little by themselves: name the events.",
    );
    expect(made.tables).toContain("state: 1 | 2;");
    expect(made.tables).toContain('phase: "N " | "OK";');
  });

  test("a second state column does not mix its events with the first one's", () => {
    const status = { type: "text", allowed: ["open", "paid"], default: "'open'::text" };
    expect(events({ orders: { columns: { id: "int8", status, payment_status: status } } })).toEqual(
      [
        "OrderOpened: insert",
        'OrderPaid: status="paid"',
        'OrderPaymentPaid: payment_status="paid"',
        "OrderDeleted: delete",
      ],
    );
  });

  test("marks, switches and times that are filled in later are told by what they mean", () => {
    expect(
      events({
        users: {
          columns: {
            id: "int8",
            is_active: "bool",
            newsletter: "bool",
            verified_at: "timestamptz?",
            deleted_at: "timestamptz?",
            password: "text",
            email: "text",
            phone: "text?",
            plan_id: "int8?",
            registered_on: "date",
          },
        },
        plans: { columns: { id: "int8", price: "numeric(10,2)" } },
      }).filter((line) => line.startsWith("User")),
    ).toEqual([
      "UserRegistered: insert",
      "UserRestored: deleted_at=null",
      "UserDeleted: deleted_at filled",
      "UserActivated: is_active=true",
      "UserDeactivated: is_active=false",
      "UserNewsletterChanged: newsletter",
      "UserVerified: verified_at filled",
      "UserPlanChanged: plan_id",
      "UserPasswordChanged: password",
      "UserDetailsChanged: email|phone",
      "UserPurged: delete",
    ]);
  });

  test("a child's events carry its own noun, and nothing of it is left to the fallback", () => {
    expect(
      events(
        {
          orders: { columns: { id: "int8", total: "numeric(10,2)" } },
          order_lines: {
            columns: { order_id: "int8", no: "int4", sku: "text", quantity: "int4" },
            key: ["order_id", "no"],
          },
          notes: {
            columns: {
              id: "int8",
              order_id: "int8",
              words: "text",
              fee_cents: "int4",
              created_by: "text",
              created_at: "timestamptz",
              updated_at: "timestamptz",
            },
          },
          shipments: { columns: { id: "int8", order_id: "int8", shipped_at: "timestamptz" } },
        },
        [
          cascade("order_lines", "order_id", "orders"),
          cascade("notes", "order_id", "orders"),
          cascade("shipments", "order_id", "orders"),
        ],
      ),
    ).toEqual([
      "OrderCreated: insert",
      "OrderTotalChanged: total",
      "OrderDeleted: delete",
      "NoteAdded: insert",
      "NoteFeeChanged: fee_cents + updated_at",
      "NoteWordsChanged: words + updated_at",
      "NoteRemoved: delete",
      "OrderLineAdded: insert",
      "OrderLineChanged: sku|quantity",
      "OrderLineRemoved: delete",
      "ShipmentAdded: insert",
      "ShipmentShippedAtChanged: shipped_at",
      "ShipmentRemoved: delete",
    ]);
  });

  test("names never meet: those of children, of states and of what each stream has anyhow", () => {
    const status = {
      type: "text",
      allowed: ["amended", "baselined", "deleted", "created", "Deleted"],
    };
    const names = drafted(
      {
        orders: { columns: { id: "int8", status } },
        order: { columns: { id: "int8", status } },
        lines: { columns: { id: "int8", orders_id: "int8", total: "money" } },
        "other.lines": { columns: { id: "int8", order_id: "int8", total: "money" } },
      },
      [cascade("lines", "orders_id", "orders"), cascade("other.lines", "order_id", "order")],
    ).aggregates.flatMap(({ rules, otherwise, baseline }) => [
      ...rules.map(({ event }) => event),
      otherwise,
      baseline,
    ]);
    expect(new Set(names.map((name) => name.toLowerCase())).size).toBe(names.length);
    expect(names.length).toBeGreaterThan(15);
  });
});

describe("a sample of the log", () => {
  const orders: TableSketch = {
    columns: {
      id: "int8",
      status: { type: "text", allowed: ["placed", "paid", "sent"], default: "'placed'::text" },
      shelf: "text?",
      updated_at: "timestamptz",
    },
  };
  const sampled: SampledTable = {
    inserted: 1,
    updated: 9,
    deleted: 0,
    truncated: 0,
    bytes: 900,
    changedTogether: new Map([
      ["status, shelf, updated_at", 9],
      ["shelf", 1],
    ]),
    transitions: new Map([
      [
        "status",
        new Map([
          ["placed → paid", 6],
          ["paid → placed", 3],
        ]),
      ],
    ]),
  };
  const sample: LogSample = {
    seconds: 60,
    transactions: 10,
    bytes: 900,
    tables: new Map([["public.orders", sampled]]),
  };

  test("shows that a TRUNCATE must not stop the capture", () => {
    const seen = (truncated: number): LogSample => ({
      ...sample,
      tables: new Map([["public.orders", { ...sampled, truncated }]]),
    });
    expect(drafted({ orders }, [], { sample: seen(1) }).config).toContain('truncate: "events"');
    expect(drafted({ orders }, [], { sample: seen(0) }).config).not.toContain("truncate");
  });

  test("shows the way back, what changes with a state, and how often", () => {
    expect(events({ orders }, [], { sample })).toEqual([
      "OrderPlaced: insert",
      'OrderWentBackToPlaced: status="placed" + shelf, updated_at',
      'OrderPaid: status="paid" + shelf, updated_at',
      'OrderSent: status="sent" + shelf, updated_at',
      "OrderDeleted: delete",
    ]);
    expect(drafted({ orders }, [], { sample }).config).toContain("Seen from placed 6×.");
  });
});

test("a name that a person gave is not taken by another event, whatever that would be called", () => {
  const status = { type: "text", allowed: ["new", "paid", "sent"], default: "'new'::text" };
  const tables = {
    orders: { columns: { id: "int8", status } },
    parcels: { columns: { id: "int8", status } },
  };
  const answers = {
    events: {
      "public.parcels status=paid": "OrderPaid",
      "public.orders status=sent": "ParcelSent",
      gone: "OrderAmended",
    },
  };
  const { aggregates } = drafted(tables, [], { answers });
  const byId = new Map(
    aggregates.flatMap(({ rules }) => rules.map(({ id, event }) => [id, event] as const)),
  );
  expect(byId.get("public.parcels status=paid")).toBe("OrderPaid");
  expect(byId.get("public.orders status=sent")).toBe("ParcelSent");
  const names = aggregates.flatMap(({ rules, otherwise }) => [
    ...rules.map(({ event }) => event),
    otherwise,
  ]);
  expect(new Set(names).size).toBe(names.length);
});

describe("what is drafted", () => {
  const tables: Tables = {
    orders: { columns: { id: "int8", status: { type: "text", allowed: ["a1", "paid"] } } },
    order_lines: {
      columns: { order_id: "int8", no: "int4", amount: "money" },
      key: ["order_id", "no"],
      identityMend: "ALTER TABLE lines …;",
    },
    countries: {
      columns: { code: "text", name: "text" },
      rows: 9,
      changes: { inserted: 0, updated: 0, deleted: 0 },
    },
    ledger: {
      columns: { a: "text", amount: "money", state: "text" },
      key: [],
      keyMend: "ALTER TABLE ledger …;",
    },
    cache_of_x: {
      columns: { id: "int8", value: "text" },
      kind: "unlogged",
      loggedMend: "ALTER TABLE cache_of_x SET LOGGED;",
    },
    elsewhere: { columns: { id: "int8" }, kind: "foreign" },
    "crm.deals": { columns: { id: "int8", $odd: "text", amount: "money", state: "text" } },
  };
  const references = [cascade("order_lines", "order_id", "orders")];
  const facts = databaseFacts(tables, references);
  const causes = (options: DraftOptions = {}) =>
    Object.fromEntries(
      draft(facts, options).leftOut.map(({ table, cause }) => [
        table.replace("public.", ""),
        cause,
      ]),
    );

  test("is what is worth it and can be captured; the rest is named at the end of the file, with its SQL", () => {
    expect(causes()).toEqual({
      order_lines: "blocked",
      countries: "judged",
      ledger: "blocked",
      cache_of_x: "judged",
      elsewhere: "judged",
      "crm.deals": "blocked",
    });
    const { config } = draft(facts);
    expect(config).toContain("order: stream(orders, {");
    expect(config).toMatch(/\* countries: leave as CRUD: 9 rows to choose from/);
    expect(config).toContain("\n//     ALTER TABLE ledger …;\n");
    expect(config).not.toContain("child(");
  });

  test("is what was asked for, whatever is judged of it", () => {
    const { aggregates } = draft(facts, { tables: ["countries"] });
    expect(aggregates.map(({ proposal }) => proposal.root)).toEqual(["public.countries"]);
    expect(causes({ tables: ["countries"] })).toMatchObject({
      orders: "unasked",
      ledger: "unasked",
    });
  });

  test.each([
    ["ledger", "ALTER TABLE ledger …;"],
    ["order_lines", "ALTER TABLE lines …;"],
    ["public.cache_of_x", "ALTER TABLE cache_of_x SET LOGGED;"],
    ["elsewhere", "Mend that in the database"],
    ["deals", "Mend that in the database"],
  ])("refuses %s when it is asked for, with what unblocks it", (table, hint) => {
    expect(() => draft(facts, { tables: [table] })).toThrow(
      expect.objectContaining({
        code: "SOURCE_NOT_READY",
        hint: expect.stringContaining(hint) as string,
      }),
    );
  });

  test("names every table that there is not, and every one that may be two", () => {
    const two = databaseFacts({
      "a.things": { columns: { id: "int8" } },
      "b.things": { columns: { id: "int8" } },
    });
    expect(() => draft(two, { tables: ["things", "nothing", "a.things"] })).toThrow(
      "--tables: things may be any of a.things, b.things; there is no table nothing",
    );
  });

  test("takes several names in one text, and names with a comma", () => {
    const some = databaseFacts({
      a: { columns: { id: "int8" } },
      b: { columns: { id: "int8" } },
      "c,d": { columns: { id: "int8" } },
      "s.e": { columns: { id: "int8" } },
    });
    const roots = (...names: string[]): string[] =>
      draft(some, { tables: names })
        .aggregates.map(({ proposal }) => proposal.root)
        .toSorted();
    expect(roots("a, b", "e")).toEqual(["public.a", "public.b", "s.e"]);
    expect(roots("c,d")).toEqual(["public.c,d"]);
    expect(() => roots(",")).toThrow("no table is named");
  });

  test("without anything worth it there is no config, and the types are there all the same", () => {
    const { config, tables: text } = drafted({ countries: tables["countries"]! });
    expect(config).toBeUndefined();
    expect(text).toContain("export interface CountryRow");
  });
});

test("a password in the address stands in no file, nor does the address", () => {
  const { config } = drafted({ orders: { columns: { id: "int8", total: "money" } } });
  expect(config).toContain('url: env("LEGACY_URL")');
  expect(config!.match(/postgres:\/\/\S*/g)).toEqual([
    "postgres://user:password@host:port/database.",
  ]);
});
