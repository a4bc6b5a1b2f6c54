import { setTimeout as sleep } from "node:timers/promises";
import { worldOf, type ReverseWorld } from "./reverse-support.ts";
import { child, stream, table, type StreamRef } from "../../src/mapping/rules.ts";
import { sourceDatabase } from "../connectors/postgres/source-support.ts";

const DDL = `
  CREATE TABLE account (id int PRIMARY KEY, email text UNIQUE, note jsonb, balance numeric(12,2) NOT NULL,
                        doubled numeric GENERATED ALWAYS AS (balance * 2) STORED);
  CREATE TABLE entry (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account_id int NOT NULL REFERENCES account,
                      amount numeric(12,2), tags text[]);
  CREATE TABLE loan (id int PRIMARY KEY, account_id int NOT NULL REFERENCES account, sum float8);
  INSERT INTO account VALUES (1, 'a@x', '{"a": 1}', 10), (2, 'b@x', NULL, 20), (3, NULL, NULL, 30), (4, 'd@x', NULL, 40);
  INSERT INTO entry (account_id, amount, tags) VALUES (1, 5, '{x}'), (1, 7, NULL), (2, 1, '{}');
  INSERT INTO loan VALUES (1, 1, 0.1);`;

const STREAMS: Readonly<Record<string, StreamRef>> = {
  account: stream(table("account"), {
    children: { entries: child(table("entry"), { account_id: "id" }) },
    otherwise: "AccountAmended",
  }),
  loan: stream(table("loan"), { otherwise: "LoanAmended" }),
};

/** Accounts with entries, and loans that refer to accounts: two stream types with a foreign key between. */
export async function bankWorld(label: string): Promise<ReverseWorld> {
  const db = await sourceDatabase(label, DDL, "account, entry, loan");
  return await worldOf(db, STREAMS);
}

/** The fallback event of a row. */
export function amended(
  type: "Account" | "Loan",
  role: "account" | "entries" | "loan",
  op: "insert" | "update" | "delete",
  data: Readonly<Record<string, unknown>>,
): { readonly type: string; readonly data: Readonly<Record<string, unknown>> } {
  return { type: `${type}Amended`, data: { $row: role, $op: op, ...data } };
}

/** Waits for something, for a minute and more at most. */
export async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let look = 0; !(await holds()); look++) {
    if (look > 4_000) throw new Error("it did not come in time");
    await sleep(20);
  }
}
