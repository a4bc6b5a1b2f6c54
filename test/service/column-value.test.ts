import { expect, test } from "vitest";
import { columnText } from "../../src/service/column-value.ts";
import type { CodecName } from "../../src/model/table.ts";

const textOf = (type: string, codec: CodecName, value: unknown): string | null =>
  columnText({ name: "x", type, codec }, value);

test.each([
  ["int2", "int", 32_767, 32_768],
  ["int2", "int", -32_768, -32_769],
  ["int4", "int", 2_147_483_647, 2_147_483_648],
  ["int8", "text", "9223372036854775807", "9223372036854775808"],
  ["int8", "text", "-9223372036854775808", "-9223372036854775809"],
  ["int8", "text", "0", "-0"],
  ["varchar(3)", "text", "a😀é", "a😀éb"],
  ["bpchar(3)", "text", "a😀é", "a😀éb"],
] as const)("%s has room for what legacy has room for", (type, codec, fits, isTooMuch) => {
  expect(textOf(type, codec, fits)).toBe(String(fits));
  expect(() => textOf(type, codec, isTooMuch)).toThrow(/room|at most 3 characters/);
});

test("without a length there is no limit", () => {
  const long = "x".repeat(10_000);
  for (const type of ["text", "varchar", "bpchar"]) expect(textOf(type, "text", long)).toBe(long);
});
