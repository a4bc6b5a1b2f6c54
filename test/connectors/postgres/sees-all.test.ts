import { expect, test } from "vitest";
import { seesAll } from "../../../connectors/postgres/seen-by-all.ts";

test.each([
  ["all is over", "20:20:", "10:20:15", true],
  ["what both have in progress", "15:20:15", "15:20:15", true],
  ["what the other sees is in progress", "15:20:15", "16:20:", false],
  ["what the other sees is in progress, below its own first one", "12:20:12,15", "16:20:15", false],
  ["what the other sees has yet to be completed", "18:18:", "18:20:18", false],
  ["what the other has in progress has yet to be completed", "18:18:", "18:20:18,19", true],
  ["a slot's snapshot whose end lies before its beginning", "19205:19205:", "19204:19203:", true],
  ["the same, and one that it sees is in progress", "19203:19205:19203", "19204:19203:", false],
])("a snapshot beside another: %s", (_, now, seen, expected) => {
  expect(seesAll(now, seen)).toBe(expected);
});
