import { describe, expect, test } from "vitest";
import { child, inserted, stream, table, updated, changed } from "../../src/mapping/rules.ts";
import type { StreamRef } from "../../src/mapping/rules.ts";
import type { RecordedEvent } from "../../src/model/event.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { sourceDatabase } from "../connectors/postgres/source-support.ts";
import { startPipeline, type LivePipeline } from "../support/live-pipeline.ts";

const item = table<{ id: number; name: string }>("item");
const part = table<{ id: number; item_id: number; label: string }>("part");

/** A root with children, taken along by the root's insert, as most aggregates are. */
const STREAMS: Readonly<Record<string, StreamRef>> = {
  item: stream(item, {
    children: { parts: child(part, { item_id: "id" }) },
    events: {
      ItemMade: inserted(item, { with: [part] }),
      ItemNamed: updated(item, changed("name")),
    },
    otherwise: "ItemAmended",
  }),
};

const DDL = `
  CREATE TABLE item (id int PRIMARY KEY, name text, extra varchar(9) DEFAULT 'old');
  CREATE TABLE part (id int PRIMARY KEY, item_id int REFERENCES item DEFERRABLE, label text);
  INSERT INTO item SELECT i, 'n' || i FROM generate_series(1, 5) i;
  INSERT INTO part SELECT i, 1 + i % 5, 'p' || i FROM generate_series(1, 8) i`;

/**
 * `full`: the log tells old rows; `default`: Banyan keeps an image of each row. The pipeline sees the
 * log while the schema changes, or only later, with the new catalogue. All four in the larger budget.
 */
const CASES = [
  ["default", "while it runs"],
  ["full", "while it is down"],
  ["full", "while it runs"],
  ["default", "while it is down"],
].slice(0, process.env["BANYAN_TEST_BUDGET"] === "nightly" ? 4 : 2) as [string, string][];

interface Bench extends AsyncDisposable {
  readonly sql: (...statements: string[]) => Promise<void>;
  /** The pipeline, started again when it was down. */
  readonly pipeline: () => LivePipeline;
  /** Changes the schema, then rows, then has the pipeline take it all in. */
  readonly change: (ddl: readonly string[], rows: readonly string[]) => Promise<void>;
  readonly expectEqual: () => Promise<void>;
  readonly eventsOf: (stream: string) => Promise<RecordedEvent[]>;
}

async function bench(identity: string, time: string): Promise<Bench> {
  const db = await sourceDatabase(`drift ${identity}`, DDL, "item, part");
  const opened = await openTestStore("drift_store");
  const sql = async (...statements: string[]): Promise<void> => {
    for (const statement of statements) await db.query(statement);
  };
  if (identity === "full")
    await sql("ALTER TABLE item REPLICA IDENTITY FULL", "ALTER TABLE part REPLICA IDENTITY FULL");
  const start = (): Promise<LivePipeline> =>
    startPipeline({
      name: "drift",
      openSource: () => db.open(),
      store: opened.store,
      streams: STREAMS,
    });
  let pipeline = await start();
  await pipeline.reach();
  // The log has shown both tables, as it would have in ordinary life.
  await sql(
    "UPDATE item SET name = 'first' WHERE id = 1",
    "UPDATE part SET label = 'first' WHERE id = 1",
  );
  await pipeline.reach();
  return {
    sql,
    pipeline: () => pipeline,
    async change(ddl, rows) {
      if (time === "while it is down") await pipeline[Symbol.asyncDispose]();
      await sql(...ddl, ...rows);
      if (time === "while it is down") pipeline = await start();
      await pipeline.reach();
    },
    async expectEqual() {
      const report = await pipeline.verify();
      expect(report.samples).toEqual([]);
      expect(report.state).toBe("equal");
    },
    async eventsOf(stream) {
      const events: RecordedEvent[] = [];
      for await (const event of opened.store.readStream(stream)) events.push(event);
      return events;
    },
    async [Symbol.asyncDispose]() {
      await pipeline[Symbol.asyncDispose]();
      await opened[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

describe.each(CASES)("replica identity %s, %s", (identity, time) => {
  test("rows have the default of a column that is added", async () => {
    await using b = await bench(identity, time);
    await b.change(
      [
        "ALTER TABLE item ADD COLUMN colour text NOT NULL DEFAULT 'grey, or ''none'''",
        "ALTER TABLE part ADD COLUMN sizes int[] DEFAULT '{1,2}', ADD COLUMN plain text",
      ],
      [],
    );
    // Nothing has told the log of it so far.
    await b.expectEqual();
    await b.change(
      [],
      [
        "UPDATE item SET name = 'renamed' WHERE id = 2",
        "UPDATE part SET label = 'relabelled' WHERE id = 3",
        "UPDATE item SET colour = 'red' WHERE id = 3",
        `BEGIN; INSERT INTO item (id, name) VALUES (11, 'eleven');
       INSERT INTO part (id, item_id, label, sizes, plain) VALUES (90, 11, 'x', '{7}', 'new'); COMMIT`,
      ],
    );
    await b.expectEqual();
    expect((await b.eventsOf("item-2")).at(-1)!.data).toEqual({
      id: 2,
      name: "renamed",
      $was: { name: "n2" },
    });
    expect((await b.eventsOf("item-3")).map(({ type }) => type)).toContain("ItemAmended");
    expect((await b.eventsOf("item-3")).at(-1)!.data).toMatchObject({
      colour: "red",
      $was: { colour: "grey, or 'none'" },
    });
    expect((await b.eventsOf("item-11"))[0]!.data).toMatchObject({
      parts: [{ id: 90, sizes: "{7}", plain: "new" }],
    });
    // The server forgets the default that old rows got; the mapping does not.
    await b.change(
      ["ALTER TABLE item ALTER COLUMN colour SET DEFAULT 'green'", "VACUUM FULL item"],
      ["INSERT INTO item (id, name) VALUES (10, 'ten')"],
    );
    await b.expectEqual();
  });

  test("rows keep the values of a column that is renamed", async () => {
    await using b = await bench(identity, time);
    await b.change(["ALTER TABLE item RENAME COLUMN extra TO surplus"], []);
    await b.expectEqual();
    await b.change(
      [],
      [
        "UPDATE item SET name = 'renamed' WHERE id = 2",
        "UPDATE item SET surplus = 'new' WHERE id = 3",
        "UPDATE item SET surplus = NULL WHERE id = 4",
      ],
    );
    await b.expectEqual();
    expect((await b.eventsOf("item-2")).at(-1)!.data).toEqual({
      id: 2,
      name: "renamed",
      $was: { name: "n2" },
    });
    await b.change(
      ["ALTER TABLE item RENAME COLUMN surplus TO rest", "ALTER TABLE item ALTER rest TYPE text"],
      ["UPDATE item SET rest = 'newer' WHERE id = 5"],
    );
    await b.expectEqual();
    expect((await b.eventsOf("item-5")).at(-1)!.data).toMatchObject({
      rest: "newer",
      $was: { rest: "old" },
    });
  });

  test("a column that no rule uses is dropped, and nothing else happens", async () => {
    await using b = await bench(identity, time);
    await b.change(
      ["ALTER TABLE item DROP COLUMN extra"],
      [
        "UPDATE item SET name = 'renamed' WHERE id = 2",
        "INSERT INTO item VALUES (12, 'twelve')",
        "DELETE FROM item WHERE id = 12",
      ],
    );
    await b.expectEqual();
  });
});

test("a rule's column that is dropped before the log shows the table stops its streams, and says so", async () => {
  const db = await sourceDatabase("drift early", DDL, "item, part");
  const opened = await openTestStore("drift_store");
  await using pipeline = await startPipeline({
    name: "drift",
    openSource: () => db.open(),
    store: opened.store,
    streams: STREAMS,
  });
  await pipeline.reach();
  await db.query("ALTER TABLE item DROP COLUMN name");
  await db.query("UPDATE item SET extra = 'x' WHERE id = 1");
  await pipeline.reach();
  expect(pipeline.drifts[0]).toMatchObject({ dropped: ["name"], broken: { code: "SCHEMA_DRIFT" } });
  const [parked] = await opened.store.quarantine.list({ pipeline: "drift" });
  expect(parked).toMatchObject({ stream: "item-1", code: "SCHEMA_DRIFT" });
  expect(parked!.reason).toContain("rule ItemNamed");
  await pipeline.stop();
  await opened[Symbol.asyncDispose]();
  await db[Symbol.asyncDispose]();
});

test("what the log does not tell of a schema change is said, and never called equal", async () => {
  await using b = await bench("full", "while it runs");
  await b.change(
    [
      "ALTER TABLE item ADD COLUMN token uuid DEFAULT gen_random_uuid()",
      "ALTER TABLE part ALTER COLUMN label TYPE bytea USING convert_to(label, 'UTF8')",
    ],
    ["UPDATE item SET name = 'x' WHERE id = 1", "UPDATE part SET label = 'x' WHERE id = 1"],
  );
  expect(b.pipeline().drifts).toMatchObject([
    { table: "public.item", added: ["token"], untold: [{ column: "token", why: "added" }] },
    { table: "public.part", retyped: ["label"], untold: [{ column: "label", why: "retyped" }] },
  ]);
  const report = await b.pipeline().verify();
  expect(report.state).toBe("different");
  expect(report.reasons.join("\n")).toMatch(/public\.item.*token[^]*public\.part.*label/);
});
