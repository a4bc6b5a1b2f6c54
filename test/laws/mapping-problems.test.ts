import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkConfig, LINES, ORDERS, type Database } from "./check-config.ts";
import type { SourceTable } from "../../src/model/table.ts";
import { shape } from "../support/mapping-fixtures.ts";

/*
 * What does not fit is told before anything runs, each with its place and what to change. Line 8 of a
 * config is the first of its streams.
 */

const told = new Set<string>();

const stream = (inside: string): string =>
  `order: stream(orders, { children, otherwise: "OrderAmended", ${inside} }),`;
const rule = (text: string): string => stream(`events: { ${text} }`);
const orders = (columns: string, more: Partial<SourceTable> = {}): Database => ({
  tables: [{ ...shape("public.orders", columns), ...more }, LINES],
});
const lines = (columns: string): Database => ({
  tables: [ORDERS, shape("public.lines", columns)],
});

test.each<[string, Database, string]>([
  [
    `"two words": stream(orders, { children, otherwise: "OrderAmended" }),`,
    {},
    `
✗ stream "two words": a stream's name is a letter followed by letters, digits and underscores
    at    banyan.config.ts:8, stream two words  [stream-name]
    next  Give the stream such a name`,
  ],
  [
    `order: stream(orders, { children, otherwise: "OrderAmended" }), line: stream(lines, { otherwise: "LineAmended" }),`,
    {},
    `
✗ table public.lines belongs to both order and line; a table has one owner
    at    banyan.config.ts:8, stream line, public.lines  [table-in-two-streams]
    next  Leave it in one of the two`,
  ],
  [
    `order: stream(orders, { otherwise: "OrderAmended", children: { order: child(lines, { order_id: "id" }) } }),`,
    {},
    `
✗ stream order: the child "order" has the name of its stream
    at    banyan.config.ts:8, stream order  [child-name]
    next  Give the child of public.lines another name`,
  ],
  [
    `order: stream(orders, { otherwise: "OrderAmended", children: { note: child(lines, { order_id: "id" }) } }),`,
    {},
    `
✗ stream order: the child "note" has the name of a column of public.orders; give it another
    at    banyan.config.ts:8, stream order, public.orders.note  [child-named-as-column]
    next  Give the child "note" another name`,
  ],
  [
    `order: stream(orders, { otherwise: "OrderAmended", children: { lines: child(lines, { no: "id", order_id: "customer" }) } }),`,
    {},
    `
✗ child lines of stream order refers to (id, customer), but the key of public.orders is (id)
    at    banyan.config.ts:8, stream order, public.lines  [child-link]
    next  Name each of id once, as the column of public.lines that refers to it`,
  ],
  [
    stream(""),
    lines("*order_id:citext *no:int4"),
    `
✗ child lines of stream order cannot be found by "order_id" (citext), which refers to "id" (int8) of public.orders: values of type citext can be equal and yet written in two ways
    at    banyan.config.ts:8, stream order, public.lines.order_id  [child-link-type]
    next  Give both columns one type, or map the table as a stream of its own`,
  ],
  [
    stream(""),
    {
      tables: [
        shape("public.orders", "*id:date"),
        shape("public.lines", "*order_id:timestamptz *no:int4"),
      ],
    },
    `
✗ child lines of stream order cannot be found by "order_id" (timestamptz), which refers to "id" (date) of public.orders: equal values of these two types are written in two ways
    at    banyan.config.ts:8, stream order, public.lines.order_id  [child-link-type]
    next  Give both columns one type, or map the table as a stream of its own`,
  ],
  [
    stream(""),
    lines("*order_nr:int8 *no:int4"),
    `
✗ child lines of stream order uses column "order_id", which public.lines does not have
    at    banyan.config.ts:8, stream order, public.lines.order_id  [column-missing]
    next  Write "order_nr", if that is meant`,
  ],
  [
    rule(`OrderAmended: updated(orders, changed("note"))`),
    {},
    `
✗ stream order: rule OrderAmended has the name of the fallback or baseline event
    at    banyan.config.ts:8, stream order, rule OrderAmended  [event-name]
    next  Give the rule another name`,
  ],
  [
    rule(`Paid: updated(table("payments"), changed("paid"))`),
    {},
    `
✗ rule Paid is about public.payments, which is not a table of stream order
    at    banyan.config.ts:8, stream order, rule Paid, public.payments  [rule-table]
    next  Add the table as a child of the stream, or move the rule to the stream that has it`,
  ],
  [
    rule(`LineAdded: inserted(lines, { with: [orders] })`),
    {},
    `
✗ rule LineAdded: "with" names public.orders; only children of the root's own insert can be taken with it
    at    banyan.config.ts:8, stream order, rule LineAdded, public.orders  [rule-with]
    next  Leave it out of "with"`,
  ],
  [
    rule(`Touched: updated(orders, {})`),
    {},
    `
✗ rule Touched names no column, so it could never fire
    at    banyan.config.ts:8, stream order, rule Touched, public.orders  [rule-without-column]
    next  Name the columns that it is about: a condition, changed(…), or data`,
  ],
  [
    rule(`Placed: updated(orders, changed("placedAt"))`),
    {},
    `
✗ rule Placed uses column "placedAt", which public.orders does not have
    at    banyan.config.ts:8, stream order, rule Placed, public.orders.placedAt  [column-missing]
    next  Write "placed_at", if that is meant`,
  ],
  [
    stream(`validTime: "changed_at"`),
    {},
    `
✗ stream order: validTime names column "changed_at", which public.orders does not have
    at    banyan.config.ts:8, stream order, public.orders.changed_at  [column-missing]
    next  Name a column of public.orders: id, status, total, paid, note, placed_at`,
  ],
  [
    rule(`Noted: updated(orders, { note: "urgent" })`),
    {},
    `
✗ rule Noted: the condition on "note" is not one; use becomes(), is(), was(), changes()
    at    banyan.config.ts:8, stream order, rule Noted, public.orders.note  [condition-unknown]
    next  Write { note: becomes(…) }, or is(…), was(…), changes()`,
  ],
  [
    rule(`Noted: updated(orders, { note: becomes() })`),
    {},
    `
✗ rule Noted: becomes() on "note" names no value
    at    banyan.config.ts:8, stream order, rule Noted, public.orders.note  [condition-without-value]
    next  Name at least one value, or use changes()`,
  ],
  [
    rule(`Paid: updated(orders, { paid: becomes("true") })`),
    {},
    `
✗ rule Paid: becomes() on "paid" names "true", and the column holds true or false
    at    banyan.config.ts:8, stream order, rule Paid, public.orders.paid  [condition-value-type]
    next  Write true or false, without quotes`,
  ],
  [
    rule(`Big: inserted(orders, { where: "total > 100" })`),
    {},
    `
✗ rule Big: "where" is not a function
    at    banyan.config.ts:8, stream order, rule Big, public.orders  [where-not-a-function]
    next  Give it a function of the row that says true or false, or leave it out`,
  ],
  [
    rule(
      `Repriced: updated(orders, changed("total"), { transform: { columns: ["total"], to: (now) => ({ cents: Number(now.total) * 100 }) } })`,
    ),
    {},
    `
✗ rule Repriced makes its data by a function and has no inverse "from", so its events could not be folded back
    at    banyan.config.ts:8, stream order, rule Repriced, public.orders  [inverse-missing]
    next  Give "transform" a "from" that makes the columns of the data again`,
  ],
  [
    rule(
      `Repriced: updated(orders, changed("total"), { transform: { to: (now) => now, from: (data) => data } })`,
    ),
    {},
    `
✗ rule Repriced: "transform" names no columns, so nothing says what its data stands for
    at    banyan.config.ts:8, stream order, rule Repriced, public.orders  [transform-incomplete]
    next  Name in "columns" what "to" makes its data of and "from" gives back`,
  ],
  [
    stream(""),
    orders("id:int8 note"),
    `
✗ table public.orders has no primary key; name columns that identify a row: table("public.orders", { key: [...] })
    at    banyan.config.ts:8, stream order, public.orders  [key-missing]
    next  Add { key: [...] } to table("public.orders"), or give the table a primary key`,
  ],
  [
    `order: stream(table("orders", { key: ["Id"] }), { otherwise: "OrderAmended" }),`,
    orders("*id:int8 note"),
    `
✗ the key of public.orders names columns that it does not have: Id
    at    banyan.config.ts:8, stream order, public.orders  [key-column-missing]
    next  Write "id", if that is meant`,
  ],
  [
    stream(""),
    orders("*id:int8 note", { keyUniqueness: "nowhere" }),
    `
✗ nothing in the database makes the key (id) of public.orders unique, and a row could be taken for another: create a unique index on columns that are NOT NULL
    at    banyan.config.ts:8, stream order, public.orders  [key-not-unique]
    next  Create that index, or name another key`,
  ],
  [
    stream(""),
    orders("*id:int8 note", { keyUniqueness: "at-commit" }),
    `
✗ the key (id) of public.orders is DEFERRABLE: two rows may have one key within a transaction, and the log does not tell them apart; make it NOT DEFERRABLE, or name another key
    at    banyan.config.ts:8, stream order, public.orders  [key-deferrable]
    next  Make it NOT DEFERRABLE, or name another key`,
  ],
  [
    stream(""),
    orders("*id:int8 $was"),
    `
✗ column "$was" of public.orders begins with $, which is kept for Banyan's own words in event data
    at    banyan.config.ts:8, stream order, public.orders.$was  [column-name-reserved]
    next  Rename the column in the database, or leave the table out of the config`,
  ],
])("%s", async (streams, database, expected) => {
  const { text, isInvalid, findings, laws } = await checkConfig(streams, database, { runs: 1 });
  const [code] = /(?<=\[)[\w-]+(?=\]$)/m.exec(expected)!;
  told.add(code);
  const at = text.indexOf(expected.trim());
  expect(at, text).toBeGreaterThanOrEqual(0);
  expect(isInvalid).toBe(true);
  const errors = findings.filter(({ severity }) => severity === "error");
  expect(errors.map((each) => each.code)).toEqual([code]);
  // A stream that is wrong is not tried, and that is said.
  const untried = findings.filter((each) => each.code === "laws-not-tried");
  expect(untried.length).toBe(1);
  expect(laws?.streams.map((each) => each.stream) ?? []).not.toContain(untried[0]!.stream);
});

test("there is no other problem of a mapping", () => {
  const folder = join(import.meta.dirname, "../../src/mapping");
  // What only shows beside an earlier mapping has its own test, changed-mappings.test.ts.
  const files = readdirSync(folder).filter((name) => name !== "check-recorded.ts");
  const codes = files.flatMap((name) =>
    [...readFileSync(join(folder, name), "utf8").matchAll(/\bcode: "([a-z-]+)"/g)].map(
      ([, code]) => code!,
    ),
  );
  // More than sixteen thousand rules are made in no test.
  const untested = [...new Set(codes)].filter(
    (code) => !told.has(code) && code !== "rules-too-many",
  );
  expect(untested).toEqual([]);
});

test("problems of every kind are told together, those of the source too", async () => {
  const { findings, isInvalid } = await checkConfig(
    `order: stream(orders, { children, otherwise: "OrderAmended", events: {
  Noted: updated(orders, { noot: changes() }),
  Paid: updated(orders, { status: becomes("paied") }),
  Line: inserted(table("x")),
} }),
"a b": stream(table("other"), { otherwise: "OtherAmended" }),
customer: stream(table("customers"), { otherwise: "CustomerAmended", events: {
  Moved: updated(table("customers"), { city: changes() }, { where: (now) => now.city.length > 0 }),
  Named: updated(table("customers"), { id: changes() }),
} }),`,
    {
      tables: [ORDERS, LINES, shape("public.customers", "*id:int8 city")],
      found: [
        { severity: "error", code: "publication-missing", message: "no publication" },
        { severity: "error", code: "table-missing", table: "public.other", message: "no other" },
      ],
    },
  );
  expect(findings.map(({ stream: type, rule: name, code }) => [type, name, code])).toEqual([
    [undefined, undefined, "publication-missing"],
    [undefined, undefined, "table-missing"],
    ["order", "Line", "rule-table"],
    ["a b", undefined, "stream-name"],
    ["order", "Noted", "column-missing"],
    ["order", undefined, "laws-not-tried"],
    ["a b", undefined, "laws-not-tried"],
    ["customer", "Named", "rule-never-fires"],
    ["customer", "Moved", "rule-throws"],
    [undefined, undefined, "rows-not-sampled"],
  ]);
  expect(isInvalid).toBe(true);
});
