import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { expect, test } from "vitest";
import { createDatabase, type TestDatabase } from "../../support/databases.ts";
import { createRole } from "../../support/faults-role.ts";
import { startEmbeddedPostgres } from "../../../connectors/embedded/embedded-postgres.ts";
import { sampleLog, type LogSampleOptions } from "../../../connectors/postgres/log-sample.ts";
import type { LogSample } from "../../../src/source/database-facts.ts";

const never = new AbortController().signal;

const options = (url: string, more: Partial<LogSampleOptions> = {}): LogSampleOptions => ({
  url,
  applicationName: "sample",
  ...more,
});

async function slots(db: TestDatabase): Promise<number> {
  const { rows } = await db.query(
    "SELECT count(*)::int AS slots FROM pg_replication_slots WHERE database = current_database()",
  );
  return (rows[0] as { slots: number }).slots;
}

/** Samples from when the slot is there until all of `work` is done. */
async function during(db: TestDatabase, work: () => Promise<unknown>): Promise<LogSample> {
  const stop = new AbortController();
  const sampling = sampleLog(options(db.url), 60, stop.signal);
  sampling.catch(() => undefined);
  // A slot shows before it is ready; it takes what comes after that.
  const ready =
    "SELECT FROM pg_replication_slots WHERE database = current_database() AND confirmed_flush_lsn IS NOT NULL";
  for (let attempt = 0; (await db.query(ready)).rows.length === 0; attempt++) {
    if (attempt > 400) throw new Error("no slot was made");
    await sleep(50);
  }
  await work();
  stop.abort();
  return await sampling;
}

test("every change is counted by table and operation, partitions as their table", async () => {
  await using db = await createDatabase("sample counts");
  await db.query(`CREATE SCHEMA "Odd.One";
    CREATE TABLE orders (id int PRIMARY KEY, status text, note text, amount numeric); ALTER TABLE orders REPLICA IDENTITY FULL;
    CREATE TABLE "Odd.One"."a ""b""" (id int PRIMARY KEY, v text);
    CREATE TABLE parted (id int, d date, PRIMARY KEY (id, d)) PARTITION BY RANGE (d);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
    CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
    INSERT INTO orders SELECT n, 'before', NULL, 0 FROM generate_series(1, 10) n;`);
  const sample = await during(db, async () => {
    await db.query("INSERT INTO orders SELECT n, 'new', 'x', 1 FROM generate_series(11, 110) n");
    await db.query("UPDATE orders SET status = 'paid', amount = 2 WHERE id BETWEEN 11 AND 40");
    await db.query("UPDATE orders SET status = 'sent' WHERE id BETWEEN 11 AND 20");
    await db.query("UPDATE orders SET note = NULL WHERE id = 11");
    await db.query("DELETE FROM orders WHERE id > 100");
    await db.query(
      `BEGIN; INSERT INTO "Odd.One"."a ""b""" VALUES (1, 'it''s'), (2, NULL); INSERT INTO parted SELECT n, date '2026-01-30' + n FROM generate_series(1, 5) n; COMMIT`,
    );
    await db.query("BEGIN; INSERT INTO orders VALUES (999, 'never', '', 0); ROLLBACK");
    await db.query(`TRUNCATE "Odd.One"."a ""b"""`);
  });
  expect(sample.transactions).toBe(7);
  expect([...sample.tables.keys()].toSorted()).toEqual([
    String.raw`Odd\.One.a "b"`,
    "public.orders",
    "public.parted",
  ]);
  const orders = sample.tables.get("public.orders")!;
  expect(orders).toMatchObject({ inserted: 100, updated: 41, deleted: 10, truncated: 0 });
  expect([...orders.changedTogether]).toEqual([
    ["status, amount", 30],
    ["status", 10],
    ["note", 1],
  ]);
  expect(orders.transitions.get("status")).toEqual(
    new Map([
      ["new → paid", 30],
      ["paid → sent", 10],
    ]),
  );
  expect(orders.transitions.get("note")).toEqual(new Map([["x → NULL", 1]]));
  expect(sample.tables.get("public.parted")).toMatchObject({ inserted: 5, updated: 0 });
  expect(sample.tables.get(String.raw`Odd\.One.a "b"`)).toMatchObject({
    inserted: 2,
    truncated: 1,
  });
  expect(sample.bytes).toBeGreaterThan(1_000);
  expect(await slots(db)).toBe(0);
});

test("old rows of a table that tells only its key are not guessed", async () => {
  await using db = await createDatabase("sample keys");
  await db.query("CREATE TABLE t (id int PRIMARY KEY, s text); INSERT INTO t VALUES (1, 'a')");
  const sample = await during(db, () => db.query("UPDATE t SET id = 2, s = 'b'"));
  const seen = sample.tables.get("public.t")!;
  expect(seen.updated).toBe(1);
  expect([seen.changedTogether.size, seen.transitions.size]).toEqual([0, 0]);
});

test("a transaction of many rows and large values is counted in bounded parts", async () => {
  await using db = await createDatabase("sample large");
  await db.query("CREATE TABLE big (id int PRIMARY KEY, s text)");
  const sample = await during(db, async () => {
    await db.query("INSERT INTO big SELECT n, 'x' FROM generate_series(1, 60000) n");
    await db.query(
      "INSERT INTO big SELECT 60000 + n, repeat('it''s ', 200000) FROM generate_series(1, 5) n",
    );
  });
  expect(sample.tables.get("public.big")).toMatchObject({ inserted: 60_005 });
  expect(sample.bytes).toBeGreaterThan(5 * 1_000_000);
});

test("it lasts as long as it was asked to, and leaves no slot behind, also when nothing happens", async () => {
  await using db = await createDatabase("sample idle");
  const started = performance.now();
  const sample = await sampleLog(options(db.url), 2, never);
  expect(performance.now() - started).toBeGreaterThan(2_000);
  expect(sample.seconds).toBeGreaterThan(1.9);
  expect(sample).toMatchObject({ transactions: 0, bytes: 0, tables: new Map() });
  expect(await slots(db)).toBe(0);
});

test("a role that may not read the log is told which right it lacks", async () => {
  await using db = await createDatabase("sample rights");
  await using role = await createRole(db);
  await expect(sampleLog(options(role.url), 1, never)).rejects.toMatchObject({
    code: "SOURCE_NOT_READY",
    hint: `ALTER ROLE "${role.name}" REPLICATION;`,
  });
});

test("a transaction that stays open stands in the way, and is looked for", async () => {
  await using db = await createDatabase("sample blocked");
  await db.query("CREATE TABLE t (id int)");
  const client = new pg.Client({ connectionString: db.url });
  await client.connect();
  await client.query("BEGIN; INSERT INTO t VALUES (1)");
  try {
    await expect(sampleLog(options(db.url, { waitMsMax: 500 }), 1, never)).rejects.toMatchObject({
      code: "SLOT_CREATION_BLOCKED",
      hint: expect.stringContaining("pg_stat_activity"),
    });
  } finally {
    await client.end();
  }
  expect(await slots(db)).toBe(0);
});

test("a server without a logical log says which setting to change", async () => {
  const dir = mkdtempSync(join(tmpdir(), "banyan-replica-level-"));
  const server = await startEmbeddedPostgres({ dir, flags: ["-c", "wal_level=replica"] });
  try {
    await expect(sampleLog(options(server.url("postgres")), 1, never)).rejects.toMatchObject({
      code: "SOURCE_NOT_READY",
      message: expect.stringContaining("wal_level is replica"),
      hint: expect.stringContaining("ALTER SYSTEM SET wal_level = 'logical'"),
    });
  } finally {
    await server.stop("immediate");
    rmSync(dir, { recursive: true, force: true });
  }
});
