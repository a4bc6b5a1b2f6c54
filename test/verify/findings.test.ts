import { expect, test } from "vitest";
import { countFindings, mergeFindings } from "../../src/verify/findings.ts";
import type { Difference, ParityFinding } from "../../src/store/parity-store.ts";

const T1 = "2026-01-01T00:00:00.000Z";
const T2 = "2026-01-01T00:01:00.000Z";

function difference(stream: string, more: Partial<Difference> = {}): Difference {
  const [key] = stream.split("-").slice(1);
  return {
    stream,
    table: "t",
    key: key!,
    verdict: "different",
    columns: ["a"],
    version: 3,
    ...more,
  };
}

function seen(...found: readonly Difference[]): readonly ParityFinding[] {
  return mergeFindings([], found, T1);
}

test("a difference is new at first, and settled once it was found again without an event between", () => {
  const first = seen(difference("s-1"));
  expect(first).toMatchObject([{ firstSeen: T1, lastSeen: T1, rechecks: 0 }]);
  expect(countFindings(first)).toEqual({ open: 1, settled: 0 });
  const second = mergeFindings(first, [difference("s-1")], T2);
  expect(second).toMatchObject([{ firstSeen: T1, lastSeen: T2, rechecks: 1 }]);
  expect(countFindings(second)).toEqual({ open: 1, settled: 1 });
});

test("an event of its stream, and another verdict, begin its clock anew", () => {
  const settled = mergeFindings(seen(difference("s-1")), [difference("s-1")], T1);
  for (const later of [{ version: 4 }, { verdict: "missing" as const }]) {
    const merged = mergeFindings(settled, [difference("s-1", later)], T2);
    expect(merged).toMatchObject([{ firstSeen: T2, rechecks: 0, ...later }]);
  }
});

test("what is no longer found is over where it was looked at, and stays where it was not", () => {
  const before = seen(difference("s-1"), difference("s-2"), difference("s-3"));
  const after = mergeFindings(before, [difference("s-2")], T2, new Set(["s-1", "s-2"]));
  expect(after.map(({ stream, lastSeen }) => [stream, lastSeen])).toEqual([
    ["s-3", T1],
    ["s-2", T2],
  ]);
  expect(mergeFindings(before, [], T2)).toEqual([]);
});

test("rows of one stream, and streams of one key in two tables, are findings of their own", () => {
  const all = [
    difference("s-1"),
    difference("s-1", { key: "9" }),
    difference("s-1", { table: "u" }),
  ];
  expect(mergeFindings(seen(...all), all, T2).map(({ rechecks }) => rechecks)).toEqual([1, 1, 1]);
});
