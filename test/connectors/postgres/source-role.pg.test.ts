import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { follow, readAll, transactions } from "../../contract/change-source.contract.ts";
import { onSession, sourceDatabase } from "./source-support.ts";
import { isBefore } from "../../../src/model/position.ts";

const never = new AbortController().signal;
const PLAN = { tables: [{ name: 'my "shop".item' }, { name: "public.secret" }] };

test("the role that the check prints to a superuser can do everything that a capture does", async () => {
  await using db = await sourceDatabase(
    "role",
    `CREATE SCHEMA "my ""shop"""; CREATE TABLE "my ""shop""".item (id int PRIMARY KEY, name text);
     CREATE TABLE secret (id int PRIMARY KEY); ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
     INSERT INTO secret VALUES (1); INSERT INTO "my ""shop""".item VALUES (1, 'a');`,
    `"my ""shop""".item, secret`,
  );
  const found = (await db.open().check(PLAN)).find(({ code }) => code === "role-superuser");
  const sql = /needs no more than: (.*)$/.exec(found!.message)![1]!;
  const role = `role_${randomBytes(4).toString("hex")}`;
  await db.query("REVOKE ALL ON SCHEMA public FROM PUBLIC");
  await db.query(`REVOKE ALL ON DATABASE ${db.name} FROM PUBLIC`);
  await db.query(sql.replaceAll(/\bbanyan\b/g, role).replace("…", "p"));
  const url = new URL(db.url);
  url.username = role;
  url.password = "p";
  try {
    const source = db.open({ url: url.href });
    expect((await source.check(PLAN)).filter(({ severity }) => severity !== "info")).toEqual([]);
    const snapshot = await source.openBaseline(PLAN, never);
    for (const table of snapshot.tables) {
      expect(await snapshot.estimateRows(table)).toBe(1);
      expect(await readAll(snapshot, table)).toHaveLength(1);
    }
    await snapshot.close();
    await db.query("INSERT INTO secret VALUES (2)");
    const { parts } = await follow(source, snapshot.position, transactions(1));
    expect(parts[0]!.changes).toHaveLength(1);
    source.acknowledge(parts[0]!.transaction.end);
    const fence = await source.fence();
    expect(isBefore(parts[0]!.transaction.end, fence)).toBe(true);
    expect((await source.head(fence)).lagBytes).toBeGreaterThanOrEqual(0);
    const tables = await source.discover(PLAN.tables);
    const parity = await source.openParity(tables, never);
    expect(await readAll(parity, tables[1]!)).toHaveLength(2);
    await parity.close();
    // And nothing that the capture does not do.
    const writing = onSession(url.href, ["INSERT INTO public.secret VALUES (3)"]);
    await expect(writing).rejects.toMatchObject({ code: "42501" });
    await source.close();
  } finally {
    await db.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  }
});
