import { describe, expect, test } from "vitest";
import { completeImages, encodeImage, type RowImage } from "../../src/mapping/row-images.ts";
import { stream, table } from "../../src/mapping/rules.ts";
import type { Cell } from "../../src/model/cell.ts";
import type { RowChange } from "../../src/model/change.ts";
import { change, compile, shape } from "../support/mapping-fixtures.ts";

const kept = shape("public.orders", "*id:int8 note blob", "default");
const full = shape("public.orders", "*id:int8 note blob", "full");
const of = (shapeOf: typeof kept) =>
  compile({ order: stream(table("orders"), { otherwise: "Other" }) }, [shapeOf]);

/** Completes with what is kept, and says what was asked for and what is kept afterwards. */
async function complete(
  changes: readonly RowChange[],
  images: Readonly<Record<string, readonly (string | null)[]>> = {},
  mapping = of(kept),
) {
  const asked: string[] = [];
  const results = await completeImages(changes, mapping, (_, keys) => {
    asked.push(...keys);
    return Promise.resolve(
      keys.map((key) => (images[key] === undefined ? undefined : encodeImage(kept, images[key]))),
    );
  });
  return { asked, results };
}

const imagesOf = (results: readonly RowImage[]): (readonly [string, Cell[] | undefined])[] =>
  results.map(({ key, image }) => [
    key,
    image === undefined
      ? undefined
      : Object.values(JSON.parse(image) as Record<string, string | null>),
  ]);

describe("a table whose log does not tell old rows", () => {
  test("has them from the kept images, which follow the row", async () => {
    const changes = [
      change("insert", kept, 1, undefined, ["1", "a", "x"]),
      change("update", kept, 2, undefined, ["1", "b", undefined]),
      change("update", kept, 3, ["1", undefined, undefined], ["2", "b", undefined]),
      change("delete", kept, 4, ["2", undefined, undefined], undefined),
    ];
    const { asked, results } = await complete(changes);
    expect(changes.map(({ before, after }) => [before, after])).toEqual([
      [undefined, ["1", "a", "x"]],
      [
        ["1", "a", "x"],
        ["1", "b", "x"],
      ],
      [
        ["1", "b", "x"],
        ["2", "b", "x"],
      ],
      [["2", "b", "x"], undefined],
    ]);
    expect(imagesOf(results)).toEqual([
      ["1", ["1", "a", "x"]],
      ["1", ["1", "b", "x"]],
      ["1", undefined],
      ["2", ["2", "b", "x"]],
      ["2", undefined],
    ]);
    // The store is asked once for all, also for what this batch turns out to know itself.
    expect(asked.toSorted()).toEqual(["1", "2"]);
  });

  test("a key that is used again has the new row's image, not the old one's", async () => {
    const changes = [
      change("delete", kept, 1, ["1", undefined, undefined], undefined),
      change("insert", kept, 2, undefined, ["1", "new", null]),
      change("update", kept, 3, undefined, ["1", "newer", undefined]),
    ];
    await complete(changes, { "1": ["1", "old", "large"] });
    expect(changes[0]!.before).toEqual(["1", "old", "large"]);
    expect(changes[2]).toMatchObject({ before: ["1", "new", null], after: ["1", "newer", null] });
  });

  test("keys that are swapped by three updates swap the images", async () => {
    const move = (ordinal: number, from: string, to: string, note: string) =>
      change("update", kept, ordinal, [from, undefined, undefined], [to, note, undefined]);
    const changes = [move(1, "1", "9", "one"), move(2, "2", "1", "two"), move(3, "9", "2", "one")];
    const { results } = await complete(changes, {
      "1": ["1", "one", "I"],
      "2": ["2", "two", "II"],
    });
    const last = new Map(imagesOf(results));
    expect(last.get("1")).toEqual(["1", "two", "II"]);
    expect(last.get("2")).toEqual(["2", "one", "I"]);
    expect(last.get("9")).toBeUndefined();
  });

  test("whose image is missing stays unknown, and no image is made of half a row", async () => {
    const update = change("update", kept, 1, undefined, ["1", "b", undefined]);
    const { results } = await complete([update]);
    expect(update.before).toBeUndefined();
    expect(update.after).toEqual(["1", "b", undefined]);
    expect(results).toEqual([]);
  });

  test("what the log does tell wins over the image, a NULL too", async () => {
    const remove = change("delete", kept, 1, ["1", null, undefined], undefined);
    await complete([remove], { "1": ["1", "stale", "x"] });
    expect(remove.before).toEqual(["1", null, "x"]);
  });
});

describe("a table whose log tells old rows", () => {
  test("needs no image, and large values that were not repeated come from the old row", async () => {
    const update = change("update", full, 1, ["1", "a", "large"], ["1", "b", undefined]);
    const { asked, results } = await complete([update], {}, of(full));
    expect(update.after).toEqual(["1", "b", "large"]);
    expect([asked, results]).toEqual([[], []]);
  });

  test("goes on keeping images when it once did, without asking for them", async () => {
    const mapping = of(kept);
    mapping.adopt({ ...kept });
    const now = { ...full };
    mapping.adopt(now);
    const update = change("update", now, 1, ["1", "a", "x"], ["1", "b", "x"]);
    const { asked, results } = await complete([update], {}, mapping);
    expect(asked).toEqual([]);
    expect(imagesOf(results)).toEqual([["1", ["1", "b", "x"]]]);
  });
});
