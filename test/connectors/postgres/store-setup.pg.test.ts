import { randomBytes } from "node:crypto";
import pg from "pg";
import { describe, expect, inject, test } from "vitest";
import { openTestStore } from "./event-store-fixture.ts";
import { openPostgresEventStore } from "../../../connectors/postgres/event-store.ts";
import { batchOf, event, streamOf, tailing } from "../../contract/event-batches.ts";
import { createDatabase } from "../../support/databases.ts";

describe("setting the store up", () => {
  test("several programs that start at once on an empty database all find it set up once", async () => {
    await using db = await createDatabase("setup");
    const stores = await Promise.all(
      Array.from({ length: 6 }, () => openPostgresEventStore({ url: db.url })),
    );
    await Promise.all(stores.map((store) => store.migrate()));
    await Promise.all(stores.map((store) => store.append("order-1", [event()], "any")));
    expect(await streamOf(stores[0]!, "order-1")).toHaveLength(6);
    await Promise.all(stores.map((store) => store.close()));
    const { rows } = await db.query("SELECT name FROM banyan.migrations ORDER BY name");
    expect(rows.length).toBeGreaterThan(0);
  });

  test("a store that a newer program made is refused, and nothing in it is touched", async () => {
    await using opened = await openTestStore("setup");
    await opened.database.query("INSERT INTO banyan.migrations VALUES ('999-future.sql', 'x')");
    await expect(opened.store.migrate()).rejects.toMatchObject({
      code: "STORE_SCHEMA_NEWER",
      message: expect.stringContaining("999-future.sql") as unknown,
      recovery: "operator",
    });
  });

  test("a store made by an edited migration is a bug, not a silent difference", async () => {
    await using opened = await openTestStore("setup");
    await opened.database.query(
      "UPDATE banyan.migrations SET checksum = 'x' WHERE name LIKE '001%'",
    );
    await expect(opened.store.migrate()).rejects.toMatchObject({ code: "INVARIANT_BROKEN" });
  });

  test("a role that may not set it up is told who may", async () => {
    await using db = await createDatabase("setup");
    const role = `poor_${randomBytes(4).toString("hex")}`;
    await db.query(`CREATE ROLE ${role} LOGIN PASSWORD 'p'`);
    const url = new URL(db.url);
    url.username = role;
    url.password = "p";
    const store = await openPostgresEventStore({ url: url.href });
    await expect(store.migrate()).rejects.toMatchObject({
      code: "STORE_REFUSED",
      hint: expect.stringContaining("owns") as unknown,
    });
    await store.close();
    await db.query(`DROP ROLE ${role}`);
  });

  test("a database whose encoding cannot keep every text is refused with the SQL for another", async () => {
    const name = `test_latin_${randomBytes(4).toString("hex")}`;
    const admin = new pg.Client(inject("pgUrl"));
    await admin.connect();
    try {
      for (const encoding of ["LATIN1", "SQL_ASCII"]) {
        await admin.query(
          `CREATE DATABASE ${name} TEMPLATE template0 ENCODING '${encoding}' LOCALE 'C'`,
        );
        const url = new URL(inject("pgUrl"));
        url.pathname = `/${name}`;
        const store = await openPostgresEventStore({ url: url.href });
        await expect(store.migrate()).rejects.toMatchObject({
          code: "STORE_REFUSED",
          message: expect.stringContaining(encoding) as unknown,
          hint: expect.stringContaining("ENCODING 'UTF8'") as unknown,
        });
        await store.close();
        await admin.query(`DROP DATABASE ${name}`);
      }
    } finally {
      await admin.query(`DROP DATABASE IF EXISTS ${name}`);
      await admin.end();
    }
  });

  test("a read-only database can be read, and says why it takes no event", async () => {
    await using opened = await openTestStore("setup");
    await opened.store.append("order-1", [event()], "none");
    await opened.database.query(
      `ALTER DATABASE ${opened.database.name} SET default_transaction_read_only = on`,
    );
    const store = await openPostgresEventStore({ url: opened.database.url });
    await store.migrate();
    expect((await store.readAll(undefined, 10)).events).toHaveLength(1);
    const refusal = { code: "STORE_REFUSED", hint: expect.stringContaining("standby") as unknown };
    await expect(store.append("order-2", [event()], "none")).rejects.toMatchObject(refusal);
    await expect(store.openCapture("shop", "test://source")).rejects.toMatchObject(refusal);
    await store.close();
  });
});

describe("a store that was restored from a dump on a younger server", () => {
  test("is refused until its transaction ids are given a base, and then goes on in order", async () => {
    await using opened = await openTestStore("restored");
    const { store, database } = opened;
    await store.append("order-1", [event("Before")], "none");
    // What a dump brings along: ids that this server will not give out for a long time.
    await database.query(`
      INSERT INTO banyan.events (transaction_id, position, event_id, version, time, origin, stream_id, type, data)
      SELECT (pg_current_xact_id()::text::bigint + 5000000000)::text::xid8, 7, gen_random_uuid(), 2, now(), 'native', 'order-1', 'Restored', '{}'`);
    const page = await store.readAll(undefined, 10);
    expect(page.events.map(({ type }) => type)).toEqual(["Before"]);
    await expect(store.migrate()).rejects.toMatchObject({
      code: "STORE_REFUSED",
      hint: expect.stringContaining("SELECT banyan.rebase()") as unknown,
    });
    await database.query("SELECT banyan.rebase()");
    await store.migrate();
    const writer = await store.openCapture("shop", "test://source");
    await writer.stage({ events: batchOf([{ stream: "order-2", version: 1, type: "Captured" }]) });
    // Written to by another while the transaction is open, as on any other day.
    await store.append("order-3", [event("Native")], "none");
    await expect(writer.versions(["order-1", "order-3"])).rejects.toMatchObject({
      code: "STREAM_VERSION_CONFLICT",
    });
    expect(await writer.versions(["order-1"])).toEqual([2]);
    await writer.commit(tailing(1));
    await writer.close();
    await store.append("order-1", [event("After")], 2);
    // A cursor from before goes on where it was.
    const rest = await store.readAll(page.next, 10);
    expect(rest.events.map(({ type }) => type)).toEqual([
      "Restored",
      "Captured",
      "Native",
      "After",
    ]);
    // Again is harmless.
    await database.query("SELECT banyan.rebase()");
    await store.append("order-1", [event("Last")], 3);
    expect((await store.readAll(rest.next, 10)).events.map(({ type }) => type)).toEqual(["Last"]);
  });
});
