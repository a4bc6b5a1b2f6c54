import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { expect, test } from "vitest";
import { openTestStore } from "./event-store-fixture.ts";
import { openPostgresEventStore } from "../../../connectors/postgres/event-store.ts";
import { batchOf, event, streamOf, tailing } from "../../contract/event-batches.ts";
import { createDatabase } from "../../support/databases.ts";
import type { RecordedEvent } from "../../../src/model/event.ts";
import type { EventStore, FeedCursor } from "../../../src/store/event-store.ts";

const SOURCE = "test://source";
const NIGHTLY = process.env["BANYAN_TEST_BUDGET"] === "nightly";

test("any number of programs that append to one stream leave neither a gap nor a double", async () => {
  await using opened = await openTestStore("crowd");
  const stores = await Promise.all(
    Array.from({ length: 6 }, () =>
      openPostgresEventStore({ url: opened.database.url, sessionsMax: 12 }),
    ),
  );
  const appends = NIGHTLY ? 1_200 : 360;
  const batches = Array.from({ length: appends }, (_, i) => [event(`A${i}`), event(`B${i}`)]);
  const results = await Promise.all(
    batches.map((batch, i) => stores[i % stores.length]!.append("order-1", batch, "any")),
  );
  const stored = await streamOf(opened.store, "order-1");
  expect(stored.map(({ version }) => version)).toEqual(stored.map((_, i) => i + 1));
  expect(stored).toHaveLength(2 * appends);
  results.forEach(({ firstVersion }, i) => {
    expect(stored[firstVersion - 1]!.id).toBe(batches[i]![0]!.id);
    expect(stored[firstVersion]!.id).toBe(batches[i]![1]!.id);
  });
  await Promise.all(stores.map((store) => store.close()));
});

test("a counter that many decide on by its exact version is never decided on twice", async () => {
  await using opened = await openTestStore("crowd");
  const stores = await Promise.all(
    Array.from({ length: 4 }, () => openPostgresEventStore({ url: opened.database.url })),
  );
  const goal = NIGHTLY ? 400 : 60;
  let conflicts = 0;
  const decide = async (store: EventStore): Promise<void> => {
    for (let attempt = 0; attempt < 100_000; attempt++) {
      const version = (await streamOf(store, "counter-1")).length;
      if (version >= goal) return;
      const data = { count: version + 1 };
      try {
        await store.append("counter-1", [{ ...event(), data }], version);
      } catch (error) {
        expect(error).toMatchObject({ code: "STREAM_VERSION_CONFLICT" });
        conflicts += 1;
      }
    }
  };
  await Promise.all(stores.map(decide));
  const counted = (await streamOf(opened.store, "counter-1")).map(({ data }) => data["count"]);
  expect(counted).toEqual(Array.from({ length: goal }, (_, i) => i + 1));
  expect(conflicts).toBeGreaterThan(0);
  await Promise.all(stores.map((store) => store.close()));
});

test("a reader that follows many writers, one of them stuck, sees each event once and each stream in order", async () => {
  await using opened = await openTestStore("feed");
  const { store, database } = opened;
  const writers = await Promise.all(
    Array.from({ length: 3 }, () => openPostgresEventStore({ url: database.url })),
  );
  const seen: RecordedEvent[] = [];
  let done = false;
  let cursor: FeedCursor | undefined;
  const pull = async (): Promise<number> => {
    const page = await store.readAll(cursor, 50);
    seen.push(...page.events);
    cursor = page.next;
    return page.events.length;
  };
  const reading = (async () => {
    while (!done) await pull();
  })();
  // A transaction that has written and is left open while the others go on.
  const stuck = new pg.Client(database.url);
  await stuck.connect();
  await stuck.query("BEGIN");
  await stuck.query(
    `INSERT INTO banyan.events (event_id, version, time, origin, stream_id, type, data)
     VALUES (gen_random_uuid(), 1, now(), 'native', 'slow-1', 'Late', '{}')`,
  );
  const capture = await store.openCapture("shop", SOURCE);
  const rounds = NIGHTLY ? 200 : 25;
  const captured = (async () => {
    for (let round = 0; round < rounds; round++) {
      const own = { stream: `own-${round % 5}`, version: Math.floor(round / 5) + 1 };
      await capture.stage({ events: batchOf([own]) });
      await capture.commit(tailing(round));
    }
  })();
  await Promise.all([
    captured,
    ...writers.map(async (writer, w) => {
      for (let round = 0; round < rounds; round++) {
        await writer.append(`shared-${round % 3}`, [event(`w${w}`), event(`w${w}`)], "any");
      }
    }),
  ]);
  await sleep(50);
  // What was committed after the stuck one began is not safe to show, and it is known why.
  expect(seen).toEqual([]);
  const { rows: own } = await stuck.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
  const hold = await store.feedHold();
  expect(hold).toMatchObject({ events: rounds + writers.length * rounds * 2 });
  expect(hold!.holders.map(({ pid }) => pid)).toContain(own[0]!.pid);
  await stuck.query("COMMIT");
  await stuck.end();
  done = true;
  await reading;
  while ((await pull()) > 0);
  expect(seen).toHaveLength(1 + rounds + writers.length * rounds * 2);
  expect(new Set(seen.map(({ id }) => id)).size).toBe(seen.length);
  const heads = new Map<string, number>();
  for (const { stream, version } of seen) {
    expect(version).toBe((heads.get(stream) ?? 0) + 1);
    heads.set(stream, version);
  }
  expect(seen[0]!.stream).toBe("slow-1");
  expect((await store.feedHold())?.holders.map(({ pid }) => pid) ?? []).not.toContain(own[0]!.pid);
  await capture.close();
  await Promise.all(writers.map((writer) => writer.close()));
});

test("a transaction left open in another database holds readers up, and is named with its program", async () => {
  await using opened = await openTestStore("feed");
  await using other = await createDatabase("elsewhere");
  await other.query("CREATE TABLE t (id int)");
  const url = new URL(other.url);
  url.searchParams.set("application_name", "month end");
  const stuck = new pg.Client(url.href);
  await stuck.connect();
  await stuck.query("BEGIN; INSERT INTO t VALUES (1)");
  // Nothing waits yet.
  expect(await opened.store.feedHold()).toBeUndefined();
  await opened.store.append("order-1", [event(), event()], "none");
  const hold = await opened.store.feedHold();
  expect(hold!.events).toBe(2);
  expect(hold!.holders.map(({ what }) => what)).toContainEqual(
    expect.stringMatching(
      new RegExp(`^process \\d+ \\(month end\\) idle in transaction, in database ${other.name}$`),
    ),
  );
  expect((await opened.store.readAll(undefined, 10)).events).toEqual([]);
  await stuck.query("ROLLBACK");
  await stuck.end();
});

test("services and the capture write to the same streams, and readers see their order", async () => {
  await using opened = await openTestStore("mixed");
  const { store } = opened;
  const rounds = NIGHTLY ? 150 : 25;
  let retries = 0;
  const capturing = (async () => {
    for (let round = 0; round < rounds;) {
      const writer = await store.openCapture("shop", SOURCE);
      try {
        for (; round < rounds; round++) {
          const [head] = await writer.versions(["order-1"]);
          await writer.stage({ events: batchOf([{ stream: "order-1", version: head! + 1 }]) });
          // A second look while the transaction is open.
          const [other] = await writer.versions(["order-2"]);
          await writer.stage({ events: batchOf([{ stream: "order-2", version: other! + 1 }]) });
          await writer.commit(tailing(round));
        }
      } catch (error) {
        expect(error).toMatchObject({ code: "STREAM_VERSION_CONFLICT" });
        retries += 1;
        if (retries > rounds * 50) throw error;
      } finally {
        await writer.close();
      }
    }
  })();
  const native = (async () => {
    for (let round = 0; round < rounds; round++) {
      await store.append(`order-${(round % 2) + 1}`, [event("Native")], "any");
      await sleep(3);
    }
  })();
  await Promise.all([capturing, native]);
  const { events } = await store.readAll(undefined, 10_000);
  expect(events).toHaveLength(3 * rounds);
  const heads = new Map<string, number>();
  for (const { stream, version } of events) {
    expect(version).toBe((heads.get(stream) ?? 0) + 1);
    heads.set(stream, version);
  }
});
