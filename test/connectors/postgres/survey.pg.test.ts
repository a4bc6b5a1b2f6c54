import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { loadDatabase } from "../../support/assess-databases.ts";
import { createDatabase, type TestDatabase } from "../../support/databases.ts";
import { createRole } from "../../support/faults-role.ts";
import { openPostgresSurvey } from "../../../connectors/postgres/survey.ts";
import type { DatabaseFacts, TableFacts } from "../../../src/source/database-facts.ts";

async function factsOf(url: string, schemas?: readonly string[]): Promise<DatabaseFacts> {
  const survey = openPostgresSurvey({ url });
  try {
    return await survey.facts(schemas);
  } finally {
    await survey.close();
  }
}

function tableOf(facts: DatabaseFacts, name: string): TableFacts {
  const found = facts.tables.find(({ table }) => table.name === name);
  if (found === undefined) throw new Error(`no table ${name}`);
  return found;
}

const columnOf = ({ columns }: TableFacts, name: string) =>
  columns.find((column) => column.name === name)!;

describe("a film rental", () => {
  let db: TestDatabase;
  let facts: DatabaseFacts;
  beforeAll(async () => {
    db = await loadDatabase("rental");
    facts = await factsOf(db.url);
  });
  afterAll(() => db[Symbol.asyncDispose]());

  test("has its tables with rows, sizes and keys, and nothing of the server's own", () => {
    expect(facts.tables.map(({ table }) => table.relation)).toEqual(
      "actor address category city country customer film film_actor film_category inventory language payment rental staff store".split(
        " ",
      ),
    );
    expect(facts.schemas).toEqual(["public"]);
    const rental = tableOf(facts, "public.rental");
    expect(rental).toMatchObject({
      rows: 16_044,
      primaryKey: ["rental_id"],
      triggers: ["last_updated"],
      kind: "table",
    });
    expect(rental.bytes).toBeGreaterThan(16_044 * 40);
    expect(rental.indexBytes).toBeGreaterThan(100_000);
    expect(rental.identityMend).toBeUndefined();
    expect(tableOf(facts, "public.film_actor").primaryKey).toEqual(["actor_id", "film_id"]);
  });

  test("has columns with what the server knows of their values", () => {
    const film = tableOf(facts, "public.film");
    expect(film.columns.map(({ name }) => name)).toEqual(
      film.table.columns.map(({ name }) => name),
    );
    const rating = columnOf(film, "rating");
    expect(rating).toMatchObject({
      allowed: ["G", "PG", "PG-13", "R", "NC-17"],
      distinct: 5,
      nullShare: 0,
    });
    expect(rating.default).toContain("'G'");
    expect(rating.common).toHaveLength(5);
    expect(rating.common.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 1);
    expect(columnOf(film, "description").mayBeOutOfLine).toBe(true);
    expect(columnOf(film, "length")).toMatchObject({ nullShare: 1, mayBeOutOfLine: false });
    expect(columnOf(tableOf(facts, "public.rental"), "rental_id")).toMatchObject({
      distinct: 16_044,
      common: [],
    });
    expect(columnOf(tableOf(facts, "public.rental"), "return_date").nullShare).toBeCloseTo(
      0.011,
      2,
    );
  });

  test("adds up its partitions, and takes a foreign key of each of them once for the whole", () => {
    const payment = tableOf(facts, "public.payment");
    expect(payment.partitions).toHaveLength(6);
    expect(payment).toMatchObject({
      kind: "partitioned",
      rows: 16_044,
      primaryKey: ["payment_date", "payment_id"],
    });
    expect(columnOf(payment, "amount").distinct).toBeGreaterThan(5);
    const own = facts.foreignKeys.filter(({ table }) => table === "public.payment");
    expect(own.map(({ references }) => references).toSorted()).toEqual([
      "public.customer",
      "public.rental",
      "public.staff",
    ]);
    expect(facts.foreignKeys).toHaveLength(22);
    expect(facts.foreignKeys.find(({ table }) => table === "public.film_category")).toMatchObject({
      columns: ["category_id"],
      referencedColumns: ["category_id"],
      onDelete: "restrict",
      onUpdate: "cascade",
    });
  });

  test("looks at the schemas asked for only, and still names the others", async () => {
    const none = await factsOf(db.url, ["elsewhere"]);
    expect(none).toMatchObject({ tables: [], foreignKeys: [], schemas: ["public"] });
  });
});

describe("an ERP", () => {
  let db: TestDatabase;
  let facts: DatabaseFacts;
  beforeAll(async () => {
    db = await loadDatabase("erp");
    facts = await factsOf(db.url);
  });
  afterAll(() => db[Symbol.asyncDispose]());

  test("keeps its names, whatever is in them", () => {
    expect(facts.schemas).toEqual(["Finance", "Lager.Nord", "Sales", "master", "public"]);
    const names = facts.tables.map(({ table }) => table.name);
    expect(names).toContain(String.raw`Lager\.Nord.Bin\.Locations`);
    expect(names).toContain("Sales.Order Position Schedule");
    expect(names).toContain("master.user");
    const schedule = facts.foreignKeys.find(
      ({ table }) => table === "Sales.Order Position Schedule",
    );
    expect(schedule).toMatchObject({
      columns: ["ClientId", "OrderNo", "Pos"],
      references: "Sales.Order Position",
      onDelete: "cascade",
    });
  });

  test("says which values a CHECK lists, and which columns the log leaves out", () => {
    expect(columnOf(tableOf(facts, "Sales.Order"), "Status").allowed).toEqual(
      "OPEN RELEASED DELIVERED INVOICED CANCELLED".split(" "),
    );
    const movements = tableOf(facts, String.raw`Lager\.Nord.movements`);
    expect(movements.generatedLeftOut).toEqual(["total"]);
    expect(tableOf(facts, String.raw`Lager\.Nord.movements_archive`).inherits).toEqual([
      movements.table.name,
    ]);
  });

  test("gives SQL for what stands in the way, and with it nothing does any more", async () => {
    const rates = tableOf(facts, "Finance.ExchangeRates");
    expect(rates).toMatchObject({
      primaryKey: [],
      uniqueKeys: [["Currency", "ValidFrom"]],
      keyMend: undefined,
    });
    expect(rates.identityMend).toBe(
      'ALTER TABLE "Finance"."ExchangeRates" REPLICA IDENTITY USING INDEX "UX_ExchangeRates";',
    );
    expect(tableOf(facts, String.raw`Lager\.Nord.PickCache`)).toMatchObject({ kind: "unlogged" });
    expect(tableOf(facts, "master.user")).toMatchObject({ rowSecurity: true, rowsHidden: false });
    const mends = facts.tables.flatMap(({ keyMend, identityMend, loggedMend }) => [
      keyMend,
      keyMend === undefined ? identityMend : undefined,
      loggedMend,
    ]);
    for (const sql of mends) if (sql !== undefined) await db.query(sql);
    expect(mends.filter((sql) => sql !== undefined)).toHaveLength(4);
    const after = await factsOf(db.url);
    expect(
      after.tables.filter(
        ({ keyMend, identityMend, loggedMend }) => keyMend ?? identityMend ?? loggedMend,
      ),
    ).toEqual([]);
    expect(tableOf(after, "Finance.Dunning").primaryKey).toEqual(["row_id"]);
  });
});

test("changes are counted, once the session that made them has told the server", async () => {
  await using db = await createDatabase("survey counts");
  // It does at its end at the latest.
  const client = new pg.Client({ connectionString: db.url });
  await client.connect();
  await client.query("CREATE TABLE counted (id int PRIMARY KEY)");
  await client.query("INSERT INTO counted SELECT generate_series(1, 5)");
  await client.query("UPDATE counted SET id = id + 10 WHERE id < 4");
  await client.query("DELETE FROM counted WHERE id > 12");
  await client.end();
  let facts = await factsOf(db.url);
  for (let n = 0; n < 100 && tableOf(facts, "public.counted").changes!.deleted === 0; n++) {
    await sleep(100);
    facts = await factsOf(db.url);
  }
  expect(tableOf(facts, "public.counted").changes).toEqual({ inserted: 5, updated: 3, deleted: 1 });
  expect(facts.countedSeconds).toBeGreaterThan(0);
  // The database is younger than the server, and so is its counting.
  expect(facts.countedSeconds).toBeLessThan(60);
});

test("partitions without a key, and a key that holds only at commit, get SQL that mends them", async () => {
  await using db = await createDatabase("survey mends");
  await db.query(`
    CREATE TABLE readings (day date NOT NULL, region text, value int) PARTITION BY RANGE (day);
    CREATE TABLE readings_1 PARTITION OF readings FOR VALUES FROM ('2026-01-01') TO ('2026-02-01') PARTITION BY LIST (region);
    CREATE TABLE readings_1a PARTITION OF readings_1 FOR VALUES IN ('a');
    CREATE TABLE readings_2 PARTITION OF readings FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
    INSERT INTO readings VALUES ('2026-01-05', 'a', 1), ('2026-02-05', 'b', 2);
    CREATE TABLE odd (a int) PARTITION BY RANGE ((a + 1));
    CREATE TABLE late (id int PRIMARY KEY DEFERRABLE, row_id text);
    CREATE TABLE mute (id int PRIMARY KEY);
    ALTER TABLE mute REPLICA IDENTITY NOTHING;
    CREATE TABLE "keyless ""one""" (row_id int);`);
  const before = await factsOf(db.url);
  expect(tableOf(before, "public.readings").partitions).toEqual([
    "public.readings_1a",
    "public.readings_2",
  ]);
  expect(tableOf(before, "public.odd").keyMend).toBeUndefined();
  expect(tableOf(before, "public.late").table.keyUniqueness).toBe("at-commit");
  expect(tableOf(before, "public.mute").identityMend).toBe(
    'ALTER TABLE "public"."mute" REPLICA IDENTITY DEFAULT;',
  );
  for (const { keyMend, identityMend } of before.tables) {
    const mend = keyMend ?? identityMend;
    if (mend !== undefined) await db.query(mend);
  }
  const after = await factsOf(db.url);
  const lacking = after.tables.filter(
    ({ primaryKey, identityMend }) => primaryKey.length === 0 || identityMend !== undefined,
  );
  expect(lacking.map(({ table }) => table.relation)).toEqual(["odd"]);
  expect(tableOf(after, "public.late").table.keyUniqueness).toBe("always");
});

test("what extensions own, temporary tables and an event store of our own are left out", async () => {
  await using db = await createDatabase("survey others");
  await db.query(`
    CREATE EXTENSION citext; CREATE TABLE of_extension (id int); ALTER EXTENSION citext ADD TABLE of_extension;
    CREATE SCHEMA banyan; CREATE TABLE banyan.events (id int); CREATE TABLE banyan.pipelines (id int); CREATE TABLE banyan.row_images (id int);
    CREATE TABLE public.mine (id int PRIMARY KEY); CREATE VIEW public.v AS SELECT * FROM public.mine; CREATE MATERIALIZED VIEW public.m AS SELECT * FROM public.mine;`);
  const client = new pg.Client({ connectionString: db.url });
  await client.connect();
  await client.query("CREATE TEMP TABLE passing (id int)");
  try {
    const facts = await factsOf(db.url);
    expect(facts.tables.map(({ table }) => table.name)).toEqual(["public.mine"]);
    expect(facts.schemas).toEqual(["public"]);
  } finally {
    await client.end();
  }
});

test("a table that was never analysed has unknown rows, an empty one has none", async () => {
  await using db = await createDatabase("survey unknown");
  await db.query(`CREATE TABLE filled (id int PRIMARY KEY, s text) WITH (autovacuum_enabled = false);
    CREATE TABLE empty (id int PRIMARY KEY); INSERT INTO filled SELECT n, 'x' FROM generate_series(1, 1000) n;`);
  const before = await factsOf(db.url);
  const filled = tableOf(before, "public.filled");
  expect(filled.rows).toBeUndefined();
  expect(filled.bytes).toBeGreaterThan(30_000);
  expect(columnOf(filled, "s")).toMatchObject({
    distinct: undefined,
    nullShare: undefined,
    averageBytes: undefined,
    common: [],
  });
  expect(tableOf(before, "public.empty").rows).toBe(0);
  await db.query("ANALYZE");
  // Twice the size is about twice the rows, also before anybody looks again.
  await db.query("INSERT INTO filled SELECT n, 'x' FROM generate_series(1001, 2000) n");
  const grown = tableOf(await factsOf(db.url), "public.filled").rows!;
  expect(grown).toBeGreaterThan(1_500);
  expect(grown).toBeLessThan(2_500);
});

test("a role that may only connect gets what the catalogue shows, and is told what it lacks", async () => {
  await using db = await loadDatabase("erp");
  await using role = await createRole(db);
  await db.query(`GRANT CONNECT ON DATABASE ${db.name} TO ${role.name}`);
  const [all, seen] = [await factsOf(db.url), await factsOf(role.url)];
  expect(seen.role).toBe(role.name);
  expect(seen.tables.map(({ table }) => table)).toEqual(all.tables.map(({ table }) => table));
  expect(seen.foreignKeys).toEqual(all.foreignKeys);
  const order = tableOf(seen, "Sales.Order");
  expect(order).toMatchObject({
    readable: false,
    rows: 2_500,
    changes: tableOf(all, "Sales.Order").changes,
  });
  expect(order.bytes).toBe(tableOf(all, "Sales.Order").bytes);
  expect(columnOf(order, "Status")).toMatchObject({ distinct: undefined, common: [] });
  expect(columnOf(order, "Status").allowed).toHaveLength(5);
  expect(seen.findings.map(({ code }) => code)).toContain("role-not-replication");
  expect(tableOf(seen, "master.user").rowsHidden).toBe(true);
});

test("tables that somebody holds locked are told all the same, soon, with their old sizes", async () => {
  await using db = await loadDatabase("weather");
  const before = await factsOf(db.url);
  const client = new pg.Client({ connectionString: db.url });
  await client.connect();
  try {
    await client.query(`BEGIN; LOCK TABLE station IN ACCESS EXCLUSIVE MODE; LOCK TABLE measurement_20260103 IN ACCESS EXCLUSIVE MODE;
      ALTER TABLE sensor ADD COLUMN later int DEFAULT 1`);
    const started = performance.now();
    const facts = await factsOf(db.url);
    expect(performance.now() - started).toBeLessThan(20_000);
    expect(facts.tables.map(({ table }) => table.name)).toEqual(
      before.tables.map(({ table }) => table.name),
    );
    const old = facts.tables
      .filter(({ bytesAreOld }) => bytesAreOld)
      .map(({ table }) => table.relation);
    expect(old).toEqual(["measurement", "sensor", "station"]);
    for (const name of ["public.station", "public.measurement"]) {
      const [was, now] = [tableOf(before, name), tableOf(facts, name)];
      expect(now).toMatchObject({
        rows: was.rows,
        primaryKey: was.primaryKey,
        partitions: was.partitions,
      });
      expect(now.columns.map((column) => column.name)).toEqual(
        was.columns.map((column) => column.name),
      );
      expect(now.identityMend).toBe(was.identityMend);
    }
  } finally {
    await client.end();
  }
});

test("a CHECK that lets more through than it lists, or compares otherwise than by text, lists nothing", async () => {
  await using db = await createDatabase("survey open checks");
  await db.query(`CREATE EXTENSION citext; CREATE DOMAIN level AS int CHECK (VALUE IN (1, 2));
    CREATE DOMAIN code AS char(3) CHECK (VALUE IN ('a', 'b'));
    CREATE TABLE checks (id int PRIMARY KEY, long bigint CHECK (long IN (1, 2)), padded char(3) CHECK (padded IN ('a', 'bb')),
      "Or Null" text CHECK ("Or Null" IS NULL OR "Or Null" IN ('a', 'b')), lev level, cod code, "it's" text CHECK ("it's" IN ('a', 'b')),
      more text CHECK (more IN ('a', 'b') OR length(more) > 5), lowered text CHECK (lower(lowered) IN ('a', 'b')),
      number numeric CHECK (number IN (2.5, 3.5)), whole numeric CHECK (whole IN (1, 2)), real real CHECK (real IN (1, 2)),
      folded citext CHECK (folded IN ('a', 'b')), day date CHECK (day IN ('2026-01-01', '2026-01-02')),
      beyond int CHECK (beyond IN (1, 2) OR beyond > 10), items text[] CHECK ('a' = ANY (items)), old text)`);
  await db.query("ALTER TABLE checks ADD CHECK (old IN ('a', 'b')) NOT VALID");
  const { columns } = tableOf(await factsOf(db.url), "public.checks");
  const listed = columns.filter(({ allowed }) => allowed !== undefined);
  expect(Object.fromEntries(listed.map(({ name, allowed }) => [name, allowed]))).toEqual({
    long: ["1", "2"],
    padded: ["a", "bb"],
    "Or Null": ["a", "b"],
    lev: ["1", "2"],
  });
});

test("a NOT NULL that was never validated leaves rows without a value: such a column is no key", async () => {
  await using db = await createDatabase("survey not valid");
  await db.query(`CREATE TABLE old (a int, b int NOT NULL); CREATE UNIQUE INDEX ON old (a);
    INSERT INTO old VALUES (NULL, 1), (NULL, 2)`);
  const { rows } = await db.query("SELECT current_setting('server_version_num')::int AS version");
  const constrain = () => db.query("ALTER TABLE old ADD CONSTRAINT filled NOT NULL a NOT VALID");
  // Older servers have no such constraint.
  if ((rows[0] as { version: number }).version < 180_000)
    return await expect(constrain()).rejects.toMatchObject({ code: "42601" });
  await constrain();
  const { table, uniqueKeys } = tableOf(await factsOf(db.url), "public.old");
  expect(uniqueKeys).toEqual([]);
  expect(table.columns.map(({ name, nullable }) => [name, nullable])).toEqual([
    ["a", true],
    ["b", false],
  ]);
});

test("every rule that rows be different is told, over whatever columns, values and rows it is", async () => {
  await using db = await createDatabase("survey unique");
  await db.query(`CREATE EXTENSION btree_gist;
    CREATE TABLE guest (id int PRIMARY KEY, email text UNIQUE, nick text, "Club No" int, gone bool, room int, stay daterange,
      UNIQUE ("Club No", nick) DEFERRABLE, EXCLUDE USING gist (room WITH =, stay WITH &&));
    CREATE UNIQUE INDEX low ON guest (lower(nick), room) INCLUDE (gone) WHERE NOT gone;
    CREATE INDEX plain ON guest (nick)`);
  const { uniqueRules, uniqueKeys } = tableOf(await factsOf(db.url), "public.guest");
  expect(uniqueKeys).toEqual([]);
  expect(uniqueRules.toSorted((a, b) => (a.text < b.text ? -1 : 1))).toEqual([
    { columns: ["Club No", "nick"], text: '"Club No", nick' },
    { columns: ["room"], text: "EXCLUDE USING gist (room WITH =, stay WITH &&)" },
    { columns: ["email"], text: "email" },
    { columns: ["room"], text: "lower(nick), room WHERE NOT gone" },
  ]);
});

test("values that may be anything in a CHECK are read right or not at all", async () => {
  await using db = await createDatabase("survey checks");
  await db.query(`CREATE DOMAIN mood AS text CHECK (VALUE IN ('it''s, fine', 'AND', 'so]so'));
    CREATE TABLE checks (id int PRIMARY KEY, a text CHECK (a IN ('x', 'y z')), b int CHECK (b IN (1, 2, -3)), c mood,
      d text CHECK (d <> 'q'), e text CHECK (e NOT IN ('n', 'm')), f text CHECK (f IN ('p', 'q') AND length(f) < 9), g varchar(5) CHECK (g = ANY (ARRAY['u', 'v'])),
      h text CHECK (h = 'lone'))`);
  const table = tableOf(await factsOf(db.url), "public.checks");
  const allowed = Object.fromEntries(table.columns.map((column) => [column.name, column.allowed]));
  expect(allowed).toEqual({
    id: undefined,
    a: ["x", "y z"],
    b: ["1", "2", "-3"],
    c: ["it's, fine", "AND", "so]so"],
    d: undefined,
    e: undefined,
    f: undefined,
    g: ["u", "v"],
    h: undefined,
  });
});
