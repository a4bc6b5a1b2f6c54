import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type pg from "pg";
import { BanyanError } from "../../src/model/errors.ts";

/** Any two processes that migrate the same database wait for each other on this key. */
const LOCK_KEY = 7_226_920_351;

interface Migration {
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

/**
 * Brings schema `banyan` up to date, one transaction for all that is missing.
 *
 * @throws BanyanError `STORE_SCHEMA_NEWER` when a newer program has been here, `INVARIANT_BROKEN` when
 *   a released migration was edited
 */
export async function migrateStore(client: pg.ClientBase): Promise<void> {
  const migrations = loadMigrations();
  await client.query("BEGIN");
  try {
    await client.query(`SELECT pg_advisory_xact_lock(${LOCK_KEY})`);
    await client.query("SET LOCAL client_min_messages = warning");
    await client.query("CREATE SCHEMA IF NOT EXISTS banyan");
    await client.query(
      "CREATE TABLE IF NOT EXISTS banyan.migrations (name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
    );
    const { rows } = await client.query<{ name: string; checksum: string }>(
      "SELECT name, checksum FROM banyan.migrations",
    );
    const applied = new Map(rows.map((row) => [row.name, row.checksum]));
    for (const { name, sql, checksum } of migrations) {
      const before = applied.get(name);
      applied.delete(name);
      if (before === checksum) continue;
      if (before !== undefined) {
        throw new BanyanError("INVARIANT_BROKEN", `migration ${name} is not the one that was applied`);
      }
      await client.query(sql);
      await client.query("INSERT INTO banyan.migrations (name, checksum) VALUES ($1, $2)", [name, checksum]);
    }
    if (applied.size > 0) {
      throw new BanyanError(
        "STORE_SCHEMA_NEWER",
        `the store was made by a newer Banyan (it has ${[...applied.keys()].join(", ")})`,
        { hint: "Update the package banyan on this machine" },
      );
    }
    await client.query("COMMIT");
  } catch (error) {
    await client.query("ROLLBACK").catch(() => undefined);
    throw error;
  }
}

function loadMigrations(): readonly Migration[] {
  // connectors/postgres in the repository, dist/connectors/postgres in the package.
  const folder = ["../../migrations", "../../../migrations"]
    .map((up) => join(import.meta.dirname, up))
    .find((path) => existsSync(path));
  if (folder === undefined) throw new BanyanError("INVARIANT_BROKEN", "the package has no migrations folder");
  return readdirSync(folder)
    .filter((name) => name.endsWith(".sql"))
    .sort()
    .map((name) => {
      const sql = readFileSync(join(folder, name), "utf8");
      return { name, sql, checksum: createHash("sha256").update(sql).digest("hex") };
    });
}
