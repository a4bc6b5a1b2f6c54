import fc from "fast-check";
import { expect, test } from "vitest";
import { keyOfStream, keyText, streamId } from "../../src/mapping/stream-id.ts";
import { budget } from "../support/random-budget.ts";

/** Characters that mean something in a stream id, and some that should not. */
const part = fc.option(
  fc.oneof(
    fc.string({ unit: fc.constantFrom("\\", ",", "0", "-", "\n", "\x1f", "é", "😀", "a") }),
    fc.string({ unit: "binary" }),
  ),
);

test("the key of a stream is read back from its id, whatever the key's columns hold", () => {
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), (cells) => {
      const columns = cells.map((_, column) => column);
      expect(keyOfStream(streamId("order", keyText(cells, columns)))).toEqual(cells);
    }),
    budget(2_000),
  );
});

test("an empty key, NULL, and the text that stands for NULL are three things", () => {
  const idOf = (cell: string | null): string => streamId("order", keyText([cell], [0]));
  expect(keyOfStream(idOf(""))).toEqual([""]);
  expect(keyOfStream(idOf(null))).toEqual([null]);
  expect(keyOfStream(idOf(String.raw`\0`))).toEqual([String.raw`\0`]);
  expect(new Set([idOf(""), idOf(null), idOf(String.raw`\0`)]).size).toBe(3);
});

test("a long key of many commas is read in no time", () => {
  const cells = [",".repeat(299), null];
  const id = streamId("order", keyText(cells, [0, 1]));
  const startedMs = performance.now();
  for (let i = 0; i < 100; i++) expect(keyOfStream(id)).toEqual(cells);
  expect(performance.now() - startedMs).toBeLessThan(5_000);
});
