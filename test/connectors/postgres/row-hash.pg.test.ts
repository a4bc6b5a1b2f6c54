import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import {
  expectFoundByKey,
  expectServersSums,
  hashedTables,
  type HashedTables,
} from "./row-hash-support.ts";
import { MatrixTable, typesOf } from "./type-matrix-support.ts";
import { connect, disconnect } from "../../../connectors/postgres/session.ts";
import { SnapshotRows } from "../../../connectors/postgres/snapshot-rows.ts";
import type { SourceTable } from "../../../src/model/table.ts";
import { createRole } from "../../support/faults-role.ts";
import { budget } from "../../support/random-budget.ts";

/*
 * A verification compares what the server hashed with what was hashed here, and looks closer only where
 * the two differ. Were they not one function, nothing would be wrong and all would be slow, or worse, a
 * difference would hide. So for rows of every type: the server's sums are those of RowHash.
 */

/** Characters that mean something to SQL, to keys, to COPY or to the hashed text. */
const NASTY = [
  "\x1f",
  "'",
  '"',
  "\\",
  ",",
  "\t",
  "\n",
  "0",
  "1",
  " ",
  "é",
  "ß",
  "😀",
  "A",
  "a",
  "_",
];
const nastyText = fc.string({ unit: fc.constantFrom(...NASTY), maxLength: 14 });

/** All columns of the scalars, and in the default budget some of the arrays. */
function columnsToTry({ name, columns }: SourceTable): readonly number[] {
  const isAll = name.includes("scalars") || process.env["BANYAN_TEST_BUDGET"] === "nightly";
  return columns.flatMap(({ type }, column) =>
    isAll || column % 4 === 0 || type.startsWith("numeric") ? [column] : [],
  );
}

describe("hashes of rows of every type", () => {
  let hashed: HashedTables;
  let tables: readonly MatrixTable[];

  beforeAll(async () => {
    const { types, ddl } = await typesOf(inject("pgUrl"));
    tables = MatrixTable.scalarsAndArrays(types, "hashed");
    hashed = await hashedTables("row_hash", [...ddl, ...tables.map((each) => each.ddl("FULL"))]);
    for (const table of tables) {
      const ids = Array.from({ length: table.rows }, (_, k) => k);
      await hashed.write(...ids.map((k) => table.insert(k, k)), table.insertNulls(-1));
    }
  });
  afterAll(async () => {
    await hashed[Symbol.asyncDispose]();
  });

  test("are the server's, with every column once as the key of the aggregates", async () => {
    await using look = await hashed.look(...tables.map(({ name }) => `public.${name}`));
    for (const table of look.tables) {
      for (const column of columnsToTry(table)) {
        const aggregates = await expectServersSums(look, table, { key: [column], buckets: 4 });
        if (column === 0) expect(aggregates).toBeGreaterThan(2);
      }
    }
  });

  test("name keys by which the rows are found again, where the type has an equality", async () => {
    await using look = await hashed.look(...tables.map(({ name }) => `public.${name}`));
    let tried = 0;
    for (const table of look.tables) {
      for (const column of columnsToTry(table)) {
        const { name } = table.columns[column]!;
        const comparable = await hashed.db
          .query(`SELECT FROM ${table.name} WHERE "${name}" = "${name}" LIMIT 0`)
          .then(
            () => true,
            () => false,
          );
        if (!comparable) continue;
        tried += 1;
        await expectFoundByKey(look, table, { key: [column], buckets: 1 });
        await expectFoundByKey(look, table, { key: [column, 0], buckets: 1 });
      }
    }
    expect(tried).toBeGreaterThan(50);
  });

  test("are the server's for rows whose values and NULLs are mixed at random", async () => {
    const [table] = tables;
    const choice = fc.array(fc.nat(40), {
      minLength: table!.types.length,
      maxLength: table!.types.length,
    });
    // A failure names the columns' types; to make the rows fewer takes longer than it helps.
    const rowChoices = fc.noShrink(fc.array(choice, { minLength: 1, maxLength: 12 }));
    await fc.assert(
      fc.asyncProperty(rowChoices, async (rows) => {
        const values = rows.map((numbers, id) => {
          const cells = table!.types.map(({ values: all }, i) => {
            const number = numbers[i]!;
            return number % 4 === 0 ? "NULL" : all[number % all.length]!;
          });
          return `INSERT INTO public.${table!.name} VALUES (${id}, ${cells.join(", ")})`;
        });
        await hashed.write(`TRUNCATE public.${table!.name}`, ...values);
        await using look = await hashed.look(`public.${table!.name}`);
        await expectServersSums(look, look.tables[0]!, { key: [0], buckets: 4 });
      }),
      budget(4),
    );
  });
});

describe("hashes of rows of nasty text", () => {
  let hashed: HashedTables;

  beforeAll(async () => {
    hashed = await hashedTables("row_hash_text", [
      `CREATE COLLATION public.blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
      `CREATE TYPE public.pair AS (a int, b text)`,
      `CREATE TABLE public.nasty (
         id int PRIMARY KEY, plain text, sure text NOT NULL, padded char(16), blind text COLLATE public.blind,
         number numeric, fixed numeric(12,4), flag bool, pair public.pair, list text[])`,
    ]);
  });
  afterAll(async () => {
    await hashed[Symbol.asyncDispose]();
  });

  const row = fc.record({
    plain: fc.option(nastyText),
    sure: nastyText,
    padded: fc.option(nastyText),
    blind: fc.option(fc.constantFrom("", "a", "A", "ab", "aB", "É", "é")),
    number: fc.option(
      fc.constantFrom("1", "1.0", "1.00", "10", "100.0", "0", "-0.0", "NaN", "-1.50"),
    ),
    flag: fc.option(fc.boolean()),
    pair: fc.option(fc.constantFrom("(,)", "(1,)", '(,"")', "(1,x)")),
    list: fc.option(fc.array(fc.option(nastyText), { maxLength: 3 })),
  });

  test("are the server's, by one key and by several", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 60 }), async (rows) => {
        await hashed.db.query("TRUNCATE nasty");
        await hashed.db.query(
          `INSERT INTO nasty SELECT no, plain, sure, padded, blind, number::numeric, number::numeric, flag, pair::pair, list
             FROM ROWS FROM (json_to_recordset($1) AS (plain text, sure text, padded text, blind text, number text, flag bool, pair text, list text[]))
                  WITH ORDINALITY AS r(plain, sure, padded, blind, number, flag, pair, list, no)`,
          [JSON.stringify(rows)],
        );
        await using look = await hashed.look("public.nasty");
        const [table] = look.tables;
        for (const names of [
          ["id"],
          ["plain"],
          ["blind"],
          ["number"],
          ["fixed"],
          ["padded", "number"],
          ["sure", "blind", "flag"],
          ["pair"],
          ["list", "plain"],
        ]) {
          const key = names.map((name) =>
            table!.columns.findIndex((column) => column.name === name),
          );
          await expectServersSums(look, table!, { key, buckets: 8 });
          await expectFoundByKey(look, table!, { key, buckets: 8 });
        }
      }),
      budget(8),
    );
  });

  test("tell NULL from the empty text, and a composite of NULLs from NULL", async () => {
    const sumOf = async (plain: string, pair: string): Promise<string> => {
      await hashed.db.query("TRUNCATE nasty");
      await hashed.db.query(
        `INSERT INTO nasty (id, plain, sure, pair) VALUES (1, ${plain}, '', ${pair})`,
      );
      await using look = await hashed.look("public.nasty");
      const plan = { key: [0], buckets: 1 };
      const { sums } = await look.snapshot.sumRows(
        look.tables[0]!,
        plan,
        AbortSignal.timeout(60_000),
      );
      return String(sums[0]);
    };
    const sums = [
      await sumOf("NULL", "NULL"),
      await sumOf("''", "NULL"),
      await sumOf("NULL", "'(,)'"),
      await sumOf("''", "'(,)'"),
    ];
    expect(new Set(sums).size).toBe(4);
  });
});

test("a table of 1,600 columns is hashed by the server as here", async () => {
  const columns = Array.from({ length: 1_599 }, (_, i) => `c${i} ${i % 3 === 0 ? "text" : "bool"}`);
  await using hashed = await hashedTables("row_hash_wide", [
    `CREATE TABLE public.wide (id int PRIMARY KEY, ${columns.join(", ")})`,
    `INSERT INTO public.wide (id, c0, c1, c1598) VALUES (1, 'first', true, false), (2, NULL, false, NULL)`,
    `INSERT INTO public.wide SELECT 3, ${columns.map((_, i) => (i % 3 === 0 ? "'x'" : "true")).join(", ")}`,
  ]);
  await using look = await hashed.look("public.wide");
  const [table] = look.tables;
  expect(table!.columns).toHaveLength(1_600);
  await expectServersSums(look, table!, { key: [0], buckets: 4 });
  await expectServersSums(look, table!, { key: [1_599, 1], buckets: 4 });
});

test("a table that is summed up in stretches is summed up whole, and once", async () => {
  await using hashed = await hashedTables("row_hash_large", [
    `CREATE TABLE public.large (id int PRIMARY KEY, of int, pad text) WITH (fillfactor = 10)`,
    `INSERT INTO public.large SELECT i, i % 100, repeat('x', 180) FROM generate_series(1, 18000) i`,
    // Stretches are of different lengths in rows.
    `DELETE FROM public.large WHERE id % 7 = 0`,
  ]);
  const { rows } = await hashed.db.query(
    "SELECT pg_relation_size('large') / current_setting('block_size')::int AS pages, count(*)::int AS count FROM large",
  );
  const { pages, count } = rows[0] as { pages: string; count: number };
  expect(Number(pages)).toBeGreaterThan(4_200);
  await using look = await hashed.look("public.large");
  const plan = { key: [1], buckets: 16 };
  await expectServersSums(look, look.tables[0]!, plan);
  const { counts } = await look.snapshot.sumRows(
    look.tables[0]!,
    plan,
    AbortSignal.timeout(60_000),
  );
  expect(counts.reduce((sum, each) => sum + each, 0)).toBe(count);
});

test("a partitioned table is summed up in stretches of its partitions, whole, and once", async () => {
  await using hashed = await hashedTables("row_hash_parts", [
    `CREATE TABLE public.parted (id int, of int, pad text, PRIMARY KEY (id, of)) PARTITION BY LIST (of)`,
    `CREATE TABLE public."most of it" (pad text, gone int, id int NOT NULL, of int NOT NULL) WITH (fillfactor = 10)`,
    `ALTER TABLE public."most of it" DROP COLUMN gone`,
    `ALTER TABLE public.parted ATTACH PARTITION public."most of it" FOR VALUES IN (0, 1, 2, 3)`,
    `CREATE TABLE public.rest PARTITION OF public.parted DEFAULT PARTITION BY HASH (id)`,
    `CREATE TABLE public.rest_0 PARTITION OF public.rest FOR VALUES WITH (MODULUS 2, REMAINDER 0)`,
    `CREATE TABLE public.rest_1 PARTITION OF public.rest FOR VALUES WITH (MODULUS 2, REMAINDER 1)`,
    `INSERT INTO public.parted SELECT i, i % 5, repeat('x', 180) FROM generate_series(1, 18000) i`,
  ]);
  await using look = await hashed.look("public.parted");
  const plan = { key: [0], buckets: 16 };
  await expectServersSums(look, look.tables[0]!, plan);
  const { counts } = await look.snapshot.sumRows(
    look.tables[0]!,
    plan,
    AbortSignal.timeout(60_000),
  );
  expect(counts.reduce((sum, each) => sum + each, 0)).toBe(18_000);
  const files = await filesOf(hashed.db.url, look.tables[0]!);
  expect(files!.map(({ from }) => from).toSorted()).toEqual([
    'ONLY "public"."most of it"',
    'ONLY "public"."rest_0"',
    'ONLY "public"."rest_1"',
  ]);
  expect(files!.reduce((sum, { pages }) => sum + pages, 0)).toBeGreaterThan(3_000);
  // A right to the whole is none to its parts.
  await using role = await createRole(hashed.db);
  const grant = (name: string): Promise<void> =>
    hashed.write(`GRANT SELECT ON public."${name}" TO ${role.name}`);
  await grant("parted");
  await grant("most of it");
  await grant("rest_0");
  expect(await filesOf(role.url, look.tables[0]!)).toBeUndefined();
  await grant("rest_1");
  expect(await filesOf(role.url, look.tables[0]!)).toHaveLength(3);
  await hashed.write(`ALTER TABLE public.rest_1 ENABLE ROW LEVEL SECURITY`);
  expect(await filesOf(role.url, look.tables[0]!)).toBeUndefined();
});

async function filesOf(url: string, table: SourceTable): ReturnType<SnapshotRows["files"]> {
  const holder = await connect({ url, applicationName: "test" });
  await holder.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
  const { rows } = await holder.query<{ snapshot: string }>(
    "SELECT pg_export_snapshot() AS snapshot",
  );
  const partitioned = new Set([table.name]);
  const common = { url, applicationName: "test", silenceMs: 60_000 };
  const reader = new SnapshotRows({ ...common, snapshot: rows[0]!.snapshot, partitioned });
  try {
    return await reader.files(table);
  } finally {
    await reader.close();
    await disconnect(holder);
  }
}
