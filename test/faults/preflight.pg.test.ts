import { expect, test } from "vitest";
import { openPostgresSource } from "../../connectors/postgres/source.ts";
import type { CapturePlan, ChangeSource, Finding } from "../../src/source/change-source.ts";
import { createDatabase } from "../support/databases.ts";
import { createRole } from "../support/faults-role.ts";

/*
 * What `banyan check` prints as SQL really mends what it found: run as printed, in the order printed,
 * once, the check has nothing more to say and a baseline can be opened. What needs a server of its own
 * is in test/connectors/embedded/faults-preflight.pg.test.ts.
 */

interface Case {
  readonly what: string;
  /** DDL; `%D` is the database's name, `%P` the publication's, quoted, `%R` that of the role that captures. */
  readonly ddl: string;
  readonly plan: CapturePlan;
  /** Codes of all findings beyond `info`, in order. */
  readonly finds: readonly string[];
  /** Whether another role than the superuser captures. */
  readonly asRole?: boolean;
}

const table = (name: string, key?: readonly string[]): CapturePlan => ({
  tables: [key === undefined ? { name } : { name, key }],
});
const ITEM = "CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL);";
const PARTED = `CREATE TABLE parted (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
  CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
  CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);`;

const CASES: readonly Case[] = [
  {
    what: "no publication",
    ddl: ITEM,
    plan: table("item"),
    finds: ["publication-missing"],
  },
  {
    what: "no publication, odd names",
    ddl: `CREATE SCHEMA "My.Shop"; CREATE TABLE "My.Shop"."order ""x" (id int PRIMARY KEY);`,
    plan: table(String.raw`My\.Shop.order "x`),
    finds: ["publication-missing"],
  },
  {
    what: "no publication of a partitioned table",
    ddl: PARTED,
    plan: table("parted"),
    finds: ["publication-missing"],
  },
  {
    what: "a publication without the table",
    ddl: `${ITEM} CREATE TABLE other (id int PRIMARY KEY); CREATE PUBLICATION %P FOR TABLE other;`,
    plan: table("item"),
    finds: ["publication-lacks-table"],
  },
  {
    what: "a publication of inserts only",
    ddl: `${ITEM} CREATE PUBLICATION %P FOR TABLE item WITH (publish = 'insert');`,
    plan: table("item"),
    finds: ["publication-operations"],
  },
  {
    what: "a publication of all tables",
    ddl: `${ITEM} CREATE PUBLICATION %P FOR ALL TABLES;`,
    plan: table("item"),
    finds: ["publication-all-tables"],
  },
  {
    what: "a publication of some rows",
    ddl: `${ITEM} CREATE PUBLICATION %P FOR TABLE item WHERE (id > 5);`,
    plan: table("item"),
    finds: ["publication-row-filter"],
  },
  {
    what: "a publication of some columns",
    ddl: `${ITEM} CREATE PUBLICATION %P FOR TABLE item (id);`,
    plan: table("item"),
    finds: ["publication-column-list"],
  },
  {
    what: "partitions under their own names",
    ddl: `${PARTED} CREATE PUBLICATION %P FOR TABLE parted;`,
    plan: table("parted"),
    finds: ["publication-partition-root"],
  },
  {
    what: "a publication of one partition",
    ddl: `${PARTED} CREATE PUBLICATION %P FOR TABLE parted_1;`,
    plan: table("parted"),
    finds: ["publication-partition-root", "publication-lacks-table"],
  },
  {
    what: "a publication of one partition, under the table's name",
    ddl: `${PARTED} CREATE PUBLICATION %P FOR TABLE parted_1 WITH (publish_via_partition_root);`,
    plan: table("parted"),
    finds: ["publication-lacks-table"],
  },
  {
    what: "a publication of some rows of a partition",
    ddl: `${PARTED} CREATE PUBLICATION %P FOR TABLE parted_1 WHERE (id > 5), parted_2;`,
    plan: table("parted"),
    finds: ["publication-partition-root", "publication-lacks-table", "publication-row-filter"],
  },
  {
    what: "an unlogged table without publication",
    ddl: "CREATE UNLOGGED TABLE item (id int PRIMARY KEY, name text);",
    plan: table("item"),
    finds: ["table-unlogged", "publication-missing"],
  },
  {
    what: "an unlogged table beside a published one",
    ddl: `${ITEM} CREATE UNLOGGED TABLE fast (id int PRIMARY KEY); CREATE PUBLICATION %P FOR TABLE item;`,
    plan: { tables: [{ name: "item" }, { name: "fast" }] },
    finds: ["table-unlogged", "publication-lacks-table"],
  },
  {
    what: "no primary key and no replica identity",
    ddl: "CREATE TABLE log (at int, text text); CREATE PUBLICATION %P FOR TABLE log;",
    plan: table("log", ["at", "text"]),
    finds: ["replica-identity"],
  },
  {
    what: "replica identity nothing, although there is a primary key",
    ddl: `${ITEM} ALTER TABLE item REPLICA IDENTITY NOTHING; CREATE PUBLICATION %P FOR TABLE item;`,
    plan: table("item"),
    finds: ["replica-identity"],
  },
  {
    what: "a partition without replica identity",
    ddl: `${PARTED} ALTER TABLE parted_2 REPLICA IDENTITY NOTHING;`,
    plan: table("parted"),
    finds: ["replica-identity", "publication-missing"],
  },
  {
    what: "a replica identity without the key",
    ddl: `${ITEM} CREATE UNIQUE INDEX by_name ON item (name); ALTER TABLE item REPLICA IDENTITY USING INDEX by_name;
          CREATE PUBLICATION %P FOR TABLE item;`,
    plan: table("item"),
    finds: ["key-not-in-identity"],
  },
  {
    what: "a role without any right",
    ddl: `CREATE SCHEMA shop; CREATE TABLE shop.item (id int PRIMARY KEY); CREATE PUBLICATION %P FOR TABLE shop.item;`,
    plan: table("shop.item"),
    finds: ["role-not-replication", "select-missing"],
    asRole: true,
  },
  {
    what: "row-level security",
    ddl: `${ITEM} ALTER TABLE item ENABLE ROW LEVEL SECURITY; GRANT SELECT ON item TO %R; ALTER ROLE %R REPLICATION;
          CREATE PUBLICATION %P FOR TABLE item;`,
    plan: table("item"),
    finds: ["row-security"],
    asRole: true,
  },
  {
    what: "a short wal_sender_timeout of the database",
    ddl: `${ITEM} CREATE PUBLICATION %P FOR TABLE item; ALTER DATABASE %D SET wal_sender_timeout = '2s';`,
    plan: table("item"),
    finds: ["sender-timeout-short"],
  },
  {
    what: "a short wal_sender_timeout of the role",
    ddl: `${ITEM} CREATE PUBLICATION %P FOR TABLE item; GRANT SELECT ON item TO %R; ALTER ROLE %R REPLICATION;
          ALTER ROLE %R SET wal_sender_timeout = '2s'; ALTER ROLE %R IN DATABASE %D SET wal_sender_timeout = '1s';`,
    plan: table("item"),
    finds: ["sender-timeout-short"],
    asRole: true,
  },
  {
    what: "a child without an index on its parent's key",
    ddl: `${ITEM} CREATE TABLE part (no int PRIMARY KEY, item_id int, of int, late int, text text);
          INSERT INTO part SELECT i, i, i, 0, repeat('x', 1000) FROM generate_series(1, 20000) i;
          CREATE TABLE small (no int PRIMARY KEY, item_id int);
          CREATE INDEX ON part (no, item_id); CREATE INDEX ON part (item_id) WHERE late > 0;
          CREATE INDEX ON part (late, of);
          CREATE TABLE found (no int PRIMARY KEY, item_id int, of int);
          CREATE INDEX ON found (of, item_id, no);
          CREATE TABLE sparse (no int PRIMARY KEY, "item id" int);
          CREATE INDEX ON sparse ("item id") WHERE "item id" IS NOT NULL;
          CREATE TABLE pieces (no int, item_id int, PRIMARY KEY (no, item_id)) PARTITION BY RANGE (no);
          CREATE TABLE pieces_1 PARTITION OF pieces FOR VALUES FROM (0) TO (9);
          CREATE TABLE pieces_2 PARTITION OF pieces FOR VALUES FROM (9) TO (99);
          CREATE INDEX ON pieces_1 (item_id); CREATE INDEX ON pieces_2 (item_id);
          CREATE PUBLICATION %P FOR TABLE item, part, small, found, sparse, pieces WITH (publish_via_partition_root);`,
    plan: {
      tables: [
        { name: "item" },
        { name: "part", parent: ["item_id"] },
        { name: "small", parent: ["item_id"] },
        { name: "public.found", parent: ["item_id", "of"] },
        { name: "sparse", parent: ["item id"] },
        { name: "pieces", parent: ["item_id"] },
      ],
    },
    finds: ["parent-unindexed"],
  },
  {
    what: "everything at once",
    ddl: `CREATE SCHEMA shop; CREATE UNLOGGED TABLE shop.log (at int, text text);
          ${PARTED} ALTER TABLE parted ENABLE ROW LEVEL SECURITY; ALTER TABLE parted_1 REPLICA IDENTITY NOTHING;
          CREATE PUBLICATION %P FOR TABLE parted_1 (id, at) WITH (publish = 'insert');`,
    plan: { tables: [{ name: "shop.log", key: ["at"] }, { name: "parted" }] },
    finds: [
      "role-not-replication",
      "table-unlogged",
      "select-missing",
      "replica-identity",
      "select-missing",
      "row-security",
      "replica-identity",
      "publication-operations",
      "publication-partition-root",
      "publication-lacks-table",
      "publication-lacks-table",
      "publication-column-list",
    ],
    asRole: true,
  },
];

test.each(CASES)("the printed SQL mends: $what", async ({ ddl, plan, finds, asRole }) => {
  await using db = await createDatabase("preflight");
  await using role = await createRole(db);
  const publication = `pub "${db.name}`;
  const quoted = `"${publication.replaceAll('"', '""')}"`;
  const names: Readonly<Record<string, string>> = { D: db.name, P: quoted, R: role.name };
  await db.query(ddl.replaceAll(/%([DPR])/g, (_, name: string) => names[name]!));
  const url = asRole === true ? role.url : db.url;
  const slot = `slot_${db.name.slice(-8)}`;
  const source = openPostgresSource({ url, slot, publication });
  const opened = [source];
  try {
    const findings = await beyondInfo(source, plan);
    expect(findings.map(({ code }) => code)).toEqual(finds);
    for (const { code, mend } of findings) {
      expect(mend, `${code}`).toBeDefined();
      await db.query(mend!);
    }
    await source.close();
    const again = openPostgresSource({ url, slot, publication });
    opened.push(again);
    expect(await beyondInfo(again, plan)).toEqual([]);
    const snapshot = await again.openBaseline(plan, new AbortController().signal);
    await snapshot.close();
  } finally {
    for (const each of opened) await each.close();
  }
});

async function beyondInfo(source: ChangeSource, plan: CapturePlan): Promise<Finding[]> {
  return (await source.check(plan)).filter(({ severity }) => severity !== "info");
}
