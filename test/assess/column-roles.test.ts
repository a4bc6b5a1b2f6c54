import { describe, expect, test } from "vitest";
import { tableFacts, type TableSketch } from "../support/database-facts.ts";
import { columnRoles, type ColumnRole } from "../../src/assess/column-roles.ts";
import { mappingName, singular, wordsOf } from "../../src/assess/identifier-words.ts";
import type { SampledTable } from "../../src/source/database-facts.ts";

describe("the words of an identifier", () => {
  test("are found in every way of writing", () => {
    for (const name of ["order_line_no", "OrderLineNo", "ORDER LINE NO", "order.lineNo"])
      expect(wordsOf(name)).toEqual(["order", "line", "no"]);
    expect(wordsOf("HTTPHeaderID")).toEqual(["http", "header", "id"]);
    expect(wordsOf("Straße_Größe")).toEqual(["strasse", "grosse"]);
  });

  test("are put into the singular, and words that only end in s are left alone", () => {
    const words =
      "orders categories addresses statuses warehouses boxes status news address people bus";
    expect(words.split(" ").map(singular).join(" ")).toBe(
      "order category address status warehouse box status news address person bus",
    );
  });

  test("make names that a mapping takes, whatever they are", () => {
    for (const name of ["2fa-codes", "日本", "Order Position", "_x", "café"])
      expect(mappingName(wordsOf(name))).toMatch(/^[a-zA-Z][a-zA-Z0-9_]*$/);
  });
});

function rolesOf(
  sketch: TableSketch,
  name = "things",
  sampled?: SampledTable,
): Record<string, ColumnRole[]> {
  const roles: Record<string, ColumnRole[]> = {};
  for (const { column, role } of columnRoles(
    tableFacts(name, sketch),
    new Set(["customer_id"]),
    sampled,
  ))
    (roles[column] ??= []).push(role);
  return roles;
}

describe("a column", () => {
  test("with a few declared values is a state when name or values say so, else a category", () => {
    expect(
      rolesOf({
        columns: {
          id: "int8",
          status: { type: "shop.status", allowed: ["new", "paid"] },
          progress_code: { type: "text", allowed: ["pending", "approved", "rejected"] },
          rating: { type: "mpaa", allowed: ["G", "PG", "R"] },
          payment_method: { type: "text", allowed: ["card", "cancelled"] },
        },
      }),
    ).toEqual({
      status: ["state"],
      progress_code: ["state"],
      rating: ["category"],
      payment_method: ["category"],
    });
    const values = [
      { value: "open", share: 0.6 },
      { value: "closed", share: 0.4 },
    ];
    expect(
      rolesOf({
        columns: { id: "int8", situation: { type: "text", distinct: 2, common: values } },
      }),
    ).toEqual({
      situation: ["state"],
    });
  });

  test("of few values that the log has shown to change is a state", () => {
    const known = {
      type: "text",
      distinct: 3,
      common: [
        { value: "A", share: 1 },
        { value: "B", share: 0 },
      ],
    };
    const sampled: SampledTable = {
      inserted: 0,
      updated: 2,
      deleted: 0,
      truncated: 0,
      bytes: 0,
      changedTogether: new Map(),
      transitions: new Map([["x", new Map([["A → B", 2]])]]),
    };
    expect(rolesOf({ columns: { id: "int8", x: known } })).toEqual({ x: ["category"] });
    expect(rolesOf({ columns: { id: "int8", x: known } }, "things", sampled)).toEqual({
      x: ["state"],
    });
  });

  test("called state beside a city is a part of an address, and one of many values is no state", () => {
    expect(rolesOf({ columns: { id: "int8", city: "text", state: "text" } })).toEqual({});
    expect(rolesOf({ columns: { id: "int8", status: { type: "text", distinct: 900 } } })).toEqual(
      {},
    );
  });

  test("holds money by its name, unless it counts, measures or is a share", () => {
    expect(
      rolesOf({
        columns: {
          id: "int8",
          total: "numeric(12,2)",
          unit_price: "numeric",
          amount_cents: "int4",
          GrossAmount: "numeric(14,2)",
          total_count: "int4",
          price_id: "int8",
          discount: "numeric(5,4)",
          fee: "money",
          taxed: "bool",
        },
      }),
    ).toEqual({
      total: ["money"],
      unit_price: ["money"],
      amount_cents: ["money"],
      GrossAmount: ["money"],
      total_count: ["counter"],
      fee: ["money"],
      taxed: ["flag"],
    });
  });

  test("holds personal data by its name, and a bare name only in a table of people", () => {
    const columns = {
      id: "int8",
      name: "text",
      email: "text",
      company_name: "text",
      birth_date: "date",
      last_login: "timestamptz",
      remote: "inet",
      password_hash: "text",
      address: "jsonb",
    };
    expect(rolesOf({ columns }, "customers")).toEqual({
      name: ["personal"],
      email: ["personal"],
      birth_date: ["personal"],
      remote: ["personal"],
      password_hash: ["secret"],
      address: ["personal", "document"],
    });
    expect(rolesOf({ columns: { id: "int8", name: "text" } }, "products")).toEqual({});
  });

  test("of a time says whether it is usable as valid time, happened once, or is planned", () => {
    expect(
      rolesOf({
        columns: {
          id: "int8",
          updated_at: "timestamptz",
          ChangedOn: "timestamp",
          created_at: "timestamptz",
          paid_at: "timestamptz?",
          due_date: "date",
          valid_until: "date",
          deleted_at: "timestamptz?",
          lock_version: "int4",
          updated_by: "text",
        },
      }),
    ).toEqual({
      updated_at: ["changed-at"],
      ChangedOn: ["changed-at"],
      created_at: ["created-at"],
      paid_at: ["happened-at"],
      deleted_at: ["soft-delete"],
      lock_version: ["version"],
      updated_by: ["actor"],
    });
  });

  test("of the key or of a reference has no role", () => {
    expect(rolesOf({ columns: { status: "text", customer_id: "int8" }, key: ["status"] })).toEqual(
      {},
    );
  });
});
