import { randomBytes } from "node:crypto";
import pg from "pg";
import { inject } from "vitest";
import type {} from "./postgres.ts";

/** A fresh, empty database of the test server; superuser; gone with its slots when disposed. */
export interface TestDatabase extends AsyncDisposable {
  readonly url: string;
  readonly name: string;
  query(sql: string, params?: unknown[]): Promise<pg.QueryResult>;
}

const DROP_ATTEMPTS_MAX = 600;
const DROP_PAUSE_MS = 100;
const CONNECT_MS_MAX = 60_000;

/** @param label shows in the database's name */
export async function createDatabase(label: string): Promise<TestDatabase> {
  const admin = inject("pgUrl");
  const word = label
    .toLowerCase()
    .replaceAll(/[^a-z0-9]/g, "_")
    .slice(0, 30);
  const name = `test_${word}_${randomBytes(4).toString("hex")}`;
  await withClient(admin, (client) =>
    client.query(`CREATE DATABASE ${name} TEMPLATE template0 ENCODING 'UTF8'`),
  );
  const url = new URL(admin);
  url.pathname = `/${name}`;
  const pool = new pg.Pool({ connectionString: url.href, max: 4 });
  pool.on("error", () => undefined);
  return {
    url: url.href,
    name,
    query: (sql, params) => pool.query(sql, params),
    async [Symbol.asyncDispose]() {
      await withClient(admin, (client) => drop(client, name));
      await pool.end();
    },
  };
}

/** Sessions and slots may come back while a test's processes end, so it tries for a while. */
async function drop(client: pg.Client, name: string): Promise<void> {
  let failure: unknown;
  for (let attempt = 0; attempt < DROP_ATTEMPTS_MAX; attempt++) {
    try {
      await client.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
        [name],
      );
      await client.query(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1",
        [name],
      );
      await client.query(`DROP DATABASE IF EXISTS ${name}`);
      return;
    } catch (error) {
      failure = error;
      await new Promise((resolve) => setTimeout(resolve, DROP_PAUSE_MS));
    }
  }
  throw new Error(`the test database ${name} is still in use: something of the test goes on`, {
    cause: failure,
  });
}

async function withClient(
  url: string,
  use: (client: pg.Client) => Promise<unknown>,
): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: CONNECT_MS_MAX });
  client.on("error", () => undefined);
  await client.connect();
  try {
    await use(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}
