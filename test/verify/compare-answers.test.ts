import { describe, expect, test } from "vitest";
import { compareAnswers, type Answer } from "../../src/verify/compare-answers.ts";

const RULES = {
  headers: ["location"],
  ignore: new Set<string>(),
  unordered: new Set<string>(),
  tolerances: new Map<string, number>(),
  timestamps: new Map<string, number>(),
};
const NONE: ReadonlySet<string> = new Set();

function json(text: string, more: Partial<Omit<Answer, "body">> = {}): Answer {
  const headers = new Map([["content-type", "application/json; charset=utf-8"]]);
  return { status: 200, headers, body: Buffer.from(text), ...more };
}

function placesOf(a: Answer, b: Answer, noise = NONE): readonly string[] | string {
  const verdict = compareAnswers(a, b, RULES, noise);
  return verdict.outcome === "different"
    ? verdict.differences.map(({ place }) => place)
    : verdict.outcome;
}

describe("two answers", () => {
  test("are equal when their JSON says the same in other words", () => {
    expect(placesOf(json(`{"a":1,"b":"\u00e9"}`), json(`{ "b": "\\u00e9", "a": 1.0 }`))).toBe(
      "equal",
    );
    expect(placesOf(json("[]"), json(" [ ] "))).toBe("equal");
  });

  test("differ in status, which says all, and in headers that count", () => {
    const headers = new Map([
      ["location", "/orders/1"],
      ["date", "now"],
    ]);
    expect(placesOf(json("{}"), json(`{"a":1}`, { status: 404 }))).toEqual(["(status)"]);
    expect(placesOf(json("{}"), json("{}", { headers }))).toEqual(["(header location)"]);
    expect(placesOf(json("{}"), json("{}", { headers }), new Set(["(header location)"]))).toBe(
      "equal",
    );
    expect(placesOf(json("{}"), json("{}", { status: 404 }), new Set(["(status)"]))).toEqual([
      "(status)",
    ]);
  });

  test("differ in numbers that only their text tells apart", () => {
    const pairs = [
      ["12345678901234567890", "12345678901234567891"],
      ["9007199254740993", "9007199254740992"],
      ["0.1234567890123456789", "0.1234567890123456788"],
      ["1234567890.12345678", "1234567890.12345679"],
      ["1e400", "1e401"],
      ["1e-400", "2e-400"],
    ] as const;
    for (const [a, b] of pairs) {
      expect(placesOf(json(`{"n":${a},"s":"${b}"}`), json(`{"n":${b},"s":"${b}"}`))).toEqual(["n"]);
      expect(placesOf(json(`{"n":${a}}`), json(`{ "n":${a}}`))).toBe("equal");
    }
    expect(placesOf(json(`[1e2,1.50]`), json(`[100,1.5]`))).toBe("equal");
  });

  test("are compared byte by byte when one is no JSON", () => {
    const html = { headers: new Map([["content-type", "text/html"]]) };
    expect(placesOf(json("<p>a", html), json("<p>a", html))).toBe("equal");
    expect(placesOf(json("<p>a", html), json("<p>b", html))).toEqual(["(body)"]);
    expect(placesOf(json(`{"a":1}`, html), json(`{"a": 1}`, html))).toEqual(["(body)"]);
    expect(placesOf(json(`{"a":1}`), json(`{"a":1`))).toEqual(["(body)"]);
    expect(placesOf(json(`{"a":1}`), json(""))).toEqual(["(body)"]);
  });

  test("cannot be told equal when all of the body is noise, or too deep", () => {
    const noise = new Set(["(body)"]);
    expect(placesOf(json("a"), json("b"), noise)).toBe("uncompared");
    expect(placesOf(json("a"), json("a"), noise)).toBe("equal");
    const deep = (leaf: number): string => `${"[".repeat(100_000)}${leaf}${"]".repeat(100_000)}`;
    expect(placesOf(json(deep(1)), json(deep(2)))).toBe("uncompared");
  });
});
