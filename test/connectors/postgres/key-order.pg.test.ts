import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sourceDatabase, type SourceDatabase } from "./source-support.ts";
import { kindOf } from "../../../connectors/postgres/chunk-survey.ts";
import { connect, disconnect } from "../../../connectors/postgres/session.ts";
import { orderTerms } from "../../../connectors/postgres/snapshot-rows.ts";
import type { SourceTable } from "../../../src/model/table.ts";
import { compareKeyTexts, orderOf } from "../../../src/source/key-order.ts";
import { budget } from "../../support/random-budget.ts";

/*
 * The order of keys that is known here is the server's: of an ORDER BY of the column itself, by which
 * chunks are read through an index, and of the terms by which tables are merged.
 */

interface Keys {
  readonly type: string;
  readonly collation?: string;
  /** SQL of a value of the type, in parentheses. */
  readonly value: fc.Arbitrary<string>;
}

/** Day 0 is 2000-01-01. Where the era changes, and the digits of a year, and the ends of what there is. */
const EDGES = [-730_121, -730_000, -1_000, 0, 2_921_940, 35_795_050] as const;
const FIRST_DAY = -2_451_544;
const days = (last: number): fc.Arbitrary<number> =>
  fc.oneof(
    fc.tuple(fc.constantFrom(...EDGES), fc.integer({ min: -500, max: 500 })).map(([a, b]) => a + b),
    fc.integer({ min: FIRST_DAY, max: 3_000_000 }),
    fc.integer({ min: FIRST_DAY, max: last }),
    fc.constantFrom(FIRST_DAY, last),
  );
const microseconds = fc.oneof(
  fc.constantFrom(0, 1, 10, 500_000, 999_999, 1_000_000, 86_399_999_999),
  fc.integer({ min: 0, max: 86_399_999_999 }),
  fc.integer({ min: 0, max: 86_399 }).map((second) => second * 1_000_000),
);
const infinite = (type: string): fc.Arbitrary<string> =>
  fc.constantFrom(`('infinity'::${type})`, `('-infinity'::${type})`);
const moment = (type: string): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 1, arbitrary: infinite(type) },
    // The clock of New York goes through an hour of these twice.
    {
      weight: 3,
      arbitrary: fc
        .integer({ min: 0, max: 3 * 3_600 })
        .map((second) => `('2024-11-03 05:00+00'::${type} + '${second} s'::interval)`),
    },
    {
      weight: 12,
      arbitrary: fc
        .tuple(days(106_700_000), microseconds)
        .map(
          ([day, us]) => `('2000-01-01'::${type} + '${day} days'::interval + '${us} us'::interval)`,
        ),
    },
  );

const literal = (type: string, text: string): string =>
  `('${text.replaceAll("'", "''")}'::${type})`;

const KEYS: readonly Keys[] = [
  {
    type: "date",
    value: fc.oneof(
      { weight: 1, arbitrary: infinite("date") },
      { weight: 12, arbitrary: days(2_145_031_948).map((day) => `('2000-01-01'::date + ${day})`) },
    ),
  },
  { type: "timestamp", value: moment("timestamp") },
  { type: "timestamp(2)", value: moment("timestamp") },
  { type: "timestamptz", value: moment("timestamptz") },
  { type: "timestamptz(0)", value: moment("timestamptz") },
  {
    type: "time",
    value: fc.oneof(
      microseconds.map((us) => `('00:00'::time + '${us} us'::interval)`),
      fc.constant("('24:00'::time)"),
    ),
  },
  {
    type: "bpchar(4)",
    collation: "C",
    value: fc
      .string({
        unit: fc.constantFrom("a", "B", " ", "\t", "\u{1}", "ä", "～", "😀"),
        maxLength: 4,
      })
      .map((text) => literal("bpchar", text)),
  },
  {
    type: "macaddr",
    value: fc
      .uint8Array({ minLength: 6, maxLength: 6 })
      .map((octets) => literal("macaddr", Buffer.from(octets).toString("hex"))),
  },
  {
    type: "bytea",
    value: fc
      .uint8Array({ maxLength: 4 })
      .map((octets) => literal("bytea", `\\x${Buffer.from(octets).toString("hex")}`)),
  },
  { type: "bool", value: fc.boolean().map((value) => `(${value})`) },
  { type: "uuid", value: fc.uuid().map((text) => literal("uuid", text)) },
  {
    type: "int8",
    value: fc
      .bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
      .map((n) => literal("int8", String(n))),
  },
  {
    type: "numeric",
    value: fc.oneof(
      fc
        .tuple(fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n }), fc.nat({ max: 25 }))
        .map(([whole, scale]) => `(${whole}::numeric / 10::numeric ^ ${scale})`),
      fc.constantFrom("('NaN'::numeric)", "(1.50)", "(1.5)", "(0.00)", "(0)"),
    ),
  },
];

let db: SourceDatabase;
beforeAll(async () => {
  // A capture's sessions are not to follow what a database, or whoever connects, holds to be usual.
  db = await sourceDatabase(
    "key_order",
    `ALTER DATABASE "%" SET timezone = 'America/New_York'; ALTER DATABASE "%" SET datestyle = 'German';
     ALTER DATABASE "%" SET bytea_output = 'escape'`,
  );
});
afterAll(() => db[Symbol.asyncDispose]());

test.each(KEYS)("keys of type $type are ordered here as on the server", async (keys) => {
  const { type, collation, value } = keys;
  const client = await connect({ url: db.url, applicationName: "test" });
  const column = { name: "k", type };
  const table = { columns: [column] } as unknown as SourceTable;
  const as = orderOf(type);
  const merging = orderTerms(table, [{ column: 0, as }]);
  const cast = kindOf(type)!.replace(/\(.*/, "");
  try {
    const collate = collation === undefined ? "" : ` COLLATE "${collation}"`;
    await client.query(`CREATE TEMP TABLE keys (k ${type}${collate})`);
    await fc.assert(
      fc.asyncProperty(fc.array(value, { minLength: 2, maxLength: 120 }), async (values) => {
        await client.query("TRUNCATE pg_temp.keys");
        await client.query(`INSERT INTO pg_temp.keys VALUES ${values.join(", ")}`);
        const { rows } = await client.query<{
          text: string;
          rank: number;
          merged: number;
          same: boolean;
        }>(
          `SELECT text, rank, merged, (text::${cast} = k) AS same
             FROM (SELECT k, concat(k) AS text, (dense_rank() OVER (ORDER BY k))::int AS rank,
                          (dense_rank() OVER (ORDER BY ${merging}))::int AS merged FROM pg_temp.keys) ranked
            ORDER BY k`,
        );
        expect(rows).toHaveLength(values.length);
        for (const [i, { text, rank, merged, same }] of rows.entries()) {
          // A chunk begins and ends by the text of a key.
          expect([text, same]).toEqual([text, true]);
          const before = rows[i - 1];
          if (before === undefined) continue;
          const compared = [[before.text], [text], [as]] as const;
          expect([text, Math.sign(compareKeyTexts(...compared))]).toEqual([
            text,
            before.rank - rank,
          ]);
          expect(Math.sign(before.merged - merged)).toBe(before.rank - rank);
          expect(Math.sign(compareKeyTexts([text], [before.text], [as]))).toBe(rank - before.rank);
        }
      }),
      budget(40),
    );
  } finally {
    await disconnect(client);
  }
});

test("padded text that is collated as people sort is merged in the order that is known here", async () => {
  const client = await connect({ url: db.url, applicationName: "test" });
  const type = "bpchar(4)";
  const table = { columns: [{ name: "k", type }] } as unknown as SourceTable;
  try {
    await client.query(`CREATE TEMP TABLE padded (k char(4) COLLATE "en-x-icu")`);
    await client.query(
      String.raw`INSERT INTO pg_temp.padded SELECT unnest(ARRAY['b', 'B', 'a', E'a\x01', 'ä', '_', '', NULL])`,
    );
    const texts = async (order: string): Promise<(string | null)[]> => {
      const { rows } = await client.query<{ k: string | null }>(
        `SELECT k FROM pg_temp.padded ORDER BY ${order}`,
      );
      return rows.map(({ k }) => k);
    };
    const merged = await texts(orderTerms(table, [{ column: 0, as: "padded" }]));
    expect(merged).toEqual(merged.toSorted((a, b) => compareKeyTexts([a], [b], ["padded"])));
    expect(merged).not.toEqual(await texts("k"));
    expect(merged).toHaveLength(8);
  } finally {
    await disconnect(client);
  }
});
