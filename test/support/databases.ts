import { randomBytes } from "node:crypto";
import pg from "pg";
import { inject } from "vitest";

/** A fresh, empty database of the test server; superuser; gone with its slots when disposed. */
export interface TestDatabase extends AsyncDisposable {
  readonly url: string;
  readonly name: string;
  query(sql: string, params?: unknown[]): Promise<pg.QueryResult>;
}

declare module "vitest" {
  export interface ProvidedContext {
    readonly pgUrl: string;
  }
}

/** @param label shows in the database's name */
export async function createDatabase(label: string): Promise<TestDatabase> {
  const admin = inject("pgUrl");
  const name = `test_${label.toLowerCase().replaceAll(/[^a-z0-9]/g, "_").slice(0, 30)}_${randomBytes(4).toString("hex")}`;
  await once(admin, `CREATE DATABASE ${name} TEMPLATE template0 ENCODING 'UTF8'`);
  const url = new URL(admin);
  url.pathname = `/${name}`;
  const pool = new pg.Pool({ connectionString: url.href, max: 4 });
  pool.on("error", () => undefined);
  return {
    url: url.href,
    name,
    query: (sql, params) => pool.query(sql, params),
    async [Symbol.asyncDispose]() {
      await pool.end();
      await dropDatabase(admin, name);
    },
  };
}

async function dropDatabase(admin: string, name: string): Promise<void> {
  const client = new pg.Client({ connectionString: admin });
  client.on("error", () => undefined);
  await client.connect();
  try {
    for (let attempt = 0; attempt < 100; attempt++) {
      await client.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", [name]);
      const left = await client
        .query("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = $1", [name])
        .then(() => client.query(`DROP DATABASE IF EXISTS ${name}`))
        .then(() => undefined)
        .catch((error: unknown) => error);
      if (left === undefined) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  } finally {
    await client.end();
  }
}

async function once(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
