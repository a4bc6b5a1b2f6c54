import pg from "pg";
import { expect, inject, test } from "vitest";
import { createDatabase } from "./databases.ts";

test("each database is fresh, decodes its log, and goes with its slots and sessions", async () => {
  const admin = new pg.Client({ connectionString: inject("pgUrl") });
  await admin.connect();
  try {
    let name: string;
    {
      await using database = await createDatabase("Fresh One!");
      await using other = await createDatabase("Fresh One!");
      name = database.name;
      expect(other.name).not.toBe(name);
      await database.query("CREATE TABLE t (a int)");
      await expect(other.query("SELECT * FROM t")).rejects.toThrow(/does not exist/);
      await database.query("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [
        `s_${name}`,
      ]);
    }
    const left = await admin.query("SELECT 1 FROM pg_database WHERE datname = $1", [name]);
    expect(left.rowCount).toBe(0);
    const slots = await admin.query("SELECT 1 FROM pg_replication_slots WHERE slot_name = $1", [
      `s_${name}`,
    ]);
    expect(slots.rowCount).toBe(0);
  } finally {
    await admin.end();
  }
});
