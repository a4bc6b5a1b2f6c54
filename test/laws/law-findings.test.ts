import { describe, expect, test } from "vitest";
import { checkConfig, LINES, ORDERS, type Database } from "./check-config.ts";
import type { CheckOptions } from "../../src/cli/check-findings.ts";
import type { Cells } from "../../src/model/table.ts";

/*
 * A law that does not hold is told as a story that is as short as it can be: what was done, what it
 * became, what is wrong with that. Line 9 of each config is the rule.
 */

async function saidOf(
  rules: string,
  database: Database = {},
  options: Partial<CheckOptions> = {},
): Promise<string> {
  const streams = `order: stream(orders, { children, otherwise: "OrderAmended", events: {\n${rules}\n} }),`;
  return (await checkConfig(streams, database, options)).text;
}

const BROKEN = `
✗ the laws do not hold for order: 100 generated histories and 0 real rows (seed 1)
1 problem to mend before banyan run`;

/** A rule that makes its data by functions. */
const transformed = (columns: string, to: string, from: string): string =>
  `Changed: updated(orders, changed(${/\w+/.exec(columns)![0] === "total" ? '"total"' : '"note"'}), { transform: { columns: ${columns}, to: (now) => ${to}, from: (data) => ${from} } }),`;

describe("a function that is wrong is found on generated histories", () => {
  test.each([
    [
      "a condition that does not think of NULL",
      `Noted: updated(orders, changed("note"), { where: (now) => now.note.length > 2 }),`,
      `
✗ "where" of rule Noted throws: Cannot read properties of null (reading 'length') (on a generated history)
    at    banyan.config.ts:9, stream order, rule Noted, public.orders  [rule-throws]
    story first INSERT into public.orders: id 0, status NULL, total 0.00, paid NULL, note a, placed_at NULL
            becomes OrderAmended of order-0
          then UPDATE public.orders where id 0: note a → NULL
            so this change would wait in quarantine, and its stream with it
    next  Let "where" of rule Noted bear every row that the table can hold, as this one`,
    ],
    [
      "a condition on a deleted row",
      `Gone: deleted(orders, { where: (row) => row.note.startsWith("x") }),`,
      `
✗ "where" of rule Gone throws: Cannot read properties of null (reading 'startsWith') (on a generated history)
    at    banyan.config.ts:9, stream order, rule Gone, public.orders  [rule-throws]
    story first INSERT into public.orders: id 0, status NULL, total 0.00, paid NULL, note NULL, placed_at NULL
            becomes OrderAmended of order-0
          then DELETE from public.orders: id 0, status NULL, total 0.00, paid NULL, note NULL, placed_at NULL
            so this change would wait in quarantine, and its stream with it
    next  Let "where" of rule Gone bear every row that the table can hold, as this one`,
    ],
    [
      "an inverse that rounds",
      transformed(
        `["total"]`,
        `({ euros: Math.round(Number(now.total)) })`,
        `({ total: data.euros.toFixed(2) })`,
      ),
      `
✗ the inverse of rule Changed gives column "total" another value than it has (on a generated history)
    at    banyan.config.ts:9, stream order, rule Changed, public.orders.total  [inverse-does-not-hold]
    story first INSERT into public.orders: id 0, status NULL, total 0.00, paid NULL, note NULL, placed_at NULL
            becomes OrderAmended of order-0
          then UPDATE public.orders where id 0: total 0.00 → 0.01
            "to" of Changed makes {"euros":0}
            "from" of Changed makes of that {"total":"0.00"}
            the row has total 0.01, the fold would give 0.00
            so this change would wait in quarantine, and its stream with it
    next  Correct "from" of rule Changed, or let "to" keep what is needed for it`,
    ],
    [
      "an inverse that forgets a column",
      transformed(`["total", "note"]`, `({ total: now.total })`, `({ total: data.total })`),
      `
✗ the inverse of rule Changed leaves out column "note" (on a generated history)
    at    banyan.config.ts:9, stream order, rule Changed, public.orders.note  [inverse-does-not-hold]
    story first INSERT into public.orders: id 0, status NULL, total 0.00, paid NULL, note NULL, placed_at NULL
            becomes OrderAmended of order-0
          then UPDATE public.orders where id 0: total 0.00 → 0.01
            "to" of Changed makes {"total":"0.01"}
            "from" of Changed makes of that {"total":"0.01"}
            the row has note NULL, the fold would give nothing
            so this change would wait in quarantine, and its stream with it
    next  Correct "from" of rule Changed, or let "to" keep what is needed for it`,
    ],
    [
      "an inverse that does not think of NULL",
      transformed(`["note"]`, `({ text: now.note })`, `({ note: data.text.slice(0) })`),
      `
✗ "from" of rule Changed throws: Cannot read properties of null (reading 'slice') (on a generated history)
    at    banyan.config.ts:9, stream order, rule Changed, public.orders  [inverse-throws]
    story first INSERT into public.orders: id 0, status NULL, total 0.00, paid NULL, note a, placed_at NULL
            becomes OrderAmended of order-0
          then UPDATE public.orders where id 0: note a → NULL
            "to" of Changed makes {"text":null}
            so this change would wait in quarantine, and its stream with it
    next  Let "from" of rule Changed bear every row that the table can hold, as this one`,
    ],
    [
      "data that no event can hold",
      transformed(`["note"]`, `({ note: now.note ?? "\\0" })`, `({ note: data.note })`),
      `
✗ "to" of rule Changed gives what no event can hold: U+0000 or half a surrogate pair (on a generated history)
    at    banyan.config.ts:9, stream order, rule Changed, public.orders  [data-not-storable]
    story first INSERT into public.orders: id 0, status NULL, total 0.00, paid NULL, note a, placed_at NULL
            becomes OrderAmended of order-0
          then UPDATE public.orders where id 0: note a → NULL
            so this change would wait in quarantine, and its stream with it
    next  Let "to" of rule Changed give an object of plain values`,
    ],
  ])("%s", async (_, rules, expected) => {
    expect(await saidOf(rules)).toBe((expected + BROKEN).trimStart());
  });

  test.each([
    [
      "chance",
      transformed(`["note"]`, `({ n: now.note, r: Math.random() })`, `({ note: data.n })`),
      "Changed",
    ],
    [
      "the clock",
      `Late: inserted(orders, { where: (row) => new Date(row.placed_at ?? 0) < new Date() }),`,
      "Late",
    ],
    [
      "how long ago something was",
      `Fresh: inserted(orders, { where: (row) => Date.now() - Date.parse(row.placed_at) < 30 * 24 * 3_600_000 }),`,
      "Fresh",
    ],
    [
      "the year",
      `Now: inserted(orders, { where: (row) => String(row.placed_at).startsWith(String(new Date(Date.now()).getFullYear())) }),`,
      "Now",
    ],
    [
      "what it remembers from call to call",
      `First: updated(orders, changed("note"), { where: ((seen) => (now) => !seen.has(now.id) && seen.add(now.id))(new Set()) }),`,
      "First",
    ],
  ])("a function that depends on %s", async (_, rules, rule) => {
    const said = await saidOf(rules);
    expect(said).toContain(
      `✗ the same changes, mapped again later and in one batch, give other events (on a generated history)
    at    banyan.config.ts:9, stream order, rule ${rule}, public.orders  [not-deterministic]
    story first INSERT into public.`,
    );
    expect(said).toMatch(/\n {12}once: .+\n {12}again: .+\n/);
    expect(said).toContain(
      `next  Let the functions of rule ${rule} depend on the row alone: no clock, no chance, nothing remembered from call to call`,
    );
  });

  test("what only rows show that the database would refuse is a warning", async () => {
    const rule = `Paid: updated(orders, { paid: becomes(true) }, { where: (now) => now.placed_at.length > 5 }),`;
    const known = {
      rows: new Map([
        ["public.orders", []],
        ["public.lines", []],
      ]),
    };
    const refuses = (table: string, row: Cells): string | undefined =>
      table === "public.orders" && row[3] === "t" && row[5] === null
        ? "paid_when_placed"
        : undefined;
    const said = await saidOf(rule, { sampled: { ...known, refuses } });
    expect(said.split("\n")[0]).toBe(
      `! "where" of rule Paid throws: Cannot read properties of null (reading 'length') (on a generated history); but paid_when_placed of the database refuses a row of it`,
    );
    expect(said).toContain(
      'next  If such rows cannot be, leave it as it is; otherwise: Let "where" of rule Paid bear',
    );
    expect(said).toContain("✓ the laws hold for 1 stream");
    expect(said).toContain("✓ ready");
    expect(await saidOf(rule, { sampled: known })).toContain("✗ the laws do not hold for order");
  });

  test("a condition that nothing met is mentioned, and stops nobody", async () => {
    expect(
      await saidOf(
        `Odd: updated(orders, changed("note"), { where: (now) => now.note === "odd" }),`,
      ),
    ).toBe(`· rule Odd did not fire once in 100 histories: its "where" said no each time
    at    banyan.config.ts:9, stream order, rule Odd, public.orders  [rule-not-met]
    next  See whether "where" of rule Odd can hold at all; it may only be rare
✓ the laws hold for 1 stream: 100 generated histories and 0 real rows (seed 1)
✓ ready: 2 tables can be captured`);
  });

  test("a function that is never called, because its column is claimed already, is not to blame", async () => {
    const { findings } =
      await checkConfig(`order: stream(orders, { children, otherwise: "OrderAmended", events: {
      Noted: updated(orders, { note: changes() }),
      Silent: updated(orders, { note: changes() }, { where: () => { throw new Error("never") } }),
      Repriced: updated(orders, { total: changes() }, { where: () => { throw new Error("always") } }),
    } }),`);
    expect(findings.map(({ rule, code }) => [rule, code])).toEqual([
      ["Silent", "rule-shadowed"],
      ["Repriced", "rule-throws"],
    ]);
  });

  test("several mistakes are all found, each once", async () => {
    const { findings } =
      await checkConfig(`order: stream(orders, { children, otherwise: "OrderAmended", events: {
      Noted: updated(orders, changed("note"), { where: (now) => now.note.length > 2 }),
      ${transformed(`["total"]`, `({ e: Math.round(Number(now.total)) })`, `({ total: data.e.toFixed(2) })`)}
      LineCut: updated(lines, changed("quantity"), { where: (now, was) => BigInt(now.quantity) < BigInt(was.quantity) }),
    } }),`);
    const found = findings.map(({ rule, code, severity }) => `${severity} ${rule} ${code}`);
    expect(found.toSorted()).toEqual([
      "error Changed inverse-does-not-hold",
      "error LineCut rule-throws",
      "error Noted rule-throws",
    ]);
  });
});

describe("real rows", () => {
  const order = (note: string | null): Cells => ["7", "paid", "5.00", "t", note, null];
  const sampled = (...rows: Cells[]): Database => ({
    tables: [ORDERS, LINES],
    sampled: {
      rows: new Map([
        ["public.orders", rows],
        ["public.lines", []],
      ]),
    },
  });
  /** Wrong for a kind of note that only people write. */
  const tagged = transformed(
    `["note"]`,
    `({ vip: now.note?.startsWith("#vip ") ?? false, note: now.note?.replace(/^#vip /, "") ?? null })`,
    `({ note: data.note })`,
  );

  test("show what generated ones did not, without showing what is in them", async () => {
    const none = await saidOf(tagged, sampled(), { runs: 100 });
    expect(none).not.toContain("inverse");
    const said = await saidOf(tagged, sampled(order(null), order("#vip Smith")), { runs: 0 });
    expect(said)
      .toBe(`✗ the inverse of rule Changed gives column "note" another value than it has (on a real row of public.orders)
    at    banyan.config.ts:9, stream order, rule Changed, public.orders.note  [inverse-does-not-hold]
    story first INSERT into public.orders: id 0, status NULL, total 0.00, paid NULL, note NULL, placed_at NULL
            becomes OrderAmended of order-0
          then UPDATE public.orders where id 0: note NULL → (a text of 10)
            the row has note (a text of 10)
            so this change would wait in quarantine, and its stream with it
          values of real rows are not shown; --show-values shows them
    next  Correct "from" of rule Changed, or let "to" keep what is needed for it
✗ the laws do not hold for order: 0 generated histories and 2 real rows (seed 1)
1 problem to mend before banyan run`);
  });

  test("are shown when that is asked for", async () => {
    const said = await saidOf(tagged, sampled(order(null), order("#vip Smith")), {
      runs: 0,
      showValues: true,
    });
    expect(said).toContain(`
          then UPDATE public.orders where id 0: note NULL → '#vip Smith'
            "to" of Changed makes {"vip":true,"note":"Smith"}
            "from" of Changed makes of that {"note":"Smith"}
            the row has note '#vip Smith', the fold would give Smith
`);
  });

  test("are not repeated by what a function says as it throws", async () => {
    const rule = `Noted: updated(orders, changed("note"), { where: (now) => !now.note?.startsWith("sec") || JSON.parse(now.note) }),`;
    const rows = sampled(order(null), order("secret"));
    const hidden = await saidOf(rule, rows, { runs: 0 });
    expect(hidden).toContain('✗ "where" of rule Noted throws (on a real row of public.orders)');
    expect(hidden).not.toContain("secret");
    const shown = await saidOf(rule, rows, { runs: 0, showValues: true });
    expect(shown).toMatch(/throws: Unexpected token.*secret/);
  });

  test("with a key that makes too long a stream id are said to be unmappable", async () => {
    const tables = [{ ...ORDERS, key: [4] }, LINES];
    const rows = new Map([["public.orders", [order("x".repeat(700))]]]);
    const { text } = await checkConfig(
      `order: stream(orders, { otherwise: "OrderAmended" }),`,
      { tables, sampled: { rows } },
      { runs: 0 },
    );
    expect(text).toContain(
      `✗ the key of a row of public.orders makes a stream id of 706 characters; at most 600 are possible (on a real row of public.orders)
    at    banyan.config.ts:8, stream order, public.orders  [key-too-long]
`,
    );
    expect(text).toContain(
      'next  Name shorter columns as its key: table("public.orders", { key: [...] })',
    );
  });

  test("that could not be read are said to be missing", async () => {
    const rows = new Map([["public.orders", []]]);
    expect(await saidOf("", { sampled: { rows } }, { runs: 5 })).toBe(
      `· no row of public.lines was sampled: it is not there any more; its rules were tried on generated rows only
✓ the laws hold for 1 stream: 5 generated histories and 0 real rows (seed 1)
✓ ready: 2 tables can be captured`,
    );
  });
});
