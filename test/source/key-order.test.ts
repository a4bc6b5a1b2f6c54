import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { compareKeyTexts, orderOf } from "../../src/source/key-order.ts";

describe("key order", () => {
  test("texts are ordered by their UTF-8 bytes", () => {
    const text = fc.string({ unit: "binary" });
    fc.assert(
      fc.property(text, text, (a, b) => {
        const expected = Buffer.compare(Buffer.from(a), Buffer.from(b));
        expect(Math.sign(compareKeyTexts([a], [b], ["bytes"]))).toBe(expected);
      }),
    );
    expect(compareKeyTexts(["\u{1F600}"], ["\uFF5E"], ["bytes"])).toBeGreaterThan(0);
    expect(compareKeyTexts(["a"], ["a "], ["bytes"])).toBeLessThan(0);
  });

  test("whole numbers are ordered as numbers, also beyond what a double holds", () => {
    const integer = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
    fc.assert(
      fc.property(integer, integer, (a, b) => {
        const expected = a < b ? -1 : a > b ? 1 : 0;
        expect(Math.sign(compareKeyTexts([String(a)], [String(b)], ["integer"]))).toBe(expected);
      }),
    );
  });

  test("the first column that differs decides, and nulls come last", () => {
    expect(compareKeyTexts(["9", "b"], ["10", "a"], ["integer", "bytes"])).toBeLessThan(0);
    expect(compareKeyTexts(["1", "b"], ["1", "a"], ["integer", "bytes"])).toBeGreaterThan(0);
    expect(compareKeyTexts([null], ["z"], ["bytes"])).toBeGreaterThan(0);
    expect(compareKeyTexts([null, "a"], [null, "b"], ["integer", "bytes"])).toBeLessThan(0);
    expect(compareKeyTexts([null], [null], ["integer"])).toBe(0);
  });

  test("decimals are ordered as numbers, whatever their scale", () => {
    const ascending = [
      "-Infinity",
      "-10",
      "-2.50",
      "-2.4",
      "0.0",
      "0.09",
      "0.1",
      "1",
      "9.99",
      "10.0",
    ];
    ascending.push("9".repeat(40), "Infinity", "NaN");
    ascending.forEach((a, i) =>
      ascending.forEach((b, j) => {
        expect(Math.sign(compareKeyTexts([a], [b], ["decimal"]))).toBe(Math.sign(i - j));
      }),
    );
    for (const [a, b] of [
      ["1.0", "1.00"],
      ["0", "0.00"],
      ["-3", "-3.0"],
      ["NaN", "NaN"],
    ] as const)
      expect(compareKeyTexts([a], [b], ["decimal"])).toBe(0);
  });

  test("only numbers are ordered as numbers", () => {
    expect(["int2", "int4", "int8"].map(orderOf)).toEqual(["integer", "integer", "integer"]);
    expect(["numeric", "numeric(10,2)"].map(orderOf)).toEqual(["decimal", "decimal"]);
    expect(["text", "numeric[]", "uuid", "int4[]", "public.id"].map(orderOf)).toEqual(
      Array(5).fill("bytes"),
    );
  });
});
