import { expect, test } from "vitest";
import type { SourceTable } from "../../../src/model/table.ts";
import { sourceDatabase, type SourceDatabase } from "./source-support.ts";

type Facts = Record<string, { filled?: string; computed?: boolean }>;

async function factsOf(db: SourceDatabase, name: string): Promise<Facts> {
  const [table] = await db.open().discover([{ name }]);
  return Object.fromEntries(
    (table as SourceTable).columns.map(({ name: column, filled, computed }) => [
      column,
      {
        ...(filled === undefined ? {} : { filled }),
        ...(computed === undefined ? {} : { computed }),
      },
    ]),
  );
}

test("what old rows hold in a column that was added is known to the letter, or known not to be known", async () => {
  await using db = await sourceDatabase(
    "defaults",
    `CREATE TYPE mood AS ENUM ('so', 'so-so');
     CREATE DOMAIN named AS text DEFAULT 'domain default';
     CREATE TABLE item (id int PRIMARY KEY, original text DEFAULT 'at birth');
     INSERT INTO item VALUES (1, 'x')`,
  );
  const constants = {
    plain_text: ["text", "'it''s {a}, \"b\" and \\c'", `it's {a}, "b" and \\c`],
    empty: ["text", "''", ""],
    null_word: ["text", "'NULL'", "NULL"],
    amount: ["numeric(12,2)", "1.5", "1.50"],
    flag: ["boolean", "true", "t"],
    numbers: ["int[]", "'{1,NULL,3}'", "{1,NULL,3}"],
    words: ["text[]", `'{"a,b","c d"}'`, `{"a,b","c d"}`],
    at: ["timestamptz", "'2020-01-02 03:04:05.678901+02'", "2020-01-02 01:04:05.678901+00"],
    bytes: ["bytea", "'\\x00ff'", "\\x00ff"],
    document: ["jsonb", `'{"a": [1, "x"]}'`, `{"a": [1, "x"]}`],
    feeling: ["mood", "'so-so'", "so-so"],
    padded: ["char(5)", "'ab'", "ab   "],
    span: ["interval", "'1 day 02:00'", "1 day 02:00:00"],
    range: ["int4range", "'[1,5)'", "[1,5)"],
  } as const;
  for (const [column, [type, value]] of Object.entries(constants))
    await db.query(`ALTER TABLE item ADD COLUMN ${column} ${type} DEFAULT ${value}`);
  await db.query(`
    ALTER TABLE item ADD COLUMN nothing text;
    ALTER TABLE item ADD COLUMN random uuid DEFAULT gen_random_uuid();
    ALTER TABLE item ADD COLUMN numbered int GENERATED ALWAYS AS IDENTITY;
    ALTER TABLE item ADD COLUMN of_domain named`);
  // A rewrite for the last three has let the server forget the constants.
  const rewritten = await factsOf(db, "public.item");
  expect(rewritten["plain_text"]).toEqual({ computed: true });

  await db.query("CREATE TABLE fresh (id int PRIMARY KEY); INSERT INTO fresh VALUES (1)");
  for (const [column, [type, value]] of Object.entries(constants))
    await db.query(`ALTER TABLE fresh ADD COLUMN ${column} ${type} DEFAULT ${value}`);
  await db.query(`
    ALTER TABLE fresh ADD COLUMN nothing text;
    ALTER TABLE fresh ADD COLUMN place box DEFAULT '((0,0),(1,1))'`);
  const facts = await factsOf(db, "public.fresh");
  for (const [column, [, , text]] of Object.entries(constants))
    expect([column, facts[column]]).toEqual([column, { filled: text }]);
  expect(facts["nothing"]).toEqual({});
  // An array of boxes is written with semicolons; it is not taken apart.
  expect(facts["place"]).toEqual({ computed: true });
  for (const column of ["random", "numbered"])
    expect(rewritten[column]).toEqual({ computed: true });
  // Which of the two depends on the version.
  expect([{ computed: true }, { filled: "domain default" }]).toContainEqual(rewritten["of_domain"]);
  // And the server agrees with what it is said to hold.
  const { rows } = await db.query("SELECT plain_text, words::text, padded FROM fresh");
  expect(rows).toEqual([
    {
      plain_text: facts["plain_text"]!.filled,
      words: facts["words"]!.filled,
      padded: facts["padded"]!.filled,
    },
  ]);
});

test("rows of a partitioned table have it from their partition", async () => {
  await using db = await sourceDatabase(
    "defaults parts",
    `CREATE TABLE item (id int, kind text, PRIMARY KEY (id, kind)) PARTITION BY LIST (kind);
     CREATE TABLE item_a PARTITION OF item FOR VALUES IN ('a');
     CREATE TABLE item_b PARTITION OF item FOR VALUES IN ('b');
     INSERT INTO item VALUES (1, 'a'), (2, 'b');
     ALTER TABLE item ADD COLUMN colour text DEFAULT 'grey';
     CREATE TABLE item_c PARTITION OF item FOR VALUES IN ('c')`,
  );
  expect((await factsOf(db, "public.item"))["colour"]).toEqual({ filled: "grey" });
  // A partition that had the column before, with another default: rows differ, and which is which is not known.
  await db.query(`
    CREATE TABLE item_d (id int NOT NULL, kind text NOT NULL);
    INSERT INTO item_d VALUES (4, 'd');
    ALTER TABLE item_d ADD COLUMN colour text DEFAULT 'green';
    ALTER TABLE item ATTACH PARTITION item_d FOR VALUES IN ('d')`);
  expect((await factsOf(db, "public.item"))["colour"]).toEqual({ computed: true });
});

test("a column keeps its number when it is renamed, and a new one never gets an old number", async () => {
  await using db = await sourceDatabase(
    "numbers",
    "CREATE TABLE item (id int PRIMARY KEY, a text, b text)",
  );
  const numbers = async (): Promise<Record<string, number | undefined>> => {
    const [table] = await db.open().discover([{ name: "public.item" }]);
    return Object.fromEntries(table!.columns.map(({ name, number }) => [name, number]));
  };
  expect(await numbers()).toEqual({ id: 1, a: 2, b: 3 });
  await db.query(
    "ALTER TABLE item RENAME a TO z; ALTER TABLE item DROP b; ALTER TABLE item ADD b text",
  );
  expect(await numbers()).toEqual({ id: 1, z: 2, b: 4 });
});
