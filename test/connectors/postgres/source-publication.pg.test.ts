import { describe, expect, test } from "vitest";
import { sourceDatabase, startOf, type SourceDatabase } from "./source-support.ts";
import { readTables, type Ask } from "../../../connectors/postgres/catalogue.ts";
import { requirePublished } from "../../../connectors/postgres/check-publication.ts";
import { openPostgresEventStore } from "../../../connectors/postgres/event-store.ts";
import type { CapturePlan } from "../../../src/source/change-source.ts";

const DDL = `
  CREATE TABLE item (id int PRIMARY KEY, name text);
  CREATE TABLE line (id int PRIMARY KEY, note text);
  CREATE TABLE part (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
  CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);`;
const ITEM_AND_LINE: CapturePlan = { tables: [{ name: "public.item" }, { name: "public.line" }] };
const never = new AbortController().signal;

/** What an incomplete publication leaves out is lost without a word, so nothing may begin with one. */
const INCOMPLETE: readonly (readonly [string, string, string, CapturePlan])[] = [
  ["a table", "FOR TABLE item", "publication-lacks-table", ITEM_AND_LINE],
  [
    "an operation",
    "FOR TABLE item, line WITH (publish = 'insert, update')",
    "publication-operations",
    ITEM_AND_LINE,
  ],
  ["rows", "FOR TABLE item WHERE (id > 1), line", "publication-row-filter", ITEM_AND_LINE],
  ["columns", "FOR TABLE item (id), line", "publication-column-list", ITEM_AND_LINE],
  [
    "the name of a partitioned table",
    "FOR TABLE part",
    "publication-partition-root",
    { tables: [{ name: "public.part" }] },
  ],
  [
    "the name of a partition, whose table the plan has too",
    "FOR TABLE part, part_1 WITH (publish_via_partition_root)",
    "partition-shared",
    { tables: [{ name: "public.part" }, { name: "public.part_1" }] },
  ],
];

describe("a publication that leaves out", () => {
  test.each(INCOMPLETE)("%s is no beginning", async (_what, members, code, plan) => {
    await using db = await published(members);
    const source = db.open();
    expect((await source.check(plan)).map((finding) => finding.code)).toContain(code);
    await expect(source.openBaseline(plan, never)).rejects.toMatchObject({
      code: "SOURCE_NOT_READY",
      detail: { findings: code },
    });
    // And nothing was left behind.
    const { rows } = await db.query("SELECT FROM pg_replication_slots WHERE slot_name = $1", [
      db.slot,
    ]);
    expect(rows).toEqual([]);
  });

  test("a table since the last run ends the next run before it reads", async () => {
    await using db = await published("FOR TABLE item, line");
    const position = await startOf(db.open(), ITEM_AND_LINE);
    await db.query(`ALTER PUBLICATION ${db.quoted} DROP TABLE line`);
    await db.query("INSERT INTO line VALUES (1, 'unseen'); INSERT INTO item VALUES (1, 'seen')");
    const source = db.open();
    await source.discover(ITEM_AND_LINE.tables);
    const read = async (): Promise<void> => {
      for await (const _ of source.stream(position, never)) throw new Error("it began to read");
    };
    await expect(read()).rejects.toMatchObject({
      code: "SOURCE_NOT_READY",
      message: expect.stringContaining("public.line") as unknown,
      hint: expect.stringContaining("ADD TABLE") as unknown,
    });
  });
});

test("a table that is renamed or dropped while the publication is looked at is missing, not left out", async () => {
  await using db = await published("FOR TABLE item, line");
  const ask: Ask = async <Row>(_doing: string, sql: string, params: readonly unknown[]) =>
    (await db.query(sql, [...params])).rows as Row[];
  const names = ITEM_AND_LINE.tables.map(({ name }) => name);
  const entries = await readTables(ask, names, db.publication, new Map());
  await requirePublished(ask, db.publication, entries);
  await db.query("ALTER TABLE line RENAME TO row; DROP TABLE item");
  await expect(requirePublished(ask, db.publication, entries)).rejects.toMatchObject({
    code: "TABLE_MISSING",
    detail: { tables: "public.item, public.line" },
  });
});

describe("a publication that holds Banyan's own tables", () => {
  test("would be captured for ever, so it is refused with the SQL that mends it", async () => {
    await using db = await published("FOR ALL TABLES");
    const source = db.open();
    const before = await source.check(ITEM_AND_LINE);
    expect(before.map(({ code }) => code)).toContain("publication-all-tables");
    const store = await openPostgresEventStore({ url: db.url });
    await store.migrate();
    await store.close();
    const found = (await source.check(ITEM_AND_LINE)).find(
      ({ code }) => code === "publication-has-store",
    );
    expect(found).toMatchObject({ severity: "error" });
    await expect(source.openBaseline(ITEM_AND_LINE, never)).rejects.toMatchObject({
      code: "SOURCE_NOT_READY",
    });
    await db.query(found!.mend!);
    const after = await source.check(ITEM_AND_LINE);
    expect(after.filter(({ severity }) => severity !== "info")).toEqual([]);
    await startOf(source, ITEM_AND_LINE);
  });

  test("is refused too when it names only some of them", async () => {
    await using db = await published("FOR TABLE item, line");
    const store = await openPostgresEventStore({ url: db.url });
    await store.migrate();
    await store.close();
    const source = db.open();
    await startOf(source, ITEM_AND_LINE);
    await db.query(`ALTER PUBLICATION ${db.quoted} ADD TABLE banyan.events`);
    const found = (await source.check(ITEM_AND_LINE)).filter(
      ({ severity }) => severity === "error",
    );
    expect(found.map(({ code }) => code)).toEqual(["publication-has-store"]);
    await db.query(found[0]!.mend!);
    expect(await db.query("SELECT FROM pg_publication_tables")).toMatchObject({ rowCount: 2 });
  });
});

async function published(members: string): Promise<SourceDatabase & { readonly quoted: string }> {
  const db = await sourceDatabase("publication", DDL);
  const quoted = `"${db.publication.replaceAll('"', '""')}"`;
  await db.query(`CREATE PUBLICATION ${quoted} ${members}`);
  return { ...db, quoted };
}
