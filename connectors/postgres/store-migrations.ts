import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type pg from "pg";
import { BanyanError, invariant } from "../../src/model/errors.ts";
import { failpoint } from "../../src/runtime/failpoint.ts";
import { sqlstateOf } from "./sqlstate.ts";

/** Any two processes that migrate the same database wait for each other on this key. */
const LOCK_KEY = 7_226_920_351;
const INSUFFICIENT_PRIVILEGE = "42501";

interface Migration {
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

/**
 * Brings schema `banyan` up to date, one transaction for all that is missing. When nothing is missing
 * it only reads, so that a role that may not create anything can use the store.
 *
 * @throws BanyanError `STORE_SCHEMA_NEWER` when a newer program has been here, `STORE_REFUSED` when this
 *   cannot be a store as it is, `INVARIANT_BROKEN` when a released migration was edited
 */
export async function migrateStore(client: pg.ClientBase): Promise<void> {
  await requireUtf8(client);
  const migrations = loadMigrations();
  if ((await missing(client, migrations)).length > 0) await apply(client, migrations);
  await requireOwnTransactions(client);
}

async function apply(client: pg.ClientBase, migrations: readonly Migration[]): Promise<void> {
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
    failpoint("store-migrating");
    await client.query("COMMIT");
  } catch (error) {
    await client.query("ROLLBACK").catch(() => undefined);
    if (sqlstateOf(error) !== INSUFFICIENT_PRIVILEGE) throw error;
    throw new BanyanError(
      "STORE_REFUSED",
      `the store's schema must be brought up to date, and this role may not do that: ${(error as Error).message}`,
      {
        cause: error,
        hint: "Run `banyan status` once with the URL of the role that owns schema banyan (or may create it), then grant what the newest migration names.",
      },
    );
  }
}

/** Any other encoding would refuse the first character that it does not have, in the midst of a capture. */
async function requireUtf8(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query<{ encoding: string; name: string }>(
    "SELECT current_setting('server_encoding') AS encoding, current_database()::text AS name",
  );
  const { encoding, name } = rows[0]!;
  if (encoding === "UTF8") return;
  throw new BanyanError(
    "STORE_REFUSED",
    `database ${name} has the encoding ${encoding}, which cannot keep every text`,
    {
      hint: "Give the store a database of its own: CREATE DATABASE banyan TEMPLATE template0 ENCODING 'UTF8';",
    },
  );
}

/**
 * Readers order by the server's transaction ids, which a dump does not take along. Restored on a
 * younger server, the events would be hidden until it had caught up, and new ones put before them.
 */
async function requireOwnTransactions(client: pg.ClientBase): Promise<void> {
  const { rows } = await client.query<{ ahead: boolean | null }>(
    `SELECT (SELECT e.transaction_id::text::bigint FROM banyan.events e ORDER BY e.transaction_id DESC LIMIT 1)
            >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint + base AS ahead
       FROM banyan.transaction_base`,
  );
  if (rows[0]?.ahead !== true) return;
  throw new BanyanError(
    "STORE_REFUSED",
    "the store was restored from a dump: its events have transaction ids that this server has not reached",
    { hint: "Run once, as the owner of schema banyan: SELECT banyan.rebase();" },
  );
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
