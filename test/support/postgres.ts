import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import type { TestProject } from "vitest/node";
import {
  startEmbeddedPostgres,
  type EmbeddedPostgres,
} from "../../connectors/embedded/embedded-postgres.ts";
import { findPostmaster, stopPostmaster } from "../../connectors/embedded/postmaster.ts";

declare module "vitest" {
  export interface ProvidedContext {
    /** Superuser's URL of the database `postgres` on the server of this run. */
    readonly pgUrl: string;
  }
}

/** Room for suites that crash and leave slots behind for a while. */
export const TEST_SERVER_SETTINGS: Readonly<Record<string, string>> = {
  wal_level: "logical",
  max_replication_slots: "64",
  max_wal_senders: "64",
  max_connections: "200",
  fsync: "off",
  // A worker that comes by holds transactions open, locks tables and reads them: to a test, chance.
  autovacuum_naptime: "1h",
};

const PREFIX = "banyan-test-server-";

/**
 * Gives the tests a Postgres: the one of BANYAN_TEST_PG_URL, else an embedded one for this run,
 * which ends with it. What a killed run left behind is removed first.
 */
export default async function setup(
  project: TestProject,
): Promise<(() => Promise<void>) | undefined> {
  const external = process.env["BANYAN_TEST_PG_URL"];
  if (external !== undefined && external !== "") {
    await requireSuitable(external);
    project.provide("pgUrl", external);
    return undefined;
  }
  await removeLeftovers();
  const dir = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
  const server = await start(dir);
  project.provide("pgUrl", server.url("postgres"));
  return async () => {
    await server.stop("immediate");
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  };
}

async function start(dir: string): Promise<EmbeddedPostgres> {
  try {
    return await startEmbeddedPostgres({
      dir,
      flags: Object.entries(TEST_SERVER_SETTINGS).flatMap(([name, value]) => [
        "-c",
        `${name}=${value}`,
      ]),
    });
  } catch (cause) {
    rmSync(dir, { recursive: true, force: true });
    throw new Error(
      "These tests need a Postgres, and the embedded one did not start. Give them one of your own " +
        "(15 or later, wal_level=logical, a superuser): BANYAN_TEST_PG_URL=postgres://… npm run test:pg\n" +
        String(cause),
      { cause },
    );
  }
}

async function requireSuitable(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  client.on("error", () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ level: string; superuser: boolean; version: number }>(
      `SELECT current_setting('wal_level') AS level, current_setting('server_version_num')::int AS version,
              rolsuper AS superuser FROM pg_roles WHERE rolname = current_user`,
    );
    const [found] = rows;
    if (found?.level !== "logical") {
      throw new Error(
        "wal_level is not logical. Run: ALTER SYSTEM SET wal_level = 'logical', and restart it",
      );
    }
    if (!found.superuser) throw new Error("its role is not a superuser");
    if (found.version < 150_000) throw new Error("it is older than Postgres 15");
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(
      `The Postgres of BANYAN_TEST_PG_URL cannot be used: ${reason}\n` +
        "Without that variable the tests start their own: env -u BANYAN_TEST_PG_URL npm run test:pg",
      { cause },
    );
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Servers of runs that were killed: the run's process number stands in the name of the folder. */
async function removeLeftovers(): Promise<void> {
  for (const name of readdirSync(tmpdir()).filter((entry) => entry.startsWith(PREFIX))) {
    const pid = Number(name.slice(PREFIX.length).split("-")[0]);
    if (!Number.isInteger(pid) || pid <= 1 || isAlive(pid)) continue;
    const dir = join(tmpdir(), name);
    const dataDir = join(dir, "data");
    const running = findPostmaster(dataDir);
    if (running !== undefined) await stopPostmaster(dataDir, running, "immediate");
    rmSync(dir, { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
