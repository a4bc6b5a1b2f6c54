import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { onSession, sourceDatabase, type SourceDatabase } from "./source-support.ts";
import { aggregateRowsSql, keyTypes } from "../../../connectors/postgres/aggregate-rows.ts";
import type { Cell } from "../../../src/model/cell.ts";
import type { SourceTable } from "../../../src/model/table.ts";

/*
 * The rows of a few aggregates are found through the index on their key, whatever its type; without an
 * index those of many are found with one pass of the table.
 */

const ROWS = 20_000;
const READ_MS_MAX = 60_000;

/** Type by what gives the n-th value. */
const TYPES: readonly (readonly [type: string, value: string])[] = [
  ["int4", "i"],
  ["numeric(12,2)", "i"],
  ["public.account_no", "i"],
  ["public.account_name", "'name ' || i"],
  ["public.mood", "('mood ' || i % 400)::public.mood"],
  ["time", "'00:00'::time + i * '1 second'::interval"],
  ["timetz", "('00:00'::time + i * '1 second'::interval)::timetz"],
  ["interval", "i * '1 second'::interval"],
  ["inet", "'10.0.0.0'::inet + i"],
  ["cidr", "('10.0.0.0'::inet + i)::cidr"],
  ["name", "'name ' || i"],
  ["oid", "i::oid"],
  ["varchar(20)", "'name ' || i"],
  ["bpchar(20)", "'name ' || i"],
  ["bit(32)", "i::bit(32)"],
  ["uuid", "md5(i::text)::uuid"],
];

describe("rows of some aggregates", () => {
  let db: SourceDatabase;
  const types = [...TYPES];

  beforeAll(async () => {
    db = await sourceDatabase("aggregate_rows");
    const { rows: citext } = await db.query(
      "SELECT FROM pg_available_extensions WHERE name = 'citext'",
    );
    const moods = Array.from({ length: 400 }, (_, i) => `'mood ${i}'`);
    if (citext.length > 0) types.push(["public.citext", "('Name ' || i)::public.citext"]);
    await onSession(db.url, [
      ...(citext.length > 0 ? ["CREATE EXTENSION citext SCHEMA public"] : []),
      "CREATE DOMAIN public.account_no AS int8 CHECK (VALUE >= 0)",
      "CREATE DOMAIN public.any_name AS text CHECK (VALUE <> '')",
      "CREATE DOMAIN public.account_name AS public.any_name NOT NULL",
      `CREATE TYPE public.mood AS ENUM (${moods.join(", ")})`,
      ...types.flatMap(([type, value], n) => [
        `CREATE TABLE public.of_${n} (no int PRIMARY KEY, id ${type}, pad text)`,
        `INSERT INTO public.of_${n} SELECT i, ${value}, repeat('x', 100) FROM generate_series(1, ${ROWS}) i`,
        `CREATE INDEX ON public.of_${n} (id)`,
        `ANALYZE public.of_${n}`,
      ]),
      "CREATE TABLE public.both (no int PRIMARY KEY, a int4, b time, pad text)",
      `INSERT INTO public.both SELECT i, nullif(i, 7), nullif('00:00'::time + i * '1 second'::interval, '00:00:09'), repeat('x', 100) FROM generate_series(1, ${ROWS}) i`,
      "CREATE INDEX ON public.both (a, b)",
      "CREATE INDEX ON public.both (b)",
      "CREATE TABLE public.bare (no int PRIMARY KEY, of int8, pad text)",
      `INSERT INTO public.bare SELECT i, i / 2, repeat('x', 100) FROM generate_series(1, ${ROWS}) i`,
      "ANALYZE public.both, public.bare",
    ]);
  });
  afterAll(async () => {
    await db[Symbol.asyncDispose]();
  });

  async function tableOf(name: string): Promise<SourceTable> {
    const source = db.open();
    try {
      const [table] = await source.discover([{ name }]);
      return table!;
    } finally {
      await source.close();
    }
  }

  async function planOf(
    table: SourceTable,
    columns: readonly number[],
    keys: readonly (readonly Cell[])[],
  ): Promise<string> {
    const ask = async (_doing: string, sql: string, values: readonly unknown[]): Promise<never> =>
      (await db.query(sql, [...values])).rows as never;
    const kinds = await keyTypes(ask, table, columns);
    const sql = aggregateRowsSql(table, `ONLY public.${table.relation}`, columns, keys, kinds);
    const { rows } = await db.query(`EXPLAIN ${sql}`);
    return rows.map((row) => (row as { "QUERY PLAN": string })["QUERY PLAN"]).join("\n");
  }

  async function read(
    table: SourceTable,
    key: readonly number[],
    keys: readonly (readonly Cell[])[],
  ): Promise<readonly Cell[]> {
    const source = db.open();
    const signal = AbortSignal.timeout(READ_MS_MAX);
    try {
      const snapshot = await source.openParity([table], signal);
      const found: Cell[] = [];
      const groups = snapshot.readAggregates(table, { key, buckets: 1 }, keys, signal);
      for await (const group of groups) found.push(...group.map(([no]) => no));
      await snapshot.close();
      return found;
    } finally {
      await source.close();
    }
  }

  test("are found through an index, whatever the key's type", async () => {
    for (const [n, [type]] of types.entries()) {
      const table = await tableOf(`public.of_${n}`);
      const { rows } = await db.query(
        `SELECT concat(id) AS id FROM of_${n} WHERE no IN (5, 17, 301) ORDER BY no`,
      );
      const keys = rows.map(({ id }) => [id as string]);
      const plan = await planOf(table, [1], keys);
      expect(plan, `${type}: ${plan}`).toMatch(/Index.* Scan/);
      expect(plan, `${type}: ${plan}`).not.toContain("Seq Scan");
      expect(await read(table, [1], keys), type).toEqual(
        expect.arrayContaining(["5", "17", "301"]),
      );
    }
    expect(types.length).toBeGreaterThanOrEqual(TYPES.length);
  });

  test("are found through an index by several columns, also where some are NULL", async () => {
    const table = await tableOf("public.both");
    const keys = [
      ["5", "00:00:05"],
      [null, "00:00:07"],
      ["9", null],
      ["11", "00:00:11"],
    ];
    const plan = await planOf(table, [1, 2], keys);
    expect(plan).not.toContain("Seq Scan");
    expect((await read(table, [1, 2], keys)).map(Number).toSorted((a, b) => a - b)).toEqual([
      5, 7, 9, 11,
    ]);
  });

  test("take one pass of a table without an index, however many they are", async () => {
    const table = await tableOf("public.bare");
    const keys = Array.from({ length: 6_000 }, (_, i) => [String(i)]);
    const plan = await planOf(table, [1], keys);
    expect(plan.match(/Seq Scan on bare/g), plan).toHaveLength(1);
    expect(plan).toContain("Hash");
    expect(await read(table, [1], keys)).toHaveLength(2 * 6_000 - 1);
  });

  test("are found beside keys that the column cannot hold", async () => {
    const number = await tableOf("public.of_2");
    expect(await read(number, [1], [["none"], ["5"], ["-7"]])).toEqual(["5"]);
    const narrow = await tableOf("public.of_0");
    expect(await read(narrow, [1], [["99999999999"], ["6"]])).toEqual(["6"]);
    const mood = await tableOf("public.of_4");
    expect(await read(mood, [1], [["glad"], ["mood 399"]])).toHaveLength(ROWS / 400);
  });
});
