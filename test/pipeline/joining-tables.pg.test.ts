import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { describe, expect, test } from "vitest";
import { child, inserted, stream, table } from "../../src/mapping/rules.ts";
import type { StreamRef } from "../../src/mapping/rules.ts";
import type { RecordedEvent } from "../../src/model/event.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { sourceDatabase } from "../connectors/postgres/source-support.ts";
import { startPipeline, type LivePipeline } from "../support/live-pipeline.ts";

type Streams = Readonly<Record<string, StreamRef>>;

const customer = table<{ id: number; name: string; n: number }>("customer");
const address = table<{ id: number; customer_id: number; n: number }>("address");
const ticket = table<{ id: number; n: number }>("ticket");
const remark = table<{ id: number; ticket_id: number; n: number }>("remark");

const ALONE: Streams = { customer: stream(customer, { otherwise: "CustomerAmended" }) };
const WITH_CHILD: Streams = {
  customer: stream(customer, {
    children: { addresses: child(address, { customer_id: "id" }) },
    otherwise: "CustomerAmended",
  }),
};
const WITH_STREAM: Streams = {
  ...ALONE,
  ticket: stream(ticket, {
    children: { remarks: child(remark, { ticket_id: "id" }) },
    events: { TicketOpened: inserted(ticket, { with: [remark] }) },
    otherwise: "TicketAmended",
  }),
};

const DDL = `
  CREATE TABLE customer (id int PRIMARY KEY, name text, n int NOT NULL DEFAULT 0);
  CREATE TABLE address (id int PRIMARY KEY, customer_id int NOT NULL, n int NOT NULL DEFAULT 0);
  CREATE TABLE ticket (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
  CREATE TABLE remark (id int PRIMARY KEY, ticket_id int NOT NULL, n int NOT NULL DEFAULT 0);
  INSERT INTO customer SELECT i, 'c' || i FROM generate_series(1, 20) i;
  INSERT INTO address SELECT i, 1 + i % 20 FROM generate_series(1, 40) i;
  INSERT INTO ticket SELECT i FROM generate_series(1, 30) i;
  INSERT INTO remark SELECT i, 1 + i % 30 FROM generate_series(1, 90) i;`;

interface Bench extends AsyncDisposable {
  readonly store: EventStore;
  readonly sql: (...statements: string[]) => Promise<void>;
  /** Quoted. */
  readonly publication: string;
  readonly publish: (tables: string) => Promise<void>;
  readonly session: () => Promise<Session>;
  readonly start: (streams: Streams, slotWaitMsMax?: number) => Promise<LivePipeline>;
}

interface Session {
  readonly sql: (statement: string) => Promise<void>;
  readonly end: () => Promise<void>;
}

async function bench(identity: "full" | "default"): Promise<Bench> {
  const db = await sourceDatabase("joining", DDL, "customer");
  const opened = await openTestStore("joining_store");
  const sql = async (...statements: string[]): Promise<void> => {
    for (const statement of statements) await db.query(statement);
  };
  const publication = `"${db.publication.replaceAll('"', '""')}"`;
  if (identity === "full") {
    for (const name of ["customer", "address", "ticket", "remark"])
      await sql(`ALTER TABLE ${name} REPLICA IDENTITY FULL`);
  }
  return {
    store: opened.store,
    sql,
    publication,
    publish: (tables) => sql(`ALTER PUBLICATION ${publication} ADD TABLE ${tables}`),
    async session() {
      const client = new pg.Client({ connectionString: db.url });
      await client.connect();
      return {
        sql: async (statement) => void (await client.query(statement)),
        end: () => client.end(),
      };
    },
    start: (streams, slotWaitMsMax) =>
      startPipeline({
        name: "joining",
        openSource: () => db.open(slotWaitMsMax === undefined ? {} : { slotWaitMsMax }),
        store: opened.store,
        streams,
      }),
    async [Symbol.asyncDispose]() {
      await opened[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

/** Counts every row of the tables up by one in its own transaction, over and over, until it is stopped. */
function traffic(b: Bench, tables: readonly string[]): { stop: () => Promise<void> } {
  let going = true;
  const run = (async () => {
    for (let n = 0; going && n < 100_000; n++) {
      const name = tables[n % tables.length]!;
      const id = 1 + (n % 20);
      await b.sql(
        `BEGIN; UPDATE ${name} SET n = n + 1 WHERE id = ${id}; UPDATE customer SET n = n + 1 WHERE id = ${id}; COMMIT`,
      );
      if (n % 7 === 0) await b.sql(`DELETE FROM ${name} WHERE id = ${26 + (n % 5)}`);
    }
  })();
  return {
    async stop() {
      going = false;
      await run;
    },
  };
}

async function eventsOf(store: EventStore, name: string): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for await (const event of store.readStream(name)) events.push(event);
  return events;
}

/** A counter is counted up by one each time: a change that is told twice, or not at all, breaks the chain. */
function expectUnbroken(events: readonly RecordedEvent[], role: string, id: number): number {
  let n: number | undefined;
  let told = 0;
  for (const { type, data } of events) {
    const own = type.endsWith("Baselined")
      ? ((data[role] ?? []) as { id: number; n: number }[]).concat([data as never])
      : [data as { $row?: string; id: number; n: number; $was?: { n: number } }];
    for (const row of own) {
      if (row.id !== id || row.n === undefined) continue;
      if (!type.endsWith("Baselined") && (row as { $row?: string }).$row !== role) continue;
      const was = (row as { $was?: { n: number } }).$was?.n;
      if (was !== undefined) expect(was).toBe(n);
      if (n !== undefined) told += 1;
      n = row.n;
    }
  }
  return told;
}

describe.each(["full", "default"] as const)("with replica identity %s", (identity) => {
  test("a stream that joins a running pipeline is baselined beside live traffic, and no change is told twice or left out", async () => {
    await using b = await bench(identity);
    {
      await using first = await b.start(ALONE);
      await first.reach();
      await first.stop();
    }
    const busy = traffic(b, ["ticket", "remark", "address"]);
    const open = await b.session();
    await open.sql("BEGIN");
    await open.sql("UPDATE ticket SET n = n + 1 WHERE id = 24");
    await sleep(150);
    await b.publish("ticket, remark");
    await open.sql("INSERT INTO ticket VALUES (1000)");
    const starting = b.start(WITH_STREAM);
    await sleep(400);
    // Not before this, for nobody would tell of its first change.
    expect(await b.store.pipeline("joining")).toMatchObject({
      tables: [{ table: "public.customer" }],
    });
    await open.sql("COMMIT");
    await open.end();
    await using second = await starting;
    await second.until(() => second.status()?.phase === "tail");
    await sleep(300);
    await busy.stop();
    await second.reach();
    expect(await second.verify()).toMatchObject({ state: "equal", samples: [] });
    const events = await eventsOf(b.store, "ticket-1");
    expect(events[0]).toMatchObject({ type: "TicketBaselined", origin: "baseline", version: 1 });
    expectUnbroken(events, "ticket", 1);
    expect((await eventsOf(b.store, "ticket-1000")).map(({ version }) => version)).toEqual([1]);
    expect((await eventsOf(b.store, "ticket-24"))[0]!.data).toMatchObject({ id: 24, n: 1 });
    await second.stop();
    // And once more from the start, where nothing joins any more.
    await b.sql("UPDATE ticket SET n = n + 1");
    await using third = await b.start(WITH_STREAM);
    await third.reach();
    expect(await third.verify()).toMatchObject({ state: "equal" });
    await third.stop();
  });

  test("a child that joins a stream adds its rows to the aggregates that are there", async () => {
    await using b = await bench(identity);
    {
      await using first = await b.start(ALONE);
      await first.reach();
      await first.stop();
    }
    const busy = traffic(b, ["address"]);
    await sleep(100);
    await b.publish("address");
    await b.sql("INSERT INTO customer VALUES (77, 'late')", "INSERT INTO address VALUES (77, 77)");
    await using second = await b.start(WITH_CHILD);
    await second.until(() => second.status()?.phase === "tail");
    await second.until(
      async () => expectUnbroken(await eventsOf(b.store, "customer-2"), "addresses", 1) > 0,
    );
    await busy.stop();
    await second.reach();
    expect(await second.verify()).toMatchObject({ state: "equal", samples: [] });
    const events = await eventsOf(b.store, "customer-1");
    expect(events.map(({ version }) => version)).toEqual(events.map((_, i) => i + 1));
    const baselines = events.filter(({ origin }) => origin === "baseline");
    expect(
      baselines.map(({ data }) => [data["$root"], (data["addresses"] as unknown[])?.length]),
    ).toEqual([
      [undefined, undefined],
      [null, 2],
    ]);
    expect(expectUnbroken(await eventsOf(b.store, "customer-2"), "addresses", 1)).toBeGreaterThan(
      0,
    );
    await second.stop();
  });
});

test("a run that is ended while a stream joins begins that again, and leaves nothing half done", async () => {
  await using b = await bench("full");
  {
    await using first = await b.start(ALONE);
    await first.reach();
    await first.stop();
  }
  await b.publish("ticket, remark");
  const open = await b.session();
  await open.sql("BEGIN");
  await open.sql("UPDATE remark SET n = 5 WHERE id = 1");
  {
    await using blocked = await b.start(WITH_STREAM, 300);
    await expect(blocked.until(() => false)).rejects.toMatchObject({
      code: "ADDITION_BLOCKED",
      recovery: "retry",
      message: expect.stringMatching(/public\.ticket, public\.remark .* process \d+/) as unknown,
      hint: expect.stringContaining("pg_terminate_backend") as unknown,
    });
  }
  expect(
    (await b.store.readAll(undefined, 100)).events.filter(({ stream }) =>
      stream.startsWith("ticket"),
    ),
  ).toEqual([]);
  await open.sql("COMMIT");
  await open.end();
  await using second = await b.start(WITH_STREAM);
  await second.reach();
  expect(await second.verify()).toMatchObject({ state: "equal" });
  await second.stop();
});

test("a transaction that began beside the ALTER PUBLICATION, on a server where nothing else goes on, is waited for", async () => {
  await using b = await bench("full");
  {
    await using first = await b.start(ALONE);
    await first.reach();
    await first.stop();
  }
  const admin = await b.session();
  const writer = await b.session();
  await admin.sql("BEGIN");
  await admin.sql(`ALTER PUBLICATION ${b.publication} ADD TABLE ticket, remark`);
  await writer.sql("BEGIN");
  await writer.sql("INSERT INTO ticket VALUES (2000)");
  await admin.sql("COMMIT");
  await using second = await b.start(WITH_STREAM);
  await sleep(500);
  await writer.sql("COMMIT");
  await Promise.all([admin.end(), writer.end()]);
  await second.reach();
  expect(await second.verify()).toMatchObject({ state: "equal", samples: [] });
  await second.stop();
});

test("a table that the publication does not have is refused with the SQL, before anything is written", async () => {
  await using b = await bench("full");
  {
    await using first = await b.start(ALONE);
    await first.reach();
    await first.stop();
  }
  await using second = await b.start(WITH_CHILD);
  await expect(second.until(() => false)).rejects.toMatchObject({
    code: "SOURCE_NOT_READY",
    hint: expect.stringContaining('ADD TABLE "public"."address"') as unknown,
  });
  expect((await b.store.pipeline("joining"))!.tables).toHaveLength(1);
});

test("a table that leaves the config is noted, its events stay, and it may not come back unseen", async () => {
  await using b = await bench("full");
  await b.publish("ticket, remark");
  {
    await using first = await b.start(WITH_STREAM);
    await first.reach();
    await first.stop();
  }
  {
    await using second = await b.start(ALONE);
    await b.sql("UPDATE ticket SET n = n + 1");
    await second.reach();
    expect(await second.verify()).toMatchObject({ state: "equal", compared: 20 });
    await second.stop();
  }
  const { tables } = (await b.store.pipeline("joining"))!;
  expect(tables.map(({ table, left }) => [table, left !== undefined])).toEqual([
    ["public.customer", false],
    ["public.remark", true],
    ["public.ticket", true],
  ]);
  expect(await eventsOf(b.store, "ticket-1")).toHaveLength(1);
  await using third = await b.start(WITH_STREAM);
  await expect(third.until(() => false)).rejects.toMatchObject({
    code: "MAPPING_INVALID",
    message: expect.stringContaining("public.ticket was captured until") as unknown,
  });
});
