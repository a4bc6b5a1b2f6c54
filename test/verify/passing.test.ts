import { expect, test } from "vitest";
import { BanyanError, type ErrorCode, type ErrorDetail } from "../../src/model/errors.ts";
import { passingReason } from "../../src/verify/passing.ts";

const error = (code: ErrorCode, detail: ErrorDetail = {}): BanyanError =>
  new BanyanError(code, "what it was", { detail });

test.each<[string, BanyanError, before: boolean, behind: boolean]>([
  ["a column that went", error("SOURCE_CHANGED", { sqlstate: "42703" }), true, true],
  ["a partition that went", error("TABLE_MISSING", { sqlstate: "42P01" }), true, true],
  ["a table that is not there", error("TABLE_MISSING"), false, true],
  ["folds that are gone", error("STORE_REFUSED", { foldsGone: true }), true, true],
  ["a right that is missing", error("SOURCE_REFUSED", { sqlstate: "42501" }), false, false],
  ["a store that refuses", error("STORE_REFUSED", { sqlstate: "42501" }), false, false],
  ["a mapping that does not fit", error("MAPPING_INVALID"), false, false],
])("%s: passes before the tables were found, and behind", (_, one, before, behind) => {
  const reason = "what it was; it is tried again";
  expect(passingReason(one, false)).toBe(before ? reason : undefined);
  expect(passingReason(one, true)).toBe(behind ? reason : undefined);
});

test("what is no error of ours does not pass", () => {
  expect(passingReason(new Error("x"), true)).toBeUndefined();
  expect(passingReason(new DOMException("aborted", "AbortError"), true)).toBeUndefined();
});
