import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { openPostgresSource } from "../../../connectors/postgres/source.ts";
import { createDatabase } from "../../support/databases.ts";
import { createRole } from "../../support/faults-role.ts";

test("how many are at work is told to a role that may know it, and no other takes the source for idle", async () => {
  await using db = await createDatabase("load");
  await using role = await createRole(db);
  const load = async (url: string): Promise<number | undefined> => {
    const source = openPostgresSource({ url, slot: "load", publication: "load" });
    try {
      return (await source.load()).activeSessions;
    } finally {
      await source.close();
    }
  };
  // Ends with an error, when it is cancelled.
  const busy = db.query("SELECT pg_sleep(100)").catch(() => undefined);
  try {
    let seen: number | undefined;
    for (let look = 0; look < 1_000 && (seen ?? 0) === 0; look++) {
      seen = await load(db.url);
      await sleep(20);
    }
    expect(seen).toBeGreaterThan(0);
    expect(await load(role.url)).toBeUndefined();
    await db.query(`GRANT pg_monitor TO ${role.name}`);
    expect(await load(role.url)).toBeGreaterThan(0);
  } finally {
    await db.query(
      "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(100)' AND datname = current_database()",
    );
    await busy;
  }
});

test("how many transactions were begun grows with each that writes, and any role may know it", async () => {
  await using db = await createDatabase("load");
  await using role = await createRole(db);
  const source = openPostgresSource({ url: role.url, slot: "load", publication: "load" });
  try {
    const before = (await source.load()).transactionsBegun!;
    await db.query("CREATE TABLE t (n int)");
    for (let n = 0; n < 20; n++) await db.query("INSERT INTO t VALUES (1)");
    expect((await source.load()).transactionsBegun).toBeGreaterThanOrEqual(before + 21);
  } finally {
    await source.close();
  }
});
