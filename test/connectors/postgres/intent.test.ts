import { describe, expect, test } from "vitest";
import { mergeIntent, parseEcho } from "../../../connectors/postgres/intent.ts";

const nested = (depth: number): string => `{"a":${"[".repeat(depth)}${"]".repeat(depth)}}`;

/** Messages that no event can carry. A change that is committed already must not be stopped by them. */
export const UNUSABLE: readonly (readonly [string, string])[] = [
  ["no JSON", "why not"],
  ["no object", "[1]"],
  ["U+0000 in a value", '{"actor":"a\\u0000b"}'],
  ["U+0000 in the metadata", '{"why":{"deep":["\\u0000"]}}'],
  ["U+0000 in a key", '{"k\\u0000":1}'],
  ["half a surrogate pair", '{"actor":"\\ud83c"}'],
  ["half a surrogate pair in the metadata", '{"why":"\\udf33"}'],
  ["nesting beyond what a parser bears", nested(30_000)],
  ["more than a message should say", `{"why":"${"x".repeat(70_000)}"}`],
];

describe("what a transaction says of itself", () => {
  test("actor and the ids stand apart, everything else is metadata", () => {
    const said =
      '{"actor":"Ada","correlationId":7,"causationid":"k","reason":"🌳","n":[1,{"b":null}]}';
    expect(mergeIntent(undefined, said)).toEqual({
      actor: "Ada",
      correlationId: "7",
      causationId: "k",
      metadata: { reason: "🌳", n: [1, { b: null }] },
    });
  });

  test("what is said later wins, what is said once stays", () => {
    const first = mergeIntent(undefined, '{"actor":"Ada","reason":"a","only":1}');
    expect(mergeIntent(first, '{"actor":"Bea","reason":"b"}')).toEqual({
      actor: "Bea",
      metadata: { reason: "b", only: 1 },
    });
  });

  test.each(UNUSABLE)("%s leaves a mark, and what was said before", (_what, content) => {
    const before = mergeIntent(undefined, '{"actor":"Ada","reason":"a"}');
    expect(mergeIntent(before, content)).toEqual({
      actor: "Ada",
      metadata: { reason: "a", unparsed: true },
    });
  });

  test("an actor that is no text is no actor", () => {
    expect(mergeIntent(undefined, '{"actor":{"name":"Ada"}}')).toEqual({ metadata: {} });
  });
});

describe("what a transaction says of an echo", () => {
  test("is the stream, and the version of the last event that it writes back", () => {
    const said = '{"pipeline":"shop","stream":"order-7","version":12,"more":true}';
    expect(parseEcho(said, "shop")).toEqual({ stream: "order-7", version: 12 });
    expect(parseEcho(said, "another")).toBeUndefined();
  });

  test.each<readonly [string, string]>([
    ...UNUSABLE,
    ["no stream", '{"pipeline":"shop","version":1}'],
    ["no version", '{"pipeline":"shop","stream":"order-7"}'],
    ["a version that is no number", '{"pipeline":"shop","stream":"order-7","version":"1"}'],
  ])("%s is none", (_what, content) => {
    expect(parseEcho(content, "shop")).toBeUndefined();
  });
});
