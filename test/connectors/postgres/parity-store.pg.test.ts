import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openTestStore } from "./event-store-fixture.ts";
import { contentOf, eventsOf, foldLast, NEVER, scope, tell } from "../../contract/fold-sums.ts";
import { parityStoreContract } from "../../contract/parity-store.contract.ts";
import type { TestDatabase } from "../../support/databases.ts";
import type { EventStore } from "../../../src/store/event-store.ts";

/** One database for all of them, emptied in between: to make one takes longer than most of the tests. */
let shared: Awaited<ReturnType<typeof openTestStore>>;
beforeAll(async () => {
  shared = await openTestStore("parity_contract");
});
afterAll(async () => {
  await shared[Symbol.asyncDispose]();
});

parityStoreContract("postgres", async () => ({
  store: shared.store,
  async [Symbol.asyncDispose]() {
    await shared.database.query(`
      ALTER TABLE banyan.events DISABLE TRIGGER ALL;
      TRUNCATE banyan.events, banyan.pipelines, banyan.parity_scopes, banyan.parity_folds, banyan.parity_sums,
               banyan.parity_reports, banyan.parity_findings CASCADE`);
  },
}));

async function session(url: string): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => undefined);
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

async function kept({ parity }: EventStore): Promise<{ content: unknown; touched: string[] }> {
  const folds = await parity.openFolds(scope());
  try {
    const content = await contentOf(folds, ["order-1", "order-2"]);
    return { content, touched: await eventsOf(folds.touched(NEVER)) };
  } finally {
    await folds.close();
  }
}

/** Rows of the events that sessions have read which are closed by now. */
async function eventsRead(database: TestDatabase): Promise<number> {
  const { rows } = await database.query(
    `SELECT (seq_tup_read + idx_tup_fetch)::int AS read FROM pg_stat_user_tables
      WHERE schemaname = 'banyan' AND relname = 'events'`,
  );
  return (rows[0] as { read: number }).read;
}

/** A fold that waits in its first page until it is let go. */
function waiting(): { fold: typeof foldLast; begun: Promise<void>; go: () => void } {
  let [begin, go] = [(): void => undefined, (): void => undefined];
  const begun = new Promise<void>((resolve) => (begin = resolve));
  const gone = new Promise<void>((resolve) => (go = resolve));
  return {
    begun,
    go,
    fold: async function* (events) {
      for await (const page of foldLast(events)) {
        begin();
        await gone;
        yield page;
      }
    },
  };
}

describe("kept folds on a server", () => {
  test("of a type are brought up to date at the price of what is new, also where statistics know of none", async () => {
    await using opened = await openTestStore("parity_skewed");
    const { store, database } = opened;
    const insert = (type: string, version: number, streams: number) =>
      database.query(
        `INSERT INTO banyan.events (event_id, time, version, origin, mapping_version, stream_id, type, data)
         SELECT gen_random_uuid(), now(), $2, 'capture', 1, $1 || '-' || i, 'Amended', '{"rows":1,"sum":"1"}'
           FROM generate_series(1, $3::int) i`,
        [type, version, streams],
      );
    await insert("account", 1, 20_000);
    await insert("zone", 1, 1);
    await database.query(
      "ALTER TABLE banyan.events SET (autovacuum_enabled = false); ANALYZE banyan.events",
    );
    await store.parity.advance(scope(), foldLast, NEVER);
    await insert("account", 2, 20_000);
    await insert("order", 1, 300);
    const before = await eventsRead(database);
    await store.parity.advance(scope(), foldLast, NEVER);
    expect(await store.parity.behind(scope(), 10)).toBe(0);
    // A session tells what it has read when it ends, which is not waited for.
    await expect
      .poll(async () => (await eventsRead(database)) - before, { timeout: 60_000 })
      .toBeGreaterThan(300);
    expect((await eventsRead(database)) - before).toBeLessThan(200_000);
  });

  test("wait for a transaction that is still open, and miss nothing of it nor of those behind it", async () => {
    await using opened = await openTestStore("parity_open");
    const { store, database } = opened;
    await tell(store, [["order-1", { rows: 1, sum: 1n }]]);
    await store.parity.advance(scope(), foldLast, NEVER);
    await using open = await session(database.url);
    await open.query(`
      BEGIN;
      INSERT INTO banyan.events (event_id, time, version, origin, mapping_version, stream_id, type, data)
      VALUES (gen_random_uuid(), now(), 2, 'capture', 1, 'order-1', 'Amended', '{"rows":5,"sum":"5"}')`);
    // Committed behind it, and with a higher number.
    await tell(store, [["order-2", { rows: 2, sum: 2n }]]);
    await store.parity.advance(scope(), foldLast, NEVER);
    expect(await store.parity.behind(scope(), 10)).toBe(1);
    expect((await kept(store)).touched).toEqual(["order-2 1"]);
    await open.query("COMMIT");
    expect(await store.parity.behind(scope(), 10)).toBe(2);
    expect((await kept(store)).touched).toEqual(["order-1 1", "order-1 2", "order-2 1"]);
    await store.parity.advance(scope(), foldLast, NEVER);
    const { content, touched } = await kept(store);
    expect(touched).toEqual([]);
    const anew = scope({ pipeline: "anew" });
    await store.parity.advance(anew, foldLast, NEVER);
    const folds = await store.parity.openFolds(anew);
    expect(content).toEqual(await contentOf(folds, ["order-1", "order-2"]));
    await folds.close();
  });

  test("of streams that changed in a transaction that is still open are told once it has ended", async () => {
    await using opened = await openTestStore("parity_changed");
    const { store, database } = opened;
    const types = ["order"];
    const begun = await store.parity.changedSince(types, undefined, 10);
    await using open = await session(database.url);
    await open.query(`
      BEGIN;
      INSERT INTO banyan.events (event_id, time, version, origin, mapping_version, stream_id, type, data)
      VALUES (gen_random_uuid(), now(), 1, 'capture', 1, 'order-1', 'Amended', '{"rows":5,"sum":"5"}')`);
    // Committed behind it, and with a higher number.
    await tell(store, [["order-2", { rows: 2, sum: 2n }]]);
    const waiting = await store.parity.changedSince(types, begun.place, 10);
    expect(waiting).toMatchObject({ streams: [], total: 0 });
    expect(BigInt(waiting.end)).toBeGreaterThan(BigInt(waiting.place));
    await open.query("COMMIT");
    const told = await store.parity.changedSince(types, waiting.place, 10);
    expect(told.streams.toSorted()).toEqual(["order-1", "order-2"]);
    expect(BigInt(told.place)).toBeGreaterThanOrEqual(BigInt(waiting.end));
    const over = await store.parity.changedSince(types, told.place, 10);
    expect(over).toMatchObject({ streams: [], total: 0 });
  });

  test("are waited for while another program makes them, and no longer than is asked for", async () => {
    await using opened = await openTestStore("parity_lock");
    const { store } = opened;
    await tell(store, [["order-1", { rows: 1, sum: 1n }]]);
    const slow = waiting();
    const first = store.parity.advance(scope(), slow.fold, NEVER);
    await slow.begun;
    const startedMs = Date.now();
    const impatient = store.parity.advance(scope(), foldLast, AbortSignal.timeout(300));
    await expect(Promise.race([impatient, sleep(30_000, "still waiting")])).rejects.toMatchObject({
      name: "TimeoutError",
    });
    expect(Date.now() - startedMs).toBeLessThan(30_000);
    // Another type has a lock of its own.
    await store.parity.advance(scope({ streamType: "basket" }), foldLast, NEVER);
    const patient = store.parity.advance(scope(), foldLast, NEVER);
    slow.go();
    await Promise.all([first, patient]);
    expect((await kept(store)).touched).toEqual([]);
  });

  test("that are forgotten while they are brought up to date stay forgotten", async () => {
    await using opened = await openTestStore("parity_forget");
    const { store } = opened;
    await tell(store, [["order-1", { rows: 1, sum: 1n }]]);
    await store.parity.advance(scope(), foldLast, NEVER);
    await tell(store, [["order-1", { rows: 2, sum: 2n }]]);
    const slow = waiting();
    const first = store.parity.advance(scope(), slow.fold, NEVER);
    await slow.begun;
    await store.parity.forget("shop");
    slow.go();
    await first;
    expect(await store.parity.behind(scope(), 10)).toBeUndefined();
  });

  test("say that the store is away when their session has ended", async () => {
    await using opened = await openTestStore("parity_ended");
    const { store, database } = opened;
    await tell(store, [["order-1", { rows: 1, sum: 1n }]]);
    await store.parity.advance(scope(), foldLast, NEVER);
    const folds = await store.parity.openFolds(scope());
    await database.query(
      "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'",
    );
    const away = { code: "STORE_UNREACHABLE" };
    await expect(eventsOf(folds.events(["order-1"], NEVER))).rejects.toMatchObject(away);
    await expect(folds.foldsOf(["order-1"])).rejects.toMatchObject(away);
    await folds.close();
  });

  test("survive that a session is cut off in the middle", async () => {
    await using opened = await openTestStore("parity_cut");
    const { store, database } = opened;
    await tell(store, [
      ["order-1", { rows: 1, sum: 1n }],
      ["order-2", { rows: 1, sum: 1n }],
    ]);
    await store.parity.advance(scope(), foldLast, NEVER);
    await tell(store, [
      ["order-1", { rows: 2, sum: 2n }],
      ["order-2", { rows: 3, sum: 3n }],
    ]);
    const slow = waiting();
    const first = store.parity.advance(scope(), slow.fold, NEVER);
    first.catch(() => undefined);
    await slow.begun;
    await database.query(
      "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    );
    slow.go();
    await expect(first).rejects.toMatchObject({ code: "STORE_UNREACHABLE" });
    expect(await store.parity.behind(scope(), 10)).toBe(2);
    await store.parity.advance(scope(), foldLast, NEVER);
    const { content } = await kept(store);
    expect(content).toMatchObject([
      [[5], ["5"]],
      expect.anything(),
      expect.anything(),
      expect.anything(),
      expect.anything(),
      [],
    ]);
  });
});
