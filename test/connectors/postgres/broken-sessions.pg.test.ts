import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { openTestStore } from "./event-store-fixture.ts";
import { BANYAN_TABLE } from "./run-support.ts";
import { sourceDatabase, type SourceDatabase } from "./source-support.ts";
import { batchOf, event, streamOf, tailing } from "../../contract/event-batches.ts";
import { readAll } from "../../contract/change-source.contract.ts";
import { connect, destroy } from "../../../connectors/postgres/session.ts";
import { openSession } from "../../../connectors/postgres/store-session.ts";
import { createDatabase, type TestDatabase } from "../../support/databases.ts";

/** A session that breaks while nobody uses it must not end the process, and is replaced. */

const never = new AbortController().signal;

/** They have ended when this does, and whoever has one has been told. */
async function endAll(database: TestDatabase): Promise<void> {
  await database.query(
    "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'banyan%'",
  );
  await sleep(100);
}

async function isRead(db: SourceDatabase): Promise<boolean> {
  const { rows } = await db.query("SELECT active FROM pg_replication_slots WHERE slot_name = $1", [
    db.slot,
  ]);
  return (rows as { active: boolean }[])[0]!.active;
}

test("a store whose idle sessions are ended goes on with new ones; a writer is told to begin again", async () => {
  await using opened = await openTestStore("broken");
  const { store, database } = opened;
  await Promise.all(Array.from({ length: 4 }, () => store.append("order-1", [event()], "any")));
  const idle = await store.openCapture("shop", "test://source");
  await endAll(database);
  await expect(
    idle.stage({ events: batchOf([{ stream: "a", version: 1 }]) }),
  ).rejects.toMatchObject({
    code: "STORE_UNREACHABLE",
    recovery: "retry",
  });
  await idle.close();
  expect(await streamOf(store, "order-1")).toHaveLength(4);

  const staged = await store.openCapture("shop", "test://source");
  await staged.stage({ events: batchOf([{ stream: "a", version: 1 }]) });
  await endAll(database);
  await expect(staged.commit(tailing(1))).rejects.toMatchObject({ recovery: "retry" });
  await staged.close();
  const next = await store.openCapture("shop", "test://source");
  expect(next.record.checkpoint).toBeUndefined();
  await next.stage({ events: batchOf([{ stream: "a", version: 1 }]) });
  await next.commit(tailing(1));
  await next.close();
  expect(await streamOf(store, "a")).toHaveLength(1);
});

test("a reader of a stream type that is cut off rejects, so that a part never looks like the whole", async () => {
  await using opened = await openTestStore("broken");
  const { store, database } = opened;
  const writer = await store.openCapture("shop", "test://source");
  const events = Array.from({ length: 20_000 }, (_, i) => ({
    stream: `order-${i}`,
    version: 1,
    data: { text: "x".repeat(500) },
  }));
  await writer.stage({ events: batchOf(events) });
  await writer.commit(tailing(1));
  await writer.close();
  const read = async (): Promise<void> => {
    let groups = 0;
    for await (const _ of store.readStreamType("order", never)) {
      groups += 1;
      if (groups === 1) await endAll(database);
    }
  };
  await expect(read()).rejects.toMatchObject({ code: "STORE_UNREACHABLE" });
});

test("a source whose idle sessions are ended says so where they are needed, and asks anew elsewhere", async () => {
  await using db = await sourceDatabase("broken", BANYAN_TABLE, "item");
  await db.query("INSERT INTO item SELECT i, 'n' FROM generate_series(1, 10) i");
  const plan = { tables: [{ name: "public.item" }] };
  const source = db.open();
  const snapshot = await source.openBaseline(plan, never);
  const [table] = snapshot.tables;
  expect(await readAll(snapshot, table!)).toHaveLength(10);
  await endAll(db);
  // The snapshot lived in one of them.
  await expect(readAll(snapshot, table!)).rejects.toMatchObject({ code: "SOURCE_UNREACHABLE" });
  await snapshot.close();
  const tables = await source.discover(plan.tables).catch(() => source.discover(plan.tables));
  const parity = await source.openParity(tables, never);
  await endAll(db);
  await expect(readAll(parity, tables[0]!)).rejects.toMatchObject({ code: "SOURCE_UNREACHABLE" });
  await parity.close();
  const stream = (async () => {
    for await (const _ of source.stream(snapshot.position, never));
  })();
  stream.catch(() => undefined);
  for (let i = 0; i < 2_000 && !(await isRead(db)); i++) await sleep(20);
  await endAll(db);
  await expect(stream).rejects.toMatchObject({ code: "SOURCE_UNREACHABLE", recovery: "retry" });
  await source.close();
});

test.each([
  ["of the source", (url: string) => connect({ url, applicationName: "given up" })],
  ["of the store", (url: string) => openSession(url)],
])("a statement %s that was given up ends soon, and not when it would be done", async (_, open) => {
  await using db = await createDatabase("given_up");
  const client = await open(db.url);
  const { rows } = await client.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
  const { pid } = rows[0]!;
  const isThere = async (): Promise<boolean> => {
    const found = await db.query("SELECT FROM pg_stat_activity WHERE pid = $1", [pid]);
    return found.rowCount === 1;
  };
  client.query("SELECT pg_sleep(300)").catch(() => undefined);
  await sleep(200);
  expect(await isThere()).toBe(true);
  destroy(client);
  await expect.poll(isThere, { timeout: 60_000 }).toBe(false);
});
