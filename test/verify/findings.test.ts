import { expect, test } from "vitest";
import { countFindings, mergeFindings } from "../../src/verify/findings.ts";
import type { Difference, ParityFinding } from "../../src/store/parity-store.ts";

const T1 = "2026-01-01T00:00:00.000Z";
const T2 = "2026-01-01T00:01:00.000Z";
const T3 = "2026-01-01T00:02:00.000Z";

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
  return look([], found, T1);
}

/** A look with no other beside it. */
function look(
  before: readonly ParityFinding[],
  found: readonly Difference[],
  at: string,
  checked?: ReadonlySet<string>,
): readonly ParityFinding[] {
  const isChecked = ({ stream }: Difference): boolean => checked?.has(stream) ?? true;
  return mergeFindings({ before, found, at, isChecked });
}

test("a difference is new at first, and settled once it was found again without an event between", () => {
  const first = seen(difference("s-1"));
  expect(first).toMatchObject([{ firstSeen: T1, lastSeen: T1, rechecks: 0 }]);
  expect(countFindings(first)).toEqual({ open: 1, settled: 0 });
  const second = look(first, [difference("s-1")], T2);
  expect(second).toMatchObject([{ firstSeen: T1, lastSeen: T2, rechecks: 1 }]);
  expect(countFindings(second)).toEqual({ open: 1, settled: 1 });
});

test("an event of its stream, and another verdict, begin its clock anew", () => {
  const settled = look(seen(difference("s-1")), [difference("s-1")], T1);
  for (const later of [{ version: 4 }, { verdict: "missing" as const }]) {
    const merged = look(settled, [difference("s-1", later)], T2);
    expect(merged).toMatchObject([{ firstSeen: T2, rechecks: 0, ...later }]);
  }
});

test("what is no longer found is over where it was looked at, and stays where it was not", () => {
  const before = seen(difference("s-1"), difference("s-2"), difference("s-3"));
  const after = look(before, [difference("s-2")], T2, new Set(["s-1", "s-2"]));
  expect(after.map(({ stream, lastSeen }) => [stream, lastSeen])).toEqual([
    ["s-3", T1],
    ["s-2", T2],
  ]);
  expect(look(before, [], T2)).toEqual([]);
});

test("rows of one stream, and streams of one key in two tables, are findings of their own", () => {
  const all = [
    difference("s-1"),
    difference("s-1", { key: "9" }),
    difference("s-1", { table: "u" }),
  ];
  expect(look(seen(...all), all, T2).map(({ rechecks }) => rechecks)).toEqual([1, 1, 1]);
});

test("what somebody else has found since a look began stays, whatever the look found", () => {
  const before = seen(difference("s-1"), difference("s-2"));
  // The other one rechecked the first, found the second equal, and found a third.
  const kept = look(before, [difference("s-1"), difference("s-3")], T2);
  const equal = mergeFindings({ before, found: [], at: T3 }, kept);
  expect(equal.map(({ stream, lastSeen }) => [stream, lastSeen])).toEqual([
    ["s-1", T2],
    ["s-3", T2],
  ]);
  const again = mergeFindings({ before, found: [difference("s-2")], at: T3 }, kept);
  expect(again.find(({ stream }) => stream === "s-2")).toMatchObject({
    firstSeen: T3,
    rechecks: 0,
  });
});

test("of one difference that two looks found the newer one counts, and two looks at once are no recheck", () => {
  const before = seen(difference("s-1"));
  const newer = look(before, [difference("s-1", { version: 5 })], T2);
  expect(mergeFindings({ before, found: [difference("s-1")], at: T3 }, newer)).toEqual(newer);
  const rechecked = look(before, [difference("s-1")], T2);
  const both = mergeFindings({ before, found: [difference("s-1")], at: T3 }, rechecked);
  expect(both).toMatchObject([{ firstSeen: T1, lastSeen: T3, rechecks: 1 }]);
  const others = look([], [difference("s-9")], T2);
  const first = mergeFindings({ before: [], found: [difference("s-9")], at: T3 }, others);
  expect(first).toMatchObject([{ firstSeen: T2, lastSeen: T3, rechecks: 0 }]);
});
