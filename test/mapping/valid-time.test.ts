import { describe, expect, test } from "vitest";
import { timestampUs } from "../../src/mapping/valid-time.ts";

const at = (text: string): number => Date.parse(text) * 1000;

describe("the time in a row", () => {
  test.each([
    ["2026-01-31 10:00:00.123456+00", at("2026-01-31T10:00:00Z") + 123_456],
    ["2026-01-31 10:00:00.5", at("2026-01-31T10:00:00Z") + 500_000],
    ["2026-01-31 10:00:00", at("2026-01-31T10:00:00Z")],
    ["2026-01-31", at("2026-01-31T00:00:00Z")],
    ["2024-02-29", at("2024-02-29T00:00:00Z")],
    ["1969-12-31 23:59:59.999999+00", -1],
    ["0001-01-01 00:00:00+00", at("0001-01-01T00:00:00Z")],
    ["0099-03-01", at("0099-03-01T00:00:00Z")],
  ])("%s is read to the microsecond", (text, us) => {
    expect(timestampUs(text)).toBe(us);
  });

  test.each([
    ["9999-12-31 23:59:59.999999+00", "9999-12-31T23:59:59Z"],
    ["9999-12-31 23:59:59.5", "9999-12-31T23:59:59Z"],
    ["0001-01-01 00:00:00.999999+00", "0001-01-01T00:00:00Z"],
  ])(
    "%s, too far off for a number of microseconds, is read to the second and never beyond",
    (text, second) => {
      expect(timestampUs(text)).toBe(at(second));
    },
  );

  test.each([
    null,
    undefined,
    "",
    "infinity",
    "-infinity",
    "0044-03-15 BC",
    "0044-03-15 10:00:00+00 BC",
    "10000-01-01 00:00:00+00",
    "294276-12-31 23:59:59.999999+00",
    "2026-01-31 10:00:00+02",
    "2026-01-31T10:00:00Z",
    // A column may be plain text.
    "2026-13-01",
    "2026-00-10",
    "2026-01-32",
    "2026-01-00",
    "2026-02-30",
    "2023-02-29",
    "2026-01-01 25:00:00",
    "2026-01-01 10:60:00",
    "2026-01-01 10:00:61",
    "2026-ab-cd",
    "2026-01-01 xx:00:00",
    "2026-01-01 10:00",
    "abcd-ef-gh",
    "last tuesday",
  ])("%s is no time that an event can have", (text) => {
    expect(timestampUs(text)).toBeUndefined();
  });
});
