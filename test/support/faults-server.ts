import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import {
  startEmbeddedPostgres,
  type EmbeddedPostgres,
} from "../../connectors/embedded/embedded-postgres.ts";
import { findPostmaster, stopPostmaster } from "../../connectors/embedded/postmaster.ts";
import type { TestDatabase } from "./databases.ts";
import { freePort } from "./free-port.ts";

/** A Postgres of the test's own, which may be stopped, crashed and started with other settings. */
export interface TestServer extends AsyncDisposable {
  /** The same over all restarts. */
  readonly port: number;
  readonly dataDir: string;
  createDatabase(name: string): Promise<TestDatabase>;
  /** As superuser, outside of any database of a test. */
  query(sql: string): Promise<pg.QueryResult>;
  stop(mode: "fast" | "immediate"): Promise<void>;
  start(flags?: readonly string[]): Promise<void>;
}

const QUICK_FLAGS = ["-c", "fsync=off"];

/** @param flags further `postgres` arguments of the first start; a later one names its own */
export async function startTestServer(flags: readonly string[]): Promise<TestServer> {
  const base = mkdtempSync(join(tmpdir(), "banyan-faults-server-"));
  chmodSync(base, 0o755);
  const dir = join(base, "server");
  // It is bound again at each start.
  const port = await freePort();
  const begin = (more: readonly string[]): Promise<EmbeddedPostgres> =>
    startEmbeddedPostgres({ dir, port, flags: [...QUICK_FLAGS, ...more] });
  let server = await begin(flags).catch((error: unknown) => {
    rmSync(base, { recursive: true, force: true });
    throw error;
  });
  const { dataDir } = server;
  const pools: pg.Pool[] = [];
  const open = (database: string): pg.Pool => {
    const pool = new pg.Pool({ connectionString: server.url(database), max: 2 });
    pool.on("error", () => undefined);
    pools.push(pool);
    return pool;
  };
  const admin = open("postgres");
  return {
    port,
    dataDir,
    async createDatabase(name) {
      await server.createDatabase(name);
      const pool = open(name);
      const query = (sql: string, params?: unknown[]): Promise<pg.QueryResult> =>
        pool.query(sql, params);
      // It goes with the server.
      const dispose = (): Promise<void> => Promise.resolve();
      return { url: server.url(name), name, query, [Symbol.asyncDispose]: dispose };
    },
    query: (sql) => admin.query(sql),
    stop: (mode) => server.stop(mode),
    async start(again = flags) {
      server = await begin(again);
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(pools.map((pool) => pool.end()));
      await server.stop("immediate");
      const running = findPostmaster(dataDir);
      if (running !== undefined) await stopPostmaster(dataDir, running, "immediate");
      rmSync(join(dataDir, ".."), { recursive: true, force: true });
      rmSync(base, { recursive: true, force: true });
    },
  };
}
