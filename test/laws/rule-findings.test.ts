import { describe, expect, test } from "vitest";
import { checkConfig, LINES, ORDERS } from "./check-config.ts";
import { shape } from "../support/mapping-fixtures.ts";

/*
 * What is wrong with rules is found without a history, and told as a user reads it: what, where, what
 * to do. Line 9 of each config is the first rule.
 */

/** What a check says of a stream with these rules, without the lines that every check ends with. */
async function saidOf(
  rules: string,
  tables = [ORDERS, LINES],
): Promise<{ said: string; exit: number }> {
  const streams = `order: stream(orders, { children, otherwise: "OrderAmended", events: {\n${rules}\n} }),`;
  const { text, isInvalid, findings } = await checkConfig(streams, { tables }, { runs: 0 });
  const end = /^(✓ the laws hold|✓ ready|\d+ problems? to mend|· the laws were not tried)/;
  const lines = text.split("\n");
  const said = lines
    .slice(
      0,
      lines.findIndex((line) => end.test(line)),
    )
    .join("\n");
  const hasErrors = findings.some(({ severity }) => severity === "error");
  return { said, exit: isInvalid ? 2 : hasErrors ? 1 : 0 };
}

describe("a rule that can never fire", () => {
  test.each([
    [
      "because of a value that its column does not have",
      `Paid: updated(orders, { status: becomes("paied") }),`,
      `
✗ rule Paid can never fire: status is only ever "placed", "paid", "shipped", never "paied"
    at    banyan.config.ts:9, stream order, rule Paid, public.orders  [rule-never-fires]
    next  Correct its conditions, or take the rule out`,
    ],
    [
      "because of a number that is written otherwise",
      `Free: updated(orders, { total: becomes("0") }),`,
      `
✗ rule Free can never fire: total (numeric(10,2)) is never "0": its values are written with exactly 2 decimals, as 12.00
    at    banyan.config.ts:9, stream order, rule Free, public.orders  [rule-never-fires]
    next  Correct its conditions, or take the rule out`,
    ],
    [
      "because of blanks that its column is padded with",
      `TeaAdded: inserted(lines, { when: { sku: is("TEA") } }),`,
      `
✗ rule TeaAdded can never fire: sku (bpchar(4)) is never "TEA": its values are padded with blanks to 4 characters
    at    banyan.config.ts:9, stream order, rule TeaAdded, public.lines  [rule-never-fires]
    next  Correct its conditions, or take the rule out`,
    ],
    [
      "because its column is never NULL",
      `Lost: deleted(orders, { when: { id: is(null) } }),`,
      `
✗ rule Lost can never fire: id is NOT NULL
    at    banyan.config.ts:9, stream order, rule Lost, public.orders  [rule-never-fires]
    next  Correct its conditions, or take the rule out`,
    ],
    [
      "because a change of the key moves the row",
      `Renumbered: updated(orders, { id: changes() }),`,
      `
✗ rule Renumbered can never fire: id is part of the key, and a change of it is told as a removal and an insert
    at    banyan.config.ts:9, stream order, rule Renumbered, public.orders  [rule-never-fires]
    next  Correct its conditions, or take the rule out`,
    ],
    [
      "because an earlier rule takes the column",
      `Touched: updated(orders, { status: changes() }),
Paid: updated(orders, { status: becomes("paid") }, { data: ["placed_at"] }),`,
      `
✗ rule Paid can never fire: Touched, written before it, claims its columns first whenever it could
    at    banyan.config.ts:10, stream order, rule Paid, public.orders  [rule-shadowed]
    next  Write Paid before Touched, or narrow Touched down`,
    ],
    [
      "because an earlier rule takes every row",
      `Placed: inserted(orders),
Unpaid: inserted(orders, { when: { paid: is(false) } }),`,
      `
✗ rule Unpaid can never fire: Placed, written before it, takes the whole row first whenever it could
    at    banyan.config.ts:10, stream order, rule Unpaid, public.orders  [rule-shadowed]
    next  Write Unpaid before Placed, or narrow Placed down`,
    ],
    [
      "because several earlier rules take its cases among themselves",
      `Won: deleted(orders, { when: { paid: is(true) } }),
Lost: deleted(orders, { when: { paid: is(false, null) } }),
Removed: deleted(orders),`,
      `
✗ rule Removed can never fire: Won and Lost, written before it, take the whole row first whenever it could
    at    banyan.config.ts:11, stream order, rule Removed, public.orders  [rule-shadowed]
    next  Write Removed before Won, or narrow those down`,
    ],
  ])("%s", async (_, rules, expected) => {
    expect(await saidOf(rules)).toEqual({ said: expected.trimStart(), exit: 1 });
  });

  test.each([
    [
      "a rule that the ones before it leave a case to",
      `Won: updated(orders, { paid: becomes(true) }), Lost: updated(orders, { paid: becomes(false) }), Unset: updated(orders, { paid: changes() }),`,
    ],
    [
      "a rule behind one with a function, which may say no",
      `Big: inserted(orders, { where: (row) => Number(row.total) > 1000 }), Placed: inserted(orders),`,
    ],
    [
      "a rule whose column is taken only when another one changes too",
      `PaidInFull: updated(orders, { paid: becomes(true), total: changes() }), Repriced: updated(orders, changed("total")),`,
    ],
    [
      "a rule that an earlier rule makes room for by taking a column from another one",
      `A: updated(orders, { status: changes() }), B: updated(orders, { status: changes(), note: changes() }), C: updated(orders, { note: changes() }),`,
    ],
  ])("is not confused with %s", async (_, rules) => {
    const { said } = await saidOf(rules);
    // In the last one B itself can never fire.
    expect(said.match(/rule (\w+) can never/)?.[1]).toBe(rules.includes("B:") ? "B" : undefined);
  });
});

describe("what is probably not meant", () => {
  test.each([
    [
      "one of several values that its column does not have",
      `Moved: updated(orders, { status: becomes("shipped", "delivered") }),`,
      `
! rule Moved names a value that its column never has: status is only ever "placed", "paid", "shipped", never "delivered"
    at    banyan.config.ts:9, stream order, rule Moved, public.orders.status  [value-never-there]
    next  Correct the value, or take it out`,
    ],
    [
      "a column that one rule names twice",
      `Noted: updated(orders, changed("note"), { data: ["total"], transform: {
  columns: ["total"], to: (now) => ({ total: now.total }), from: (data) => data } }),`,
      `
! rule Noted names "total" in its data and in its transform, which wins; a column is told once
    at    banyan.config.ts:9, stream order, rule Noted, public.orders.total  [column-claimed-twice]
    next  Name it in one place`,
    ],
    [
      "a change where there is one row only",
      `LineAdded: inserted(lines, { when: { quantity: changes() } }),`,
      `
! rule LineAdded has changes() on "quantity", which says nothing of an insert: it has one row only
    at    banyan.config.ts:9, stream order, rule LineAdded, public.lines.quantity  [condition-meaningless]
    next  Use is(…), or take the condition out`,
    ],
  ])("is said of %s, and stops nobody", async (_, rules, expected) => {
    expect(await saidOf(rules)).toEqual({ said: expected.trimStart(), exit: 0 });
  });
});

test.each([
  ["int8", "12", ["1.0", "012", "9223372036854775808", "x"]],
  ["numeric(4,1)", "123.4", ["1", "1.23", "1234.5", "1,5"]],
  ["numeric(3,0)", "12", ["12.0", "1234"]],
  ["uuid", "0b6d0cf8-55d8-4f1c-8d7a-d4a0f0e6b9e1", ["0B6D0CF8-55D8-4F1C-8D7A-D4A0F0E6B9E1"]],
  ["date", "2026-01-31", ["31.01.2026", "2026-1-31"]],
  [
    "timestamptz",
    "2026-01-31T10:00:00Z",
    ["2026-01-31T10:00:00.500Z", "2026-01-31T12:00:00+02:00"],
  ],
  ["timestamp", "2026-01-31T10:00:00.5", ["2026-01-31T10:00:00Z", "2026-01-31"]],
  ["varchar(3)", "abc", ["abcd"]],
])("a value of %s is known by how the server writes it", async (type, right, wrong) => {
  const tables = [shape("public.orders", `*id:int8 what:${type}`), LINES];
  const rule = (value: string): string =>
    `Set: updated(orders, { what: becomes(${JSON.stringify(value)}) }),`;
  expect(await saidOf(rule(right), tables)).toEqual({ said: "", exit: 0 });
  for (const value of wrong) {
    const { said, exit } = await saidOf(rule(value), tables);
    expect([exit, said]).toEqual([1, expect.stringContaining("rule Set can never fire: what")]);
  }
});
