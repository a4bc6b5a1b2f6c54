import { expect, test } from "vitest";
import { sourceDatabase } from "./source-support.ts";
import { chunksContract, type ChunkDatabase } from "../../contract/chunks.contract.ts";
import type { KeyedTable } from "../../../src/source/change-source.ts";

interface Kind {
  /** Type of the first key column, and what makes a value of a number. */
  readonly type: string;
  readonly value: string;
  readonly childType?: string;
}

const KINDS: Readonly<Record<string, Kind>> = {
  "an integer key": { type: "int", value: "(i * 37) % 1000 - 500", childType: "bigint" },
  "a uuid key": { type: "uuid", value: "md5(i::text)::uuid" },
  "a numeric key": { type: "numeric", value: "i * 1.50" },
  "a key of C-collated text": {
    type: `text COLLATE "C"`,
    value: `(ARRAY['a','B','ä','_','😀','','z''"\\'])[1 + i % 7] || i`,
    childType: `varchar(30) COLLATE "C"`,
  },
  "a bytea key": { type: "bytea", value: "decode(md5(i::text), 'hex')" },
};

/** Beside a number, as tables that are partitioned by time have them. */
const KINDS_BESIDE_A_NUMBER: Readonly<Record<string, Kind>> = {
  "a date": {
    type: "date",
    value: `CASE i WHEN 1 THEN 'infinity' WHEN 2 THEN '-infinity' WHEN 3 THEN '10000-01-01' ELSE '0001-01-01'::date + (i - 20) * 100 END`,
  },
  "a time with a zone": {
    type: "timestamptz(3)",
    value: `CASE i WHEN 1 THEN 'infinity' ELSE '9999-12-31 23:59:59+00'::timestamptz + (i - 20) * '0.2 s'::interval END`,
    childType: "timestamptz",
  },
  "padded text": {
    type: `char(4) COLLATE "C"`,
    value: `(ARRAY['a', E'a\\x01', 'ä', ''])[1 + i % 4] || i`,
  },
};

async function fresh(kind: Kind, isComposite: boolean): Promise<ChunkDatabase> {
  const { type, value, childType = type } = kind;
  const more = isComposite ? ", no int" : "";
  const [no, noOf] = isComposite ? [", i % 3", ", nullif(i % 4, 3)"] : ["", ""];
  const key = isComposite ? "k, no" : "k";
  const db = await sourceDatabase(
    "chunks",
    `CREATE TABLE root (k ${type}${more}, n int DEFAULT 0, PRIMARY KEY (${key}));
     CREATE TABLE child (id int PRIMARY KEY, ${isComposite ? "no int, " : ""}k ${childType}, n int DEFAULT 0);
     CREATE INDEX ON child (${key});
     INSERT INTO root SELECT ${value}${no} FROM generate_series(1, 40) i;
     INSERT INTO child (id, k${isComposite ? ", no" : ""})
       SELECT i, CASE WHEN i % 11 = 0 THEN NULL ELSE ${value} END${noOf} FROM generate_series(1, 60) i;
     INSERT INTO child (id) VALUES (1000);`,
    "root, child",
  );
  const source = db.open();
  const [root, child] = await source.discover([{ name: "root" }, { name: "child" }]);
  const keyed = (table: typeof root): KeyedTable => ({
    table: table!,
    columns: key.split(", ").map((name) => table!.columns.findIndex((one) => one.name === name)),
  });
  return {
    source,
    tables: [keyed(root), keyed(child)],
    change: async () =>
      void (await db.query(
        "UPDATE root SET n = n + 1; UPDATE child SET n = n + 1; DELETE FROM child WHERE id = 5",
      )),
    rewrite: async () =>
      void (await db.query("TRUNCATE child; INSERT INTO child (id) VALUES (1), (2)")),
    [Symbol.asyncDispose]: () => db[Symbol.asyncDispose](),
  };
}

for (const [name, kind] of Object.entries(KINDS)) {
  chunksContract(`Postgres, with ${name}`, () => fresh(kind, false));
  chunksContract(`Postgres, with ${name} and a number`, () => fresh(kind, true));
}
for (const [name, kind] of Object.entries(KINDS_BESIDE_A_NUMBER))
  chunksContract(`Postgres, with ${name} beside a number`, () => fresh(kind, true));

test.each([
  [
    "text in the database's own collation",
    `k text COLLATE "en-x-icu" PRIMARY KEY`,
    `k text COLLATE "en-x-icu"`,
    "collated 'en-x-icu'",
  ],
  ["a type without a known order", "k interval PRIMARY KEY", "k interval", "the order of interval"],
  [
    "a child of another type",
    `k text COLLATE "C" PRIMARY KEY`,
    "k bigint",
    "by a column of another type",
  ],
  ["a date by a timestamp", "k date PRIMARY KEY", "k timestamp", "by a column of another type"],
  [
    "padded text by one of another length",
    `k char(4) COLLATE "C" PRIMARY KEY`,
    `k char(8) COLLATE "C"`,
    "by a column of another type",
  ],
] as const)("%s is not read in chunks, with the reason", async (_, root, child, reason) => {
  await using db = await sourceDatabase(
    "chunks",
    `CREATE TABLE root (${root}); CREATE TABLE child (id int PRIMARY KEY, ${child}); CREATE INDEX ON child (k)`,
    "root, child",
  );
  const source = db.open();
  const [a, b] = await source.discover([{ name: "root" }, { name: "child" }]);
  const tables = [
    { table: a!, columns: [0] },
    { table: b!, columns: [1] },
  ];
  expect((await source.surveyChunks(tables)).obstacle).toContain(reason);
});

test.each([
  ["no index", ""],
  ["an index of another order of columns", "CREATE INDEX ON child (id, k)"],
  ["an index of some rows only", "CREATE INDEX ON child (k) WHERE id > 0"],
  ["an index in another order", "CREATE INDEX ON child (k DESC)"],
  ["a hash index", "CREATE INDEX ON child USING hash (k)"],
])("a child with %s is not read in chunks", async (_, index) => {
  await using db = await sourceDatabase(
    "chunks",
    `CREATE TABLE root (k int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, k int); ${index}`,
    "root, child",
  );
  const source = db.open();
  const [a, b] = await source.discover([{ name: "root" }, { name: "child" }]);
  const tables = [
    { table: a!, columns: [0] },
    { table: b!, columns: [1] },
  ];
  expect((await source.surveyChunks(tables)).obstacle).toMatch(
    /child has no index that begins with \(k\)/,
  );
  await db.query("CREATE INDEX ON child (k, id)");
  expect((await source.surveyChunks(tables)).obstacle).toBeUndefined();
});

test("named keys come in one order from all tables, also where they are numbers in one and text in another", async () => {
  await using db = await sourceDatabase(
    "chunks",
    `CREATE TABLE root (k int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, k text);
     INSERT INTO root VALUES (9), (10), (100); INSERT INTO child VALUES (1, '9'), (2, '10'), (3, '100');`,
    "root, child",
  );
  const source = db.open();
  const [root, child] = await source.discover([{ name: "root" }, { name: "child" }]);
  const reader = source.openChunks([
    { table: root!, columns: [0] },
    { table: child!, columns: [1] },
  ]);
  const signal = new AbortController().signal;
  const chunk = await reader.open(signal);
  const read = async (table: typeof root, column: number): Promise<unknown[]> => {
    const keys: unknown[] = [];
    for await (const rows of chunk.readRange(table!, { keys: [["9"], ["10"], ["100"]] }, signal))
      keys.push(...rows.map((cells) => cells[column]));
    return keys;
  };
  expect(await read(child, 1)).toEqual(["10", "100", "9"]);
  expect(await read(root, 0)).toEqual(["10", "100", "9"]);
  await chunk.close();
  await reader.close();
});

test("a partitioned table is read through its root, and counted with its partitions", async () => {
  await using db = await sourceDatabase(
    "chunks",
    `CREATE TABLE root (k int PRIMARY KEY) PARTITION BY RANGE (k);
     CREATE TABLE low PARTITION OF root FOR VALUES FROM (0) TO (100);
     CREATE TABLE high PARTITION OF root FOR VALUES FROM (100) TO (1000);
     INSERT INTO root SELECT generate_series(90, 110); ANALYZE`,
    "root",
  );
  const source = db.open();
  const [root] = await source.discover([{ name: "root" }]);
  const tables = [{ table: root!, columns: [0] }];
  const survey = await source.surveyChunks(tables);
  expect(survey).toMatchObject({ rows: 21 });
  expect(survey.obstacle).toBeUndefined();
  const reader = source.openChunks(tables);
  const chunk = await reader.open(new AbortController().signal);
  expect(await chunk.bound(["95"], 10)).toEqual(["105"]);
  await chunk.close();
  await reader.close();
});
