import pg from "pg";
import { expect, test } from "vitest";
import { BANYAN_TABLE } from "./run-support.ts";
import { sourceDatabase } from "./source-support.ts";
import type { TestDatabase } from "../../support/databases.ts";

const PLAN = { tables: [{ name: "public.item" }] };
const DEADLINE_MS = 60_000;
/** Many times what the baseline needs to open when nothing holds it. */
const HELD_MS = 1_000;

/**
 * The first transaction makes the server wait while it creates the slot, the second while it goes on.
 * What begins after that and commits before the second has ended lies before the slot in the log. Its
 * commit waits for a standby that is not there: it is in the log, and no snapshot sees it.
 */
test("a baseline is not opened before every snapshot sees what lies before its slot in the log", async () => {
  await using db = await sourceDatabase("seen by all", BANYAN_TABLE, "item");
  const [first, second, late] = [await connect(db), await connect(db), await connect(db)];
  const count = async (): Promise<number> =>
    (await one<{ n: number }>(db.query("SELECT count(*)::int AS n FROM item"))).n;
  try {
    await withoutStandby(db, async () => {
      const firstId = await begin(first);
      const opening = db.open().openBaseline(PLAN, new AbortController().signal);
      let isOpen = false;
      opening.then(() => (isOpen = true), () => undefined); // prettier-ignore
      await until("the wait for the first transaction", () => isWaitedFor(db, firstId));
      const secondId = await begin(second);
      await first.query("COMMIT");
      await until("the wait for the second transaction", () => isWaitedFor(db, secondId));
      const { pid } = await one<{ pid: number }>(late.query("SELECT pg_backend_pid() AS pid"));
      const inserted = late.query("INSERT INTO item VALUES (1, 'late')");
      await until("a commit that waits", () => waitsForStandby(db, pid));
      await second.query("COMMIT");
      await until("the slot", () => hasSlot(db));

      await new Promise((resolve) => setTimeout(resolve, HELD_MS));
      expect({ isOpen, seen: await count() }).toEqual({ isOpen: false, seen: 0 });
      await db.query("SELECT pg_cancel_backend($1)", [pid]);
      await inserted;
      const snapshot = await opening;
      await snapshot.close();
      expect(await count()).toBe(1);
    });
  } finally {
    await Promise.all([first, second, late].map((client) => client.end()));
  }
});

test("transactions have not ended as long as one that is in the log waits for a standby, and those that begin later are not waited for", async () => {
  await using db = await sourceDatabase("ended", BANYAN_TABLE, "item");
  const late = [await connect(db), await connect(db)];
  const later = await connect(db);
  const source = db.open();
  try {
    await withoutStandby(db, async () => {
      const waiting: { pid: number; inserted: Promise<unknown> }[] = [];
      for (const [n, client] of late.entries()) {
        const { pid } = await one<{ pid: number }>(client.query("SELECT pg_backend_pid() AS pid"));
        const inserted = client.query(`INSERT INTO item VALUES (${n}, 'late')`);
        await until("a commit that waits", () => waitsForStandby(db, pid));
        waiting.push({ pid, inserted });
      }
      const haveEnded = await source.markTransactions();
      await begin(later);
      for (const { pid, inserted } of waiting) {
        expect(await haveEnded()).toBe(false);
        await db.query("SELECT pg_cancel_backend($1)", [pid]);
        await inserted;
      }
      await until("the end", haveEnded);
    });
  } finally {
    await Promise.all([...late, later].map((client) => client.end()));
  }
});

async function connect({ url }: TestDatabase): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client;
}

/** @returns the id of the transaction that is open then */
async function begin(client: pg.Client): Promise<string> {
  await client.query("SET synchronous_commit = local");
  await client.query("BEGIN");
  const asked = client.query("SELECT pg_current_xact_id()::xid::text AS id");
  return (await one<{ id: string }>(asked)).id;
}

async function withoutStandby(db: TestDatabase, run: () => Promise<void>): Promise<void> {
  const set = async (names: string): Promise<void> => {
    await db.query(`ALTER SYSTEM SET synchronous_standby_names = '${names}'`);
    await db.query("SELECT pg_reload_conf()");
    await until("the setting", async () => {
      const sql = "SELECT current_setting('synchronous_standby_names') AS names";
      return (await one<{ names: string }>(db.query(sql))).names === names;
    });
  };
  try {
    await set("nobody");
    await commitsWait(db);
    await run();
  } finally {
    await set("");
    await db.query("ALTER SYSTEM RESET synchronous_standby_names");
    await db.query("SELECT pg_reload_conf()");
  }
}

/** The checkpointer tells commits of the setting, when it comes to it. */
async function commitsWait(db: TestDatabase): Promise<void> {
  const probe = await connect(db);
  try {
    const { pid } = await one<{ pid: number }>(probe.query("SELECT pg_backend_pid() AS pid"));
    await until("a commit that the setting concerns", async () => {
      let waited = false;
      let ended = false;
      const committed = probe
        .query("SELECT pg_logical_emit_message(true, 'probe', '')")
        .then(() => (ended = true));
      while (!ended && !waited) waited = await waitsForStandby(db, pid);
      if (waited) await db.query("SELECT pg_cancel_backend($1)", [pid]);
      await committed;
      return waited;
    });
  } finally {
    await probe.end();
  }
}

async function isWaitedFor(db: TestDatabase, id: string): Promise<boolean> {
  const { rows } = await db.query(
    "SELECT FROM pg_locks WHERE locktype = 'transactionid' AND transactionid = $1::xid AND NOT granted",
    [id],
  );
  return rows.length > 0;
}

async function waitsForStandby(db: TestDatabase, pid: number): Promise<boolean> {
  const { rows } = await db.query(
    "SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'SyncRep'",
    [pid],
  );
  return rows.length > 0;
}

async function hasSlot(db: TestDatabase & { readonly slot: string }): Promise<boolean> {
  const { rows } = await db.query(
    "SELECT FROM pg_replication_slots WHERE slot_name = $1 AND confirmed_flush_lsn IS NOT NULL",
    [db.slot],
  );
  return rows.length > 0;
}

async function one<T>(asked: Promise<pg.QueryResult>): Promise<T> {
  const { rows } = await asked;
  return (rows as T[])[0]!;
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`${what} did not come about`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
