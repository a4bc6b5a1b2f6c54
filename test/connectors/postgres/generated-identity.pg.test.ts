import { expect, test } from "vitest";
import { openPostgresSource } from "../../../connectors/postgres/source.ts";
import type { CapturePlan } from "../../../src/source/change-source.ts";
import { createDatabase } from "../../support/databases.ts";

/*
 * Since version 18 the server refuses UPDATE and DELETE of a published table whose replica identity has
 * generated columns that the publication does not send. To publish such a table as it is would break
 * the application; `check` says so before, and what it prints leaves the application at its work.
 */

const STORED = "b int GENERATED ALWAYS AS (a * 2) STORED";
const TABLES: readonly (readonly [string, string, readonly string[], readonly string[]])[] = [
  [
    "a stored column, replica identity full",
    `CREATE TABLE t (id int PRIMARY KEY, a int, ${STORED}); ALTER TABLE t REPLICA IDENTITY FULL`,
    ["id"],
    ["publication-generated"],
  ],
  [
    "a stored column in the key",
    "CREATE TABLE t (a int, id int GENERATED ALWAYS AS (a + 1) STORED PRIMARY KEY)",
    ["id"],
    ["publication-generated", "key-column-missing"],
  ],
  [
    "a stored column in a partition of replica identity full",
    `CREATE TABLE t (id int PRIMARY KEY, a int, ${STORED}) PARTITION BY RANGE (id);
     CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10); ALTER TABLE t_1 REPLICA IDENTITY FULL`,
    ["id"],
    ["publication-generated"],
  ],
  [
    "a stored column, no key and no replica identity yet",
    `CREATE TABLE t (id int NOT NULL UNIQUE, a int, ${STORED})`,
    ["id"],
    ["publication-generated", "replica-identity"],
  ],
  [
    "a stored column, and a replica identity that lacks the key",
    `CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL UNIQUE, ${STORED}); ALTER TABLE t REPLICA IDENTITY USING INDEX t_a_key`,
    ["id"],
    ["publication-generated", "key-not-in-identity"],
  ],
  [
    "a stored and a virtual column, replica identity full",
    `CREATE TABLE t (id int PRIMARY KEY, a int, ${STORED}, v int GENERATED ALWAYS AS (a * 3));
     ALTER TABLE t REPLICA IDENTITY FULL`,
    ["id"],
    ["replica-identity-virtual"],
  ],
  [
    "a stored column beside the key",
    `CREATE TABLE t (id int PRIMARY KEY, a int, ${STORED})`,
    ["id"],
    [],
  ],
];

test.each(TABLES)("the application goes on with %s", async (what, ddl, key, finds) => {
  await using db = await createDatabase("generated");
  const { rows } = await db.query("SELECT current_setting('server_version_num')::int AS version");
  const isStrict = (rows[0] as { version: number }).version >= 180_000;
  if (!isStrict && what.includes("virtual")) return;
  await db.query(ddl);
  const insert = "INSERT INTO t (id, a) VALUES (1, 1), (2, 2), (3, 3)";
  await db.query(finds.includes("key-column-missing") ? "INSERT INTO t (a) VALUES (0), (1), (2)" : insert); // prettier-ignore
  const publication = db.name;
  const plan: CapturePlan = { tables: [{ name: "t", key }] };
  const source = openPostgresSource({ url: db.url, slot: `s_${db.name.slice(-8)}`, publication });
  try {
    // With the publication that was made without a look at the table, and with the one that is printed.
    for (const isMade of [true, false]) {
      if (isMade)
        await db.query(
          `CREATE PUBLICATION "${publication}" FOR TABLE t WITH (publish_via_partition_root)`,
        );
      else await db.query(`DROP PUBLICATION "${publication}"; ${RESET[what] ?? ""}`);
      const findings = await source.check(plan);
      const errors = findings.filter(({ severity }) => severity === "error");
      const codes = errors.map(({ code }) => code);
      if (isMade && isStrict) expect(codes).toEqual(finds);
      if (!isStrict) expect(codes).not.toContain("publication-generated");
      for (const { mend } of errors) if (mend !== undefined) await db.query(mend);
      await db.query("UPDATE t SET a = a + 10 WHERE id = 2");
      await db.query("DELETE FROM t WHERE id = (SELECT max(id) FROM t)");
      if (isStrict || !finds.includes("key-column-missing"))
        expect((await source.check(plan)).filter(({ severity }) => severity === "error")).toEqual(
          [],
        );
    }
  } finally {
    await source.close();
  }
});

/** What the first turn has mended in the table itself. */
const RESET: Readonly<Record<string, string>> = {
  "a stored and a virtual column, replica identity full": "ALTER TABLE t REPLICA IDENTITY FULL",
};
