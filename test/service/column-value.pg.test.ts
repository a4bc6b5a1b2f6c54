import fc from "fast-check";
import { expect, test } from "vitest";
import { columnText } from "../../src/service/column-value.ts";
import type { CodecName } from "../../src/model/table.ts";
import { createDatabase } from "../support/databases.ts";

/*
 * What a service says is kept as the text that the legacy database would have for it: Postgres itself is
 * asked, for each type of which the library knows more than "text".
 */

const digits = (max: number): fc.Arbitrary<string> =>
  fc.stringMatching(new RegExp(`^[0-9]{1,${max}}$`));
const decimal = (before: number, behind: number): fc.Arbitrary<string> =>
  fc
    .tuple(fc.constantFrom("", "-"), digits(before), fc.option(digits(behind)))
    .map(([sign, whole, rest]) => `${sign}${whole}${rest === null ? "" : `.${rest}`}`);
const two = (max: number, min = 0): fc.Arbitrary<string> =>
  fc.integer({ min, max }).map((n) => String(n).padStart(2, "0"));
const time = (zone: string): fc.Arbitrary<string> =>
  fc
    .tuple(
      fc.integer({ min: 1000, max: 9999 }),
      two(12, 1),
      two(28, 1),
      two(23),
      two(59),
      two(59),
      fc.option(digits(6)),
    )
    .map(
      ([y, m, d, h, min, s, f]) =>
        `${y}-${m}-${d}T${h}:${min}:${s}${f === null ? "" : `.${f}`}${zone}`,
    );
const json = fc
  .json({ maxDepth: 4, stringUnit: "binary" })
  .filter((text) => !/\\u0000|\\ud[89a-f]/i.test(text));
// Characters of several code units are one.
const characters = fc.string({ maxLength: 5, unit: fc.constantFrom("a", " ", "é", "😀") });

const TYPES: readonly (readonly [type: string, codec: CodecName, values: fc.Arbitrary<string>])[] =
  [
    ["numeric(12,2)", "text", decimal(10, 2)],
    ["numeric(5,4)", "text", decimal(1, 4)],
    ["numeric(8)", "text", digits(8)],
    ["numeric", "text", decimal(20, 20)],
    ["int8", "text", fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(String)],
    ["varchar(5)", "text", characters],
    ["bpchar(5)", "text", characters],
    ["jsonb", "text", json],
    ["uuid", "text", fc.uuid().map((id) => id.toUpperCase())],
    ["timestamptz", "timestamptz", time("Z")],
    ["timestamp", "timestamp", time("")],
    [
      "bytea",
      "bytea",
      fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString("base64")),
    ],
  ];
const VALUES = 300;

test("values have the text that Postgres gives them", async () => {
  const seed = Date.now() % 1_000_000;
  process.stdout.write(`seed ${seed}\n`);
  await using database = await createDatabase("column_values");
  await database.query(`ALTER DATABASE ${database.name} SET timezone = 'UTC'`);
  for (const [type, codec, arbitrary] of TYPES) {
    const values = fc.sample(arbitrary, { numRuns: VALUES, seed });
    const told = values.flatMap((value): [string, string][] => {
      try {
        return [[value, columnText({ name: "x", type, codec }, value)!]];
      } catch (error) {
        // Numbers that JavaScript would change are refused.
        expect(type, (error as Error).message).toBe("jsonb");
        return [];
      }
    });
    expect(told.length).toBeGreaterThan(VALUES / 3);
    // A cast to text would take the blanks off.
    const cast = type === "bytea" ? "decode(v, 'base64')::text" : `concat(v::${type})`;
    const { rows } = await database.query(
      `SELECT ${cast} AS text FROM unnest($1::text[]) WITH ORDINALITY AS u (v, n) ORDER BY n`,
      [told.map(([value]) => value)],
    );
    expect(
      told.map(([, text]) => text),
      type,
    ).toEqual(rows.map((row: { text: string }) => row.text));
  }
});
