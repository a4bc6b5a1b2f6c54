import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type pg from "pg";
import { BanyanError, invariant } from "../../src/model/errors.ts";

/** Any two processes that migrate the same database wait for each other on this key. */
const LOCK_KEY = 7_226_920_351;

interface Migration {
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

/**
 * Brings schema `banyan` up to date, one transaction for all that is missing. When nothing is missing
 * it only reads, so that a role that may not create anything can use the store.
 *
 * @throws BanyanError `STORE_SCHEMA_NEWER` when a newer program has been here, `INVARIANT_BROKEN` when
 *   a released migration was edited
 */
export async function migrateStore(client: pg.ClientBase): Promise<void> {
  const migrations = loadMigrations();
  if ((await missing(client, migrations)).length === 0) return;
  await client.query("BEGIN");
  try {
    await client.query(`SELECT pg_advisory_xact_lock(${LOCK_KEY})`);
    await client.query("SET LOCAL client_min_messages = warning");
    await client.query("CREATE SCHEMA IF NOT EXISTS banyan");
    await client.query(
      "CREATE TABLE IF NOT EXISTS banyan.migrations (name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())",
    );
    // Asked again: another process may have done it while this one waited for the lock.
    for (const { name, sql, checksum } of await missing(client, migrations)) {
      await client.query(sql);
      await client.query("INSERT INTO banyan.migrations (name, checksum) VALUES ($1, $2)", [
        name,
        checksum,
      ]);
    }
    await client.query("COMMIT");
  } catch (error) {
    await client.query("ROLLBACK").catch(() => undefined);
    throw error;
  }
}

/** What is still to be applied, in order. */
async function missing(
  client: pg.ClientBase,
  migrations: readonly Migration[],
): Promise<readonly Migration[]> {
  const { rows: found } = await client.query<{ made: boolean }>(
    "SELECT to_regclass('banyan.migrations') IS NOT NULL AS made",
  );
  if (!found[0]!.made) return migrations;
  const { rows } = await client.query<{ name: string; checksum: string }>(
    "SELECT name, checksum FROM banyan.migrations ORDER BY name",
  );
  const unknown = rows.filter(({ name }) => !migrations.some((known) => known.name === name));
  if (unknown.length > 0) {
    const names = unknown.map(({ name }) => name).join(", ");
    throw new BanyanError(
      "STORE_SCHEMA_NEWER",
      `the store was made by a newer Banyan: it has ${names}`,
      {
        hint: "Update the package banyan on this machine.",
      },
    );
  }
  const applied = new Map(rows.map(({ name, checksum }) => [name, checksum]));
  return migrations.filter(({ name, checksum }) => {
    const before = applied.get(name);
    invariant(
      before === undefined || before === checksum,
      `migration ${name} of this package is not the one that made the store`,
    );
    return before === undefined;
  });
}

function loadMigrations(): readonly Migration[] {
  // connectors/postgres in the repository, dist/connectors/postgres in the package.
  const folder = ["../../migrations", "../../../migrations"]
    .map((up) => join(import.meta.dirname, up))
    .find((path) => existsSync(path));
  invariant(folder !== undefined, "the package has no migrations folder");
  return readdirSync(folder)
    .filter((name) => name.endsWith(".sql"))
    .sort()
    .map((name) => {
      // A checkout may have changed the line ends, which changes nothing.
      const sql = readFileSync(join(folder, name), "utf8").replaceAll("\r\n", "\n");
      return { name, sql, checksum: createHash("sha256").update(sql).digest("hex") };
    });
}
