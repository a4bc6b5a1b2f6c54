import { expect, test } from "vitest";
import { follow, readAll, transactions } from "../../contract/change-source.contract.ts";
import { onSession, sourceDatabase, startOf, type SourceDatabase } from "./source-support.ts";
import type { Change, RowChange } from "../../../src/model/change.ts";
import type { CapturePlan } from "../../../src/source/change-source.ts";

/** What the log of a real server holds, message by message. */

const never = new AbortController().signal;

/** The changes of these statements, each a transaction of its own or several in one by `BEGIN; …; COMMIT`. */
async function changesOf(
  db: SourceDatabase,
  plan: CapturePlan,
  statements: readonly string[],
  expected: number,
): Promise<readonly Change[]> {
  const position = await startOf(db.open(), plan);
  await onSession(db.url, statements);
  const source = db.open();
  await source.discover(plan.tables);
  const { parts } = await follow(source, position, transactions(expected));
  return parts.flatMap(({ changes }) => changes);
}

const plan = (...names: readonly string[]): CapturePlan => ({
  tables: names.map((name) => ({ name: `public.${name}` })),
});
const rows = (changes: readonly Change[]): readonly RowChange[] => changes as readonly RowChange[];

test("a large value that an update leaves alone is unchanged, or taken from the old row where the log has it", async () => {
  const make = (name: string): string =>
    `CREATE TABLE ${name} (id int PRIMARY KEY, n int, large text); ALTER TABLE ${name} ALTER large SET STORAGE EXTERNAL;`;
  await using db = await sourceDatabase(
    "toast",
    `${make("lean")} ${make("whole")} ALTER TABLE whole REPLICA IDENTITY FULL;`,
    "lean, whole",
  );
  const large = "x".repeat(10_000);
  const changes = rows(
    await changesOf(
      db,
      plan("lean", "whole"),
      ["lean", "whole"]
        .flatMap((name) => [
          `INSERT INTO ${name} VALUES (1, 1, repeat('x', 10000))`,
          `UPDATE ${name} SET n = 2`,
          `UPDATE ${name} SET large = NULL`,
          `DELETE FROM ${name}`,
        ])
        .map((sql) => sql.replaceAll(/(INTO|UPDATE|FROM) (lean|whole)/g, "$1 public.$2")),
      8,
    ),
  );
  expect(changes.map(({ before, after }) => [before, after])).toEqual([
    [undefined, ["1", "1", large]],
    [undefined, ["1", "2", undefined]],
    [undefined, ["1", "2", null]],
    [["1", undefined, undefined], undefined],
    [undefined, ["1", "1", large]],
    [
      ["1", "1", large],
      ["1", "2", large],
    ],
    [
      ["1", "2", large],
      ["1", "2", null],
    ],
    [["1", "2", null], undefined],
  ]);
});

test("a changed key comes with the old one, whatever identifies the row", async () => {
  await using db = await sourceDatabase(
    "key",
    `CREATE TABLE a (id int PRIMARY KEY, n int);
     CREATE TABLE b (id int, tag text NOT NULL UNIQUE, n int); ALTER TABLE b REPLICA IDENTITY USING INDEX b_tag_key;
     CREATE TABLE c (id int PRIMARY KEY, n int); ALTER TABLE c REPLICA IDENTITY FULL;`,
    "a, b, c",
  );
  const tables = { tables: [{ name: "a" }, { name: "b", key: ["tag"] }, { name: "c" }] };
  const changes = rows(
    await changesOf(
      db,
      tables,
      [
        "INSERT INTO public.a VALUES (1, 1)",
        "UPDATE public.a SET id = 2",
        "INSERT INTO public.b VALUES (1, 'x', 1)",
        "UPDATE public.b SET tag = 'y'",
        "UPDATE public.b SET n = 2",
        "DELETE FROM public.b",
        "INSERT INTO public.c VALUES (1, 1)",
        "UPDATE public.c SET id = 2",
      ],
      8,
    ),
  );
  expect(changes.map(({ before, after }) => [before, after])).toEqual([
    [undefined, ["1", "1"]],
    [
      ["1", undefined],
      ["2", "1"],
    ],
    [undefined, ["1", "x", "1"]],
    [
      [undefined, "x", undefined],
      ["1", "y", "1"],
    ],
    [undefined, ["1", "y", "2"]],
    [[undefined, "y", undefined], undefined],
    [undefined, ["1", "1"]],
    [
      ["1", "1"],
      ["2", "1"],
    ],
  ]);
  expect(changes[2]!.table).toMatchObject({ key: [1], replicaIdentity: "index" });
});

test("a table altered between two changes of one transaction has two shapes in it", async () => {
  await using db = await sourceDatabase("ddl", "CREATE TABLE t (id int PRIMARY KEY, a text)", "t");
  const changes = rows(
    await changesOf(
      db,
      plan("t"),
      [
        "BEGIN",
        "INSERT INTO public.t VALUES (1, 'a')",
        "ALTER TABLE public.t ADD COLUMN b int DEFAULT 7",
        "INSERT INTO public.t VALUES (2, 'a', 8)",
        "ALTER TABLE public.t DROP COLUMN a",
        "UPDATE public.t SET b = 9 WHERE id = 1",
        "COMMIT",
        "INSERT INTO public.t VALUES (3, 1)",
      ],
      2,
    ),
  );
  const named = changes.map(({ table, after }) => [table.columns.map(({ name }) => name), after]);
  expect(named).toEqual([
    [
      ["id", "a"],
      ["1", "a"],
    ],
    [
      ["id", "a", "b"],
      ["2", "a", "8"],
    ],
    [
      ["id", "b"],
      ["1", "9"],
    ],
    [
      ["id", "b"],
      ["3", "1"],
    ],
  ]);
  expect(changes.map(({ ordinal }) => ordinal)).toEqual([1, 2, 3, 1]);
  expect(changes[3]!.table).toBe(changes[2]!.table);
});

test("one TRUNCATE of several tables is one change for each that is published, cascade included", async () => {
  await using db = await sourceDatabase(
    "truncate",
    `CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY);
     CREATE TABLE c (id int PRIMARY KEY, a int REFERENCES a); CREATE TABLE other (id int PRIMARY KEY);`,
    "a, b, c",
  );
  const changes = await changesOf(
    db,
    plan("a", "b", "c"),
    [
      "INSERT INTO public.a VALUES (1)",
      "TRUNCATE public.a, public.b, public.other RESTART IDENTITY CASCADE",
    ],
    2,
  );
  expect(changes[0]!.kind).toBe("insert");
  const truncated = changes.slice(1);
  expect(truncated.map(({ kind }) => kind)).toEqual(["truncate", "truncate", "truncate"]);
  expect(truncated.map(({ table }) => table.name).sort()).toEqual([
    "public.a",
    "public.b",
    "public.c",
  ]);
  expect(truncated.map(({ ordinal }) => ordinal)).toEqual([1, 2, 3]);
});

test("changes of partitions come under the table's name and in its shape, through ATTACH and DETACH", async () => {
  await using db = await sourceDatabase(
    "partitions",
    `CREATE TABLE part (id int, region text, n int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
     CREATE TABLE part_eu PARTITION OF part FOR VALUES IN ('eu');
     -- Another order of columns, and one that was dropped.
     CREATE TABLE part_us (gone int, n int, region text NOT NULL, id int NOT NULL);
     ALTER TABLE part_us DROP COLUMN gone;
     ALTER TABLE part ATTACH PARTITION part_us FOR VALUES IN ('us');
     INSERT INTO part VALUES (1, 'eu', 1), (2, 'us', 2);`,
  );
  await db.query(
    `CREATE PUBLICATION "${db.publication.replaceAll('"', '""')}" FOR TABLE part WITH (publish_via_partition_root = true)`,
  );
  const source = db.open();
  const snapshot = await source.openBaseline(plan("part"), never);
  const baseline = await readAll(snapshot, snapshot.tables[0]!, [{ column: 0, as: "integer" }]);
  expect(baseline).toEqual([
    ["1", "eu", "1"],
    ["2", "us", "2"],
  ]);
  await snapshot.close();
  await onSession(db.url, [
    "UPDATE public.part SET n = 3 WHERE id = 2",
    // Moves to another partition: one row leaves, one comes.
    "UPDATE public.part SET region = 'eu' WHERE id = 2",
    "CREATE TABLE public.part_asia (id int NOT NULL, region text NOT NULL, n int, PRIMARY KEY (id, region))",
    "INSERT INTO public.part_asia VALUES (9, 'asia', 9)",
    "ALTER TABLE public.part ATTACH PARTITION public.part_asia FOR VALUES IN ('asia')",
    "INSERT INTO public.part VALUES (10, 'asia', 10)",
    "ALTER TABLE public.part DETACH PARTITION public.part_asia",
    "INSERT INTO public.part_asia VALUES (11, 'asia', 11)",
    "DELETE FROM public.part WHERE id = 1",
    // Not in the log; the check says so.
    "TRUNCATE public.part_us",
    "TRUNCATE public.part",
  ]);
  const { parts } = await follow(source, snapshot.position, transactions(5));
  const changes = parts.flatMap((part) => part.changes);
  const unlogged = (await source.check(plan("part"))).filter(
    ({ code }) => code === "partition-changes",
  );
  expect(unlogged).toHaveLength(1);
  expect(new Set(changes.map(({ table }) => table.name))).toEqual(new Set(["public.part"]));
  const seen = changes.map((change) =>
    change.kind === "truncate" ? "truncate" : [change.kind, change.before, change.after],
  );
  expect(seen).toEqual([
    ["update", undefined, ["2", "us", "3"]],
    ["delete", ["2", "us", undefined], undefined],
    ["insert", undefined, ["2", "eu", "3"]],
    ["insert", undefined, ["10", "asia", "10"]],
    ["delete", ["1", "eu", undefined], undefined],
    "truncate",
  ]);
});

test("generated columns are in neither the baseline nor the log, unless the publication sends them", async () => {
  await using db = await sourceDatabase(
    "generated",
    "CREATE TABLE g (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED, n int)",
    "g",
  );
  const { rows: asked } = await db.query("SELECT current_setting('server_version_num')::int AS v");
  const shapes: string[][] = [["id", "n"]];
  if ((asked as { v: number }[])[0]!.v >= 180_000) {
    shapes.push(["id", "twice", "n"]);
  }
  for (const [round, names] of shapes.entries()) {
    if (round === 1) {
      const quoted = `"${db.publication.replaceAll('"', '""')}"`;
      await db.query(`ALTER PUBLICATION ${quoted} SET (publish_generated_columns = stored)`);
    }
    const source = db.open({ slot: `${db.slot}_${round}` });
    const snapshot = await source.openBaseline(plan("g"), never);
    expect(snapshot.tables[0]!.columns.map(({ name }) => name)).toEqual(names);
    const width = (await readAll(snapshot, snapshot.tables[0]!)).map((row) => row.length);
    expect(width.every((columns) => columns === names.length)).toBe(true);
    await snapshot.close();
    await db.query("INSERT INTO g VALUES ($1, DEFAULT, 5)", [round + 1]);
    const { parts } = await follow(source, snapshot.position, transactions(1));
    const [change] = rows(parts[0]!.changes);
    expect(change!.table.columns.map(({ name }) => name)).toEqual(names);
    expect(change!.after).toHaveLength(names.length);
    await source.close();
  }
});

test("settings that somebody gave the database or the role change no value", async () => {
  await using db = await sourceDatabase(
    "settings",
    `CREATE TABLE v (id int PRIMARY KEY, t timestamptz, d date, i interval, f float8, b bytea, m money);
     ALTER DATABASE "%" SET datestyle = 'German, DMY'; ALTER DATABASE "%" SET timezone = 'Asia/Kolkata';
     ALTER DATABASE "%" SET intervalstyle = 'iso_8601'; ALTER DATABASE "%" SET extra_float_digits = 0;
     ALTER DATABASE "%" SET bytea_output = 'escape'; ALTER DATABASE "%" SET statement_timeout = '50ms';
     ALTER DATABASE "%" SET search_path = 'public'; ALTER DATABASE "%" SET default_transaction_isolation = 'serializable'`,
    "v",
  );
  const source = db.open();
  const snapshot = await source.openBaseline(plan("v"), never);
  await db.query(
    "INSERT INTO v VALUES (1, '2026-01-31 12:00:00+02', '2026-01-31', '1 mon 2 days 03:04:05', 0.1::float8 + 0.2, '\\x00ff', '1234.5')",
  );
  const { parts } = await follow(source, snapshot.position, transactions(1));
  const streamed = rows(parts[0]!.changes)[0]!.after!.slice(0, 6);
  expect(streamed).toEqual([
    "1",
    "2026-01-31 10:00:00+00",
    "2026-01-31",
    "1 mon 2 days 03:04:05",
    "0.30000000000000004",
    "\\x00ff",
  ]);
  await snapshot.close();
  const tables = await source.discover(plan("v").tables);
  const parity = await source.openParity(tables, never);
  expect(await readAll(parity, tables[0]!)).toEqual([rows(parts[0]!.changes)[0]!.after]);
  await parity.close();
});
