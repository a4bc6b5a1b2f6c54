import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { commonOrder, compareKeyTexts, orderOf } from "../../src/source/key-order.ts";

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

  test("times are ordered as times, also before Christ and after the year 9999", () => {
    const ascending = [
      "-infinity",
      "4714-11-24 00:00:00+00 BC",
      "0044-03-14 23:59:59.9+00 BC",
      "0044-03-15 00:00:00+00 BC",
      "0044-03-15 00:00:00.000001+00 BC",
      "0001-12-31 23:59:59+00 BC",
      "0001-01-01 00:00:00+00",
      "2024-02-29 12:00:00+00",
      "2024-02-29 12:00:00.05+00",
      "2024-02-29 12:00:00.5+00",
      "2024-02-29 12:00:00.51+00",
      "2024-02-29 12:00:01+00",
      "9999-12-31 23:59:59+00",
      "10000-01-01 00:00:00+00",
      "100000-01-01 00:00:00+00",
      "infinity",
    ];
    const forms = [
      (text: string) => text,
      (text: string) => text.replace("+00", ""),
      // Those of days of which several are in the list are left out.
      (text: string) => (/ 00:00:00\+|infinity/.test(text) ? text.replace(" 00:00:00+00", "") : ""),
    ];
    for (const form of forms) {
      const all = ascending.map(form).filter((text) => text !== "");
      expect(all.length).toBeGreaterThan(5);
      all.forEach((a, i) =>
        all.forEach((b, j) => {
          expect(Math.sign(compareKeyTexts([a], [b], ["timestamp"]))).toBe(Math.sign(i - j));
        }),
      );
    }
  });

  test("blanks at the end of padded text mean nothing but where two texts are equal without them", () => {
    expect(compareKeyTexts(["a   "], ["a\u0001  "], ["padded"])).toBeLessThan(0);
    expect(compareKeyTexts(["a   "], ["a\u0001  "], ["bytes"])).toBeGreaterThan(0);
    expect(compareKeyTexts(["a "], ["a"], ["padded"])).toBeGreaterThan(0);
    expect(compareKeyTexts([" a"], ["a "], ["padded"])).toBeLessThan(0);
  });

  test("columns of several tables have the order that all of them can follow", () => {
    expect(commonOrder(["int4", "int8"])).toBe("integer");
    expect(commonOrder(["int4", "numeric(9,2)"])).toBe("decimal");
    expect(commonOrder(["int4", "text"])).toBe("bytes");
    expect(commonOrder(["timestamp(3)", "timestamp"])).toBe("timestamp");
    expect(commonOrder(["date", "text"])).toBe("bytes");
    expect(commonOrder(["date", "int4"])).toBe("bytes");
    expect(commonOrder(["bpchar(4)"])).toBe("padded");
  });

  test("only numbers are ordered as numbers, and times as times", () => {
    expect(["int2", "int4", "int8"].map(orderOf)).toEqual(["integer", "integer", "integer"]);
    expect(["numeric", "numeric(10,2)"].map(orderOf)).toEqual(["decimal", "decimal"]);
    const times = ["date", "timestamp", "timestamp(3)", "timestamptz", "timestamptz(0)"];
    expect(times.map(orderOf)).toEqual(Array(5).fill("timestamp"));
    expect(["time", "timetz", "date[]", "public.date", "bpchar"].map(orderOf)).toEqual(
      Array(5).fill("bytes"),
    );
    expect(["text", "numeric[]", "uuid", "int4[]", "public.id"].map(orderOf)).toEqual(
      Array(5).fill("bytes"),
    );
  });
});
