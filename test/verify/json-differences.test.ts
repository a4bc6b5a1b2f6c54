import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  countPlace,
  elementPlace,
  fieldPlace,
  isPlace,
  ROOT_PLACE,
} from "../../src/verify/answer-place.ts";
import { differencesOf, type AnswerRules } from "../../src/verify/json-differences.ts";
import { budget } from "../support/random-budget.ts";

const NONE: ReadonlySet<string> = new Set();
const STRICT = rules({});

function rules(given: Partial<Record<keyof AnswerRules, unknown>>): AnswerRules {
  return {
    ignore: new Set(given.ignore as string[] | undefined),
    unordered: new Set(given.unordered as string[] | undefined),
    tolerances: new Map(Object.entries((given.tolerances as object | undefined) ?? {})),
    timestamps: new Map(Object.entries((given.timestamps as object | undefined) ?? {})),
  };
}

function placesOf(
  a: unknown,
  b: unknown,
  how: AnswerRules = STRICT,
  noise: ReadonlySet<string> = NONE,
): readonly string[] {
  return differencesOf(a, b, how, noise)
    .found.map(({ place }) => place)
    .sort();
}

/** Every place of a value that can be ignored, and every array. */
function allPlaces(value: unknown, place = ROOT_PLACE): { all: string[]; arrays: string[] } {
  if (typeof value !== "object" || value === null) return { all: [place], arrays: [] };
  const below = Array.isArray(value)
    ? value.map((one) => allPlaces(one, elementPlace(place)))
    : Object.entries(value).map(([name, one]) => allPlaces(one, fieldPlace(place, name)));
  return {
    all: [place, ...below.flatMap(({ all }) => all)],
    arrays: [...(Array.isArray(value) ? [place] : []), ...below.flatMap(({ arrays }) => arrays)],
  };
}

const names = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom("id", "lines", "total", "a.b", "[]", '"', "__proto__") },
  fc.string({ maxLength: 4 }),
);
const { tree } = fc.letrec<{ tree: unknown; leaf: unknown }>((tie) => ({
  leaf: fc.oneof(
    fc.integer({ min: 0, max: 3 }),
    fc.constantFrom("", "a", "b"),
    fc.boolean(),
    fc.constant(null),
  ),
  tree: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    tie("leaf"),
    fc.array(tie("tree"), { maxLength: 4 }),
    // As JSON.parse makes them: a name is a name, also __proto__.
    fc
      .array(fc.tuple(names, tie("tree")), { maxLength: 4 })
      .map((fields) => Object.fromEntries(fields)),
  ),
}));

describe("differences of JSON values", () => {
  test("are none between a value and itself, whatever the rules", () => {
    fc.assert(
      fc.property(tree, tree, fc.func(fc.boolean()), (a, b, isChosen) => {
        const { all, arrays } = allPlaces(b);
        const how = rules({ ignore: all.filter(isChosen), unordered: arrays });
        expect(placesOf(a, structuredClone(a), STRICT)).toEqual([]);
        expect(placesOf(a, structuredClone(a), how)).toEqual([]);
      }),
      budget(500),
    );
  });

  test("are at the same places with the sides exchanged", () => {
    fc.assert(
      fc.property(tree, tree, fc.boolean(), (a, b, isUnordered) => {
        const arrays = [...allPlaces(a).arrays, ...allPlaces(b).arrays];
        const how = isUnordered ? rules({ unordered: arrays }) : STRICT;
        expect(placesOf(a, b, how)).toEqual(placesOf(b, a, how));
      }),
      budget(500),
    );
  });

  test("are there when the texts of two values in one order of names differ", () => {
    fc.assert(
      fc.property(tree, tree, (a, b) => {
        const isEqual = fc.stringify(sortedNames(a)) === fc.stringify(sortedNames(b));
        expect(placesOf(a, b).length === 0).toBe(isEqual);
      }),
      budget(500),
    );
  });

  test("without noise are those with it but for its places, no more and no less", () => {
    fc.assert(
      fc.property(tree, tree, fc.func(fc.boolean()), (a, b, isChosen) => {
        const all = placesOf(a, b);
        // Also places that do not differ, or that are above others.
        const noise = new Set([...all, ...allPlaces(a).all].filter(isChosen));
        const { found, noise: leftOut } = differencesOf(a, b, STRICT, noise);
        expect(found.map(({ place }) => place).sort()).toEqual(
          all.filter((place) => !noise.has(place)),
        );
        expect([...leftOut].sort()).toEqual(all.filter((place) => noise.has(place)));
      }),
      budget(500),
    );
  });

  test("are none between arrays without order whose elements are mixed", () => {
    fc.assert(
      fc.property(
        fc
          .array(tree, { maxLength: 6 })
          .chain((list) =>
            fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length })),
          ),
        ([list, mixed]) => {
          expect(placesOf({ list }, { list: mixed }, rules({ unordered: ["list"] }))).toEqual([]);
        },
      ),
      budget(300),
    );
  });

  test("have places that a config can name", () => {
    fc.assert(
      fc.property(tree, (value) => {
        expect(allPlaces(value).all.filter((place) => !isPlace(place))).toEqual([]);
      }),
      budget(300),
    );
    expect(
      ["lines[].id", "[].a", "a-b", "(header etag)", "."].filter((one) => !isPlace(one)),
    ).toEqual([]);
    expect(["", "a..b", ".a", "a b", "$.a[0]", "(status)", "a[0]"].filter(isPlace)).toEqual([]);
  });
});

describe("rules", () => {
  const order = { id: 1, updatedAt: "a", lines: [{ id: 1, sku: "x" }] };

  test("leave out what is ignored, with all below it", () => {
    const other = { id: 1, lines: [{ id: 2, sku: "x" }] };
    expect(placesOf(order, other)).toEqual(["lines[].id", "updatedAt"]);
    expect(placesOf(order, other, rules({ ignore: ["updatedAt", "lines[].id"] }))).toEqual([]);
    expect(placesOf(order, { id: 1 }, rules({ ignore: ["updatedAt", "lines"] }))).toEqual([]);
    expect(placesOf(order, { id: 2 }, rules({ ignore: ["updatedAt", "lines"] }))).toEqual(["id"]);
  });

  test("let numbers differ a little, also those written as text, and only where told", () => {
    const how = rules({ tolerances: { total: 0.01 } });
    expect(placesOf({ total: 1 }, { total: 1.005 }, how)).toEqual([]);
    expect(placesOf({ total: "19.90" }, { total: 19.9 }, how)).toEqual([]);
    expect(placesOf({ total: 1 }, { total: 1.02 }, how)).toEqual(["total"]);
    expect(placesOf({ total: 1 }, { total: null }, how)).toEqual(["total"]);
    expect(placesOf({ total: 1 }, { total: "one" }, how)).toEqual(["total"]);
    expect(placesOf({ tax: 1 }, { tax: 1.005 }, how)).toEqual(["tax"]);
  });

  test("let timestamps differ a little", () => {
    const how = rules({ timestamps: { at: 1_000 } });
    const at = "2026-01-01T00:00:00Z";
    expect(placesOf({ at }, { at: "2026-01-01T01:00:00.9+01:00" }, how)).toEqual([]);
    expect(placesOf({ at }, { at: "2026-01-01T00:00:02Z" }, how)).toEqual(["at"]);
    expect(placesOf({ at }, { at: "soon" }, how)).toEqual(["at"]);
  });

  test("pair elements without order by what counts in them", () => {
    const how = rules({ unordered: ["l"], ignore: ["l[].id"], tolerances: { "l[].n": 0.5 } });
    const a = {
      l: [
        { id: 1, s: "a", n: 1 },
        { id: 2, s: "b", n: 2 },
      ],
    };
    const b = {
      l: [
        { id: 8, s: "b", n: 2.4 },
        { id: 9, s: "a", n: 0.6 },
      ],
    };
    expect(placesOf(a, b, how)).toEqual([]);
    expect(placesOf(a, { l: [{ id: 8, s: "b", n: 2 }] }, how)).toEqual([countPlace("l")]);
    expect(placesOf(a, { l: [b.l[0], { ...b.l[1], s: "c" }] }, how)).toContain("l[].s");
  });

  test("a value that is deeper than anybody writes is not looked into", () => {
    let a: unknown = 1;
    let b: unknown = 2;
    for (let i = 0; i < 200; i++) [a, b] = [[a], [b]];
    expect(() => placesOf(a, b)).toThrow(RangeError);
    expect(() => placesOf({ a }, { a: b }, rules({ ignore: ["a"] }))).not.toThrow();
  });
});

function sortedNames(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortedNames);
  if (typeof value !== "object" || value === null) return value;
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return { fields: fields.map(([name, one]) => [name, sortedNames(one)]) };
}
