import { expect, test } from "vitest";
import { newRecord } from "../../src/pipeline/baseline-record.ts";
import { gapBegin, gapFrom, newGap } from "../../src/pipeline/gap-record.ts";
import { position } from "../contract/event-batches.ts";
import type { BaselineRecord, GapRecord } from "../../src/store/event-store.ts";

const ORDER = ["integer"] as const;

/** A type that is read anew up to a key. */
function recordAt(gap: GapRecord, end: string | undefined): BaselineRecord {
  const chunks = end === undefined ? [] : [{ end: [end], seen: "5:5:", fence: position(9) }];
  const plan = { rowsEstimated: 10, why: "large" };
  return { ...newRecord("order", position(1), plan), chunks, gap };
}

const fromOf = (gap: GapRecord): Record<string, string> =>
  Object.fromEntries(
    ["1", "9", "10", "11", "99", "100", "500"].map((key) => [
      key,
      String(Number.parseInt(gapFrom(gap.since, [key], ORDER), 16)),
    ]),
  );

test("a place that is lost again and again leaves each aggregate with the place from which on nothing was told of it", () => {
  const first = newGap("lost", position(1), undefined, ORDER);
  expect(new Set(Object.values(fromOf(first)))).toEqual(new Set(["1"]));
  const second = newGap("lost", position(2), recordAt(first, "99"), ORDER);
  expect(fromOf(second)).toEqual({ 1: "2", 9: "2", 10: "2", 11: "2", 99: "2", 100: "1", 500: "1" });
  const third = newGap("lost", position(3), recordAt(second, "9"), ORDER);
  expect(fromOf(third)).toEqual({ 1: "3", 9: "3", 10: "2", 11: "2", 99: "2", 100: "1", 500: "1" });
  expect(gapFrom(third.since, [null], ORDER)).toBe(position(1));
  expect(gapBegin(third)).toBe(position(1));
  const same = newGap("lost", position(4), recordAt(third, undefined), ORDER);
  expect(same.since).toEqual(third.since);
  const at = newGap("lost", position(4), recordAt(third, "99"), ORDER);
  expect(fromOf(at)).toEqual({ 1: "4", 9: "4", 10: "4", 11: "4", 99: "4", 100: "1", 500: "1" });
  const { chunks: _chunks, ...told } = recordAt(third, undefined);
  const passed = newGap("lost", position(4), { ...told, chunks: [], told: ["10"] }, ORDER);
  expect(fromOf(passed)).toMatchObject({ 10: "4", 11: "2", 100: "1" });
  const done = newGap("lost", position(4), { ...recordAt(third, "9"), done: true }, ORDER);
  expect(done.since).toEqual([{ from: position(4) }]);
});
