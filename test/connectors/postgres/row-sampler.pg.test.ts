import pg from "pg";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { FILLED, rowSamplerContract } from "../../contract/row-sampler.contract.ts";
import { createRole } from "../../support/faults-role.ts";
import { shape } from "../../support/mapping-fixtures.ts";
import { onSession, sourceDatabase, type SourceDatabase } from "./source-support.ts";
import { MatrixTable, typesOf } from "./type-matrix-support.ts";
import { openPostgresRowSampler } from "../../../connectors/postgres/row-sampler.ts";
import type { Cells, SourceTable } from "../../../src/model/table.ts";
import type { TableSample } from "../../../src/source/row-sample.ts";

rowSamplerContract("postgres", async () => {
  const db = await sourceDatabase(
    "row_sampler",
    `CREATE TYPE mood AS ENUM ('happy', 'sad');
     CREATE TABLE filled (id int PRIMARY KEY, mood mood, note text CONSTRAINT no_secret CHECK (note <> 'secret'));
     CREATE TABLE empty (LIKE filled)`,
  );
  const literal = (cell: string | null | undefined): string =>
    cell === null || cell === undefined ? "NULL" : `'${cell}'`;
  await db.query(
    `INSERT INTO filled VALUES ${FILLED.map((row) => `(${row.map(literal).join(", ")})`).join(", ")}`,
  );
  const sampler = openPostgresRowSampler({ url: db.url });
  return {
    sampler,
    shapeOf: (relation) => shape(`public.${relation}`, "*id:int4 mood note"),
    async [Symbol.asyncDispose]() {
      await sampler.close();
      await db[Symbol.asyncDispose]();
    },
  };
});

async function sampleOf(
  url: string,
  tables: readonly SourceTable[],
  options: { rowsMax?: number; budgetMs?: number } = {},
): Promise<readonly TableSample[]> {
  const sampler = openPostgresRowSampler({ url });
  try {
    const asked = { rowsMax: 20, budgetMs: 10_000, ...options };
    return await sampler.sample(tables, asked, new AbortController().signal);
  } finally {
    await sampler.close();
  }
}

const discovered = async (
  db: SourceDatabase,
  ...names: string[]
): Promise<readonly SourceTable[]> => await db.open().discover(names.map((name) => ({ name })));

describe("a sample", () => {
  test("has every value as the log and a snapshot have it, whatever its type", async () => {
    const { types, ddl } = await typesOf(inject("pgUrl"));
    const matrix = MatrixTable.scalarsAndArrays(types, "full");
    await using db = await sourceDatabase("row_sampler_types");
    await onSession(db.url, [
      ...ddl,
      ...matrix.map((table) => table.ddl("FULL")),
      ...matrix.flatMap((table) => [
        ...Array.from({ length: table.rows }, (_, k) => table.insert(k, k)),
        table.insertNulls(900),
      ]),
    ]);
    const tables = await discovered(db, ...matrix.map(({ name }) => name));
    const samples = await sampleOf(db.url, tables, { rowsMax: 1_000 });
    const snapshot = await db.open().openParity(tables, new AbortController().signal);
    try {
      for (const [i, table] of tables.entries()) {
        const rows: Cells[] = [];
        for await (const group of snapshot.readRows(table, [], new AbortController().signal))
          rows.push(...group);
        expect(rows.length).toBe(matrix[i]!.rows + 1);
        const byId = (a: Cells, b: Cells): number => Number(a[0]) - Number(b[0]);
        expect(samples[i]!.rows.toSorted(byId)).toEqual(rows.toSorted(byId));
        expect(samples[i]!.leftOut).toBeUndefined();
      }
    } finally {
      await snapshot.close();
    }
  });

  describe("of tables of every kind", () => {
    let db: SourceDatabase;
    beforeAll(async () => {
      db = await sourceDatabase("row_sampler_kinds");
      await db.query(`
        CREATE DOMAIN price AS numeric(10,2);
        CREATE DOMAIN grade AS text CHECK (VALUE IN ('a', 'b'));
        CREATE TABLE "Odd ""Name""" ("Id" int PRIMARY KEY, cost price, grade grade, code char(3) CHECK (code IN ('x', 'yy')),
          level int CHECK (level IN (1, -3)), rate numeric CHECK (rate IN (0.5, 1)), loose text CHECK (loose IN ('a', 'b') OR length(loose) > 5));
        INSERT INTO "Odd ""Name""" VALUES (1, 2.50, 'a', 'x', -3, 0.5, 'a');
        CREATE TABLE parted (id int PRIMARY KEY, note text) PARTITION BY RANGE (id);
        CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1000);
        CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (1000) TO (2000);
        INSERT INTO parted SELECT n, 'n' FROM generate_series(1, 1500) n;
        CREATE TABLE parent (id int PRIMARY KEY, note text);
        CREATE TABLE heir () INHERITS (parent);
        INSERT INTO heir VALUES (1, 'not of parent');
        CREATE TABLE large (id int PRIMARY KEY, note text, bytes bytea);
        ALTER TABLE large ALTER bytes SET STORAGE EXTERNAL;
        INSERT INTO large SELECT n, 'n', convert_to(repeat('x', CASE WHEN n = 2 THEN 100000 ELSE 10 END), 'UTF8') FROM generate_series(1, 3) n;
        CREATE TABLE many (id int PRIMARY KEY, note text) WITH (autovacuum_enabled = false);
        INSERT INTO many SELECT n, repeat('n', 200) FROM generate_series(1, 60000) n;
        ANALYZE many`);
    });
    afterAll(() => db[Symbol.asyncDispose]());

    test("says what is listed by an enum, a domain or a CHECK, and nothing that is not all", async () => {
      const [sample] = await sampleOf(db.url, await discovered(db, 'Odd "Name"'));
      expect(sample!.rows).toEqual([["1", "2.50", "a", "x  ", "-3", "0.5", "a"]]);
      expect(Object.fromEntries(sample!.columns)).toEqual({
        cost: { baseType: "numeric(10,2)" },
        grade: { baseType: "text", allowed: ["a", "b"] },
        code: { allowed: ["x  ", "yy "] },
        level: { allowed: ["1", "-3"] },
      });
    });

    test("reads a partitioned table with its partitions, and a parent without its heirs", async () => {
      const tables = await discovered(db, "parted", "parent");
      const [parted, parent] = await sampleOf(db.url, tables, { rowsMax: 1_000 });
      expect(parted!.rows.length).toBe(1_000);
      expect(parent!.rows).toEqual([]);
    });

    test("leaves out rows with large values, and says so", async () => {
      const [sample] = await sampleOf(db.url, await discovered(db, "large"));
      expect(sample!.rows.map(([id]) => String(id)).toSorted()).toEqual(["1", "3"]);
      expect(sample!.leftOut).toBe("1 row has values of more than 64 KB");
    });

    test("looks at different places of a large table, and at few pages", async () => {
      const tables = await discovered(db, "many");
      const pagesRead = async (): Promise<number> => {
        await db.query("SELECT pg_stat_force_next_flush()").catch(() => undefined);
        const { rows } = await db.query(
          "SELECT heap_blks_read + heap_blks_hit AS pages FROM pg_statio_user_tables WHERE relname = 'many'",
        );
        return Number((rows[0] as { pages: string }).pages);
      };
      const before = await pagesRead();
      const [sample] = await sampleOf(db.url, tables);
      const ids = sample!.rows.map(([id]) => Number(id));
      expect(ids.length).toBe(20);
      expect(new Set(ids.map((id) => Math.floor(id / 1_000))).size).toBeGreaterThan(5);
      // The session that read has ended, and told its figures.
      expect((await pagesRead()) - before).toBeLessThan(200);
    });

    test("does not wait for a table that is locked, nor hold what it read", async () => {
      const tables = await discovered(db, "parent", "large");
      const other = new pg.Client({ connectionString: db.url });
      await other.connect();
      try {
        await other.query("BEGIN; LOCK TABLE parent IN ACCESS EXCLUSIVE MODE");
        const begun = performance.now();
        const [locked, free] = await sampleOf(db.url, tables);
        expect(performance.now() - begun).toBeLessThan(5_000);
        expect(locked).toMatchObject({ rows: [], leftOut: "it is locked just now" });
        expect(free!.rows.length).toBe(2);
        await other.query("COMMIT");

        const sampler = openPostgresRowSampler({ url: db.url });
        await sampler.sample(tables, { rowsMax: 5, budgetMs: 5_000 }, new AbortController().signal);
        await other.query("SET lock_timeout = '1s'; ALTER TABLE parent ADD other int");
        await sampler.close();
      } finally {
        await other.end();
      }
    });

    test("ends within its budget, and says what it did not come to", async () => {
      // So many dead rows take longer to look through than there is time for.
      await db.query(`
        CREATE UNLOGGED TABLE dead (id int) WITH (autovacuum_enabled = false);
        INSERT INTO dead SELECT generate_series(1, 2500000);
        DELETE FROM dead`);
      const [many] = await discovered(db, "many");
      const sampler = openPostgresRowSampler({ url: db.url });
      const sample = async (tables: readonly SourceTable[], budgetMs: number) =>
        await sampler.sample(tables, { rowsMax: 20, budgetMs }, new AbortController().signal);
      try {
        await sample([many!], 10_000);
        const begun = performance.now();
        const [dead] = await sample([shape("public.dead", "*id:int4")], 20);
        expect(performance.now() - begun).toBeLessThan(2_000);
        expect(dead!.rows).toEqual([]);
        expect(dead!.leftOut).toMatch(
          /^(it could not be read in time|the time for samples was up)$/,
        );
        const [hurried] = await sample([many!], 1);
        expect(hurried).toMatchObject({ rows: [], leftOut: "the time for samples was up" });
      } finally {
        await sampler.close();
      }
    });

    test("of what the role may not see says so, and reads the rest", async () => {
      await using role = await createRole(db);
      await db.query(`
        CREATE TABLE hidden (id int PRIMARY KEY);
        ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
        GRANT SELECT ON parent, hidden TO ${role.name}`);
      const tables = await discovered(db, "many", "hidden", "parent");
      const samples = await sampleOf(role.url, tables);
      expect(samples.map(({ leftOut }) => leftOut)).toEqual([
        "the role may not read it",
        "row-level security hides rows from the role",
        undefined,
      ]);
    });

    test("knows the constraints over several columns, of domains and of types", async () => {
      await db.query(`
        CREATE TABLE "Checked" (id int PRIMARY KEY, "Paid at" timestamptz, state text, cost price, grade grade,
          CONSTRAINT "paid when" CHECK (state <> 'paid' OR "Paid at" IS NOT NULL), CONSTRAINT cheap CHECK (cost < 100))`);
      const [checked] = await discovered(db, "Checked");
      const sampler = openPostgresRowSampler({ url: db.url });
      const refusedBy = (...row: (string | null)[]) => sampler.refusedBy(checked!, [row]);
      try {
        expect(
          await refusedBy("1", "2026-01-31 10:00:00+00", "paid", "99.99", "a"),
        ).toBeUndefined();
        expect(await refusedBy("1", null, null, null, null)).toBeUndefined();
        expect(await refusedBy("1", null, "paid", null, null)).toBe("paid when");
        expect(await refusedBy("1", null, null, "100.00", null)).toBe("cheap");
        expect(await refusedBy("1", null, null, null, "c")).toBe("grade_check");
        expect(await refusedBy("x", null, null, null, null)).toBe("the type of a column");
      } finally {
        await sampler.close();
      }
    });

    test("changes nothing: its session may not write", async () => {
      const { rows } = await db.query(
        "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) AS n FROM pg_stat_user_tables",
      );
      const before = (rows[0] as { n: string }).n;
      await sampleOf(db.url, await discovered(db, "many", "large", "parted"));
      const again = await db.query(
        "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) AS n FROM pg_stat_user_tables",
      );
      expect((again.rows[0] as { n: string }).n).toBe(before);
    });
  });
});
