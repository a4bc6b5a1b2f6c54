import { expect, test } from "vitest";
import type { TransactionPart } from "../../src/model/change.ts";
import type { Position } from "../../src/model/position.ts";
import { Overlap } from "../../src/pipeline/overlap.ts";
import type { CapturedTable } from "../../src/store/event-store.ts";
import { change, shape } from "../support/mapping-fixtures.ts";

const old = shape("public.old", "*id:int8");
const late = shape("public.late", "*id:int8");

const digits = (n: number): string => n.toString(16).toUpperCase().padStart(16, "0");

/** A transaction that changes both tables and empties the late one. */
function part(id: number, commit: number): TransactionPart {
  return {
    transaction: {
      id: String(id),
      commit: digits(commit),
      end: `${digits(commit + 1)}/00000000` as Position,
      committedAtUs: 0,
    },
    changes: [
      change("insert", old, 1, undefined, ["1"]),
      change("insert", late, 2, undefined, ["1"]),
      { kind: "truncate", table: late, ordinal: 3 },
    ],
    intent: undefined,
    bytes: 1,
    last: true,
  };
}

const captured = (more: Partial<CapturedTable>): readonly CapturedTable[] => [
  { table: "public.old", stream: "old", role: "old", since: `${digits(1)}/0` as Position },
  { table: "public.late", stream: "late", role: "late", since: `${digits(100)}/0` as Position, ...more }, // prettier-ignore
];

/** What is left: ordinals. `seen` lists the transactions that the baseline holds. */
function left(overlap: Overlap, one: TransactionPart): readonly number[] {
  return overlap.without(one).changes.map(({ ordinal }) => ordinal);
}

const visibility = (seen: string) => (transaction: string) => seen.split(",").includes(transaction);

test("what the baseline of a late table saw is left out, of that table alone", () => {
  const overlap = new Overlap(captured({ seen: "7,8" }), visibility);
  expect(left(overlap, part(7, 10))).toEqual([1]);
  expect(left(overlap, part(8, 99))).toEqual([1]);
});

test("a transaction that was in the log and not yet seen is told, wherever it lies", () => {
  const overlap = new Overlap(captured({ seen: "7,9" }), visibility);
  expect(left(overlap, part(7, 10))).toEqual([1]);
  expect(left(overlap, part(8, 11))).toEqual([1, 2, 3]);
  expect(left(overlap, part(9, 12))).toEqual([1]);
});

test("from the baseline's own place on nothing is left out any more", () => {
  const overlap = new Overlap(captured({ seen: "7,8" }), visibility);
  const beyond = part(8, 100);
  expect(overlap.without(beyond)).toBe(beyond);
});

test("tables that were there from the first, and those that left, are not touched", () => {
  const first = part(7, 10);
  expect(new Overlap(captured({}), visibility).without(first)).toBe(first);
  const gone = captured({ seen: "7", left: `${digits(5)}/0` as Position });
  expect(new Overlap(gone, visibility).without(first)).toBe(first);
});
