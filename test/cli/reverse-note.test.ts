import { expect, test } from "vitest";
import { reverseRows, type ReverseNote } from "../../src/cli/reverse-note.ts";

const NOTE: ReverseNote = {
  running: true,
  lagSeconds: 0.25,
  applied: 1_234,
  conflicts: 0,
  samples: [],
  updatedAt: "2026-01-31T10:00:00.000000Z",
};

test("status says how far the way back is, and which rows are in it", () => {
  expect(reverseRows(undefined)).toEqual([]);
  expect(reverseRows(NOTE)).toEqual([["reverse sync", "1,234 events written back, lag 0.3 s"]]);
  const stream = { version: 3, foundAt: "", reason: "somebody else has changed the row" };
  const samples = [
    { ...stream, stream: "order-1", table: "public.orders", key: "1", columns: ["total", "note"] },
    { ...stream, stream: "order-2", table: "", key: "", columns: [] },
  ];
  expect(reverseRows({ ...NOTE, running: false, conflicts: 2, samples })).toEqual([
    ["reverse sync", "1,234 events written back, not running"],
    ["  conflicts", "2"],
    ["  order-1", "somebody else has changed the row (public.orders 1: total, note)"],
    ["  order-2", "somebody else has changed the row"],
  ]);
});
