import { expect, test } from "vitest";
import { count, plural, rowsReadText } from "../../src/model/count-text.ts";

test("numbers have separators, and one thing is one", () => {
  expect([0, 999, 1_000, 1_234_567].map(count)).toEqual(["0", "999", "1,000", "1,234,567"]);
  expect([0, 1, 1_000].map((n) => plural(n, "row"))).toEqual(["0 rows", "1 row", "1,000 rows"]);
  expect([1, 2].map((n) => plural(n, "aggregate waits", "aggregates wait"))).toEqual([
    "1 aggregate waits",
    "2 aggregates wait",
  ]);
});

test.each([
  [6_664, 500_000, "6,664 of about 500,000 rows"],
  [880_836, 500_000, "880,836 rows, more than the 500,000 estimated"],
  [1, 0, "1 row, more than the 0 estimated"],
  [1, 1, "1 row"],
])("%i rows of %i that were estimated", (read, estimated, text) => {
  expect(rowsReadText(read, estimated)).toBe(text);
});
