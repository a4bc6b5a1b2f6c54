import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { captureDraft, surveyOf, type DraftedCapture } from "./drafted-capture.ts";
import { randomNumbers, writeRandomly } from "./random-traffic.ts";
import { typecheck } from "./typecheck.ts";
import { createDatabase } from "../support/databases.ts";
import { draft, type Draft } from "../../src/draft/draft.ts";
import { tableNames } from "../../src/draft/table-names.ts";
import type { DatabaseFacts } from "../../src/source/database-facts.ts";

const ROWS_MAX = 200;

/** A file that declares rows of created aggregates and children as rows of their types. */
async function rowsByType(
  run: DraftedCapture,
  drafted: Draft,
  facts: DatabaseFacts,
): Promise<string> {
  const names = tableNames(facts.tables);
  const lines: string[] = [];
  for (const { rules, children, baseline, proposal } of drafted.aggregates) {
    const roles = new Set(children.map(({ role }) => role));
    for (const { on, event, table } of [
      ...rules,
      { on: "insert", event: baseline, table: proposal.root },
    ]) {
      if (on !== "insert") continue;
      const rows = (await run.createdRows(event, ROWS_MAX)).map((data) =>
        Object.fromEntries(Object.entries(data).filter(([name]) => !roles.has(name))),
      );
      const type = names.get(table)!.row;
      lines.push(
        `export const ${event}: readonly import("./banyan.tables.ts").${type}[] = ${JSON.stringify(rows)};`,
      );
    }
  }
  return lines.join("\n");
}

/*
 * Three databases as they are found, each with everything that is easily drafted wrong: assess → draft
 * → check without an edit, then a baseline, random traffic, and a comparison of every row.
 */

const TRANSACTIONS = process.env["BANYAN_TEST_BUDGET"] === "nightly" ? 2_000 : 150;

test.each([
  {
    name: "orders",
    streams: ["order + lines + payments + lineTaxes", "customer", "product"],
    events: [
      "OrderCreated",
      "OrderPlaced",
      "OrderPaid",
      "OrderLineAdded",
      "PaymentRefunded",
      "CustomerTierChanged",
      "CustomerDeleted",
    ],
    leftOut: ["countries", "order_audit", "product_reviews", "sessions"],
  },
  {
    name: "clinic",
    streams: [
      "invoice + items",
      "patient + appointments + prescriptions + treatments",
      "department",
      "doctor",
      "practice",
    ],
    events: [
      "InvoicePaid",
      "AppointmentStateSetTo1",
      "TreatmentFeeChanged",
      "DepartmentParentChanged",
      "PatientDeleted",
    ],
    leftOut: ["waiting_list"],
  },
  {
    name: "crm",
    streams: [
      "ticket + messages",
      "lead + note",
      "publicOrder",
      "salesOrder",
      "call",
      "contact",
      "party",
      "stream",
      "vipParty",
      "zakazy",
    ],
    events: [
      "TicketBeganWaitingForCustomer",
      "LeadWon",
      "LeadPutOnHold",
      "SalesOrderDone",
      "CallAmended",
      "ContactDetailsChanged",
      "ZakazyStatusChanged",
    ],
    leftOut: ["$odd", "click_log", "imports", "scratch"],
  },
])(
  "$name: the draft is captured as it is, and after random traffic every row is what its events say",
  async ({ name, streams, events, leftOut }) => {
    const seed = Number(process.env["BANYAN_TEST_SEED"] ?? Date.now() % 2 ** 31);
    await using db = await createDatabase(`draft ${name}`);
    await db.query(readFileSync(join(import.meta.dirname, "databases", `${name}.sql`), "utf8"));
    await db.query("ANALYZE");
    const facts = await surveyOf(db.url);
    const drafted = draft(facts);
    const told = drafted.aggregates.map(({ proposal, children }) =>
      [proposal.name, ...children.map(({ role }) => role)].join(" + "),
    );
    expect(told.toSorted()).toEqual(streams.toSorted());
    expect(drafted.leftOut.map(({ table }) => table)).toEqual(
      leftOut.map((table) => `public.${table}`),
    );
    await using run = await captureDraft(db, drafted);
    await run.capture.catchUp();
    const traffic = await writeRandomly(db.url, facts, TRANSACTIONS, randomNumbers(seed));
    expect(traffic.done, `BANYAN_TEST_SEED=${seed}`).toBeGreaterThan(TRANSACTIONS / 2);
    await run.capture.catchUp();
    expect(await run.capture.store.quarantine.list(), `BANYAN_TEST_SEED=${seed}`).toEqual([]);
    const rows = await run.rowCount();
    expect(await run.capture.verify(), `BANYAN_TEST_SEED=${seed}`).toMatchObject({
      state: "equal",
      compared: rows,
    });
    // The types of the rows are what events hold: the compiler says so of the events themselves.
    const rowsOf = await rowsByType(run, drafted, facts);
    expect(typecheck({ [name]: { ...drafted, more: rowsOf } })).toEqual([]);

    const seen = await run.eventTypes();
    const named = new Set(
      drafted.aggregates.flatMap(({ rules }) => rules.map(({ event }) => event)),
    );
    for (const event of events) expect([...named, "CallAmended"]).toContain(event);
    expect([...seen.keys()].filter((type) => named.has(type)).length).toBeGreaterThan(
      named.size / 3,
    );
  },
);
