import { expect, test } from "vitest";
import { shownValues } from "../../src/verify/shown-values.ts";

const LONG = "0123456789".repeat(1_000_000);

test("values are shown whole, and NULL as none; without leave only their lengths are", () => {
  expect(shownValues("a", null, true)).toEqual({ row: "a", fold: null });
  expect(shownValues("a", "", false)).toEqual({ row: "‹1 character›", fold: "‹0 characters›" });
});

test("long values are shown where they begin to differ", () => {
  const at = 5_000_000;
  const other = `${LONG.slice(0, at)}x${LONG.slice(at + 1)}`;
  const { row, fold } = shownValues(LONG, other, true);
  const start = LONG.slice(at - 40, at);
  expect(row).toBe(
    `…${start}${LONG.slice(at, at + 160)}… (from 4,999,960, of 10,000,000 characters)`,
  );
  expect(fold).toContain(`…${start}x1234`);
  expect(fold!.length).toBeLessThan(300);
});

test("a long value that another one begins with is shown at its end, and beside NULL at its beginning", () => {
  const { row, fold } = shownValues(`${LONG}y`, LONG, true);
  expect(row).toMatch(/^…\d{40}y \(from 9,999,960, of 10,000,001 characters\)$/);
  expect(fold).toMatch(/^…\d{40} \(from 9,999,960, of 10,000,000 characters\)$/);
  expect(shownValues(LONG, null, true).row).toMatch(
    /^0123.*… \(from 0, of 10,000,000 characters\)$/,
  );
});

test("a character of two is not cut through", () => {
  const row = "😀".repeat(1_000);
  const shown = shownValues(row, `${row.slice(0, 201)}x${row.slice(202)}`, true).row!;
  // A half of one would come back as another character.
  expect(Buffer.from(shown).toString()).toBe(shown);
});
