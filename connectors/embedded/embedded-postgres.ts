import { spawn } from "node:child_process";
import {
  chownSync,
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
} from "node:fs";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { openCluster, SERVER_ENVIRONMENT, type Cluster } from "./cluster.ts";
import { embeddedFailure } from "./embedded-failure.ts";
import { freePort } from "./free-ports.ts";
import { findBinaries } from "./postgres-binaries.ts";
import { findPostmaster, stopPostmaster } from "./postmaster.ts";
import { join as joinServer, leave, urlOf, type Membership } from "./server-membership.ts";
import { serverUser, type ServerUser } from "./server-user.ts";

export interface EmbeddedOptions {
  /** Folder of its own that keeps the data over restarts; made if missing. */
  readonly dir: string;
  /** Port on 127.0.0.1; a free one when absent. Not used when the server runs already. */
  readonly port?: number;
  /** Further `postgres` arguments, e.g. `["-c", "wal_level=logical"]`. Not used when the server runs already. */
  readonly flags?: readonly string[];
  /** Told what happens, one line at a time, without secrets. */
  readonly log?: (line: string) => void;
}

export interface EmbeddedPostgres {
  readonly port: number;
  readonly dataDir: string;
  /** True when the server was running already. */
  readonly attached: boolean;
  /** Holds the password: never log it. */
  url(database: string): string;
  /** Does nothing when the database is there. */
  createDatabase(name: string): Promise<void>;
  /**
   * Gives the server back. `fast`: the last one to leave stops it, with its data written out;
   * while others use it, it goes on. `immediate`: a crash, at once, if this call started it.
   * Idempotent, bounded, and never rejects.
   */
  stop(mode: "fast" | "immediate"): Promise<void>;
}

/** For a first answer; a server that recovers from a crash says so and gets more. */
const ANSWER_MS_MAX = 30_000;
const RECOVERY_MS_MAX = 600_000;
/** For remains of a killed server to end, or for a server that is just stopping. */
const CONTENTION_MS_MAX = 30_000;
const LOG_BYTES_MAX = 16 * 1024 * 1024;
/** What the server's log says when trying again helps. */
const PASSING = /could not bind|lock file .* already exists|pre-existing shared memory/;

/**
 * Starts a real Postgres from the npm package, on loopback only, or attaches to the one that runs
 * on this folder already.
 *
 * Every process that uses the server holds a lock in it, which ends with the process: so the last
 * one out stops it, whoever started it. A process that is killed leaves the server running; the
 * next start attaches to it, and its `stop` ends it.
 *
 * @throws BanyanError `EMBEDDED_SERVER_FAILED` with the end of the server's log
 */
export async function startEmbeddedPostgres(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const log = options.log ?? (() => undefined);
  const user = serverUser();
  const binaries = findBinaries(user);
  const cluster = openCluster(resolve(options.dir), user, binaries.initdb);
  const deadline = Date.now() + CONTENTION_MS_MAX;
  for (;;) {
    const running = findPostmaster(cluster.dataDir);
    if (running !== undefined) {
      const membership = await awaitServer(
        cluster,
        running.port,
        () => findPostmaster(cluster.dataDir) !== undefined,
      );
      if (membership !== undefined) {
        log(`attached to the embedded Postgres in ${options.dir}, port ${running.port}`);
        return handle(cluster, membership, true);
      }
      if (findPostmaster(cluster.dataDir)?.pid === running.pid) {
        throw failure(
          cluster,
          `process ${running.pid} runs on this folder but does not answer on port ${running.port}`,
        );
      }
      continue; // It was stopping.
    }
    const launched = await launch(cluster, binaries.postgres, user, options);
    if ("membership" in launched) {
      log(`started the embedded Postgres in ${options.dir}, port ${launched.membership.port}`);
      return handle(cluster, launched.membership, false);
    }
    const passing =
      PASSING.test(launched.said) &&
      !(options.port !== undefined && /could not bind/.test(launched.said));
    if (!passing || Date.now() > deadline) throw failure(cluster, launched.reason, launched.said);
    await sleep(200);
  }
}

type Launched =
  | { readonly membership: Membership }
  /** `said`: what this attempt added to the server's log. */
  | { readonly reason: string; readonly said: string };

async function launch(
  cluster: Cluster,
  program: string,
  user: ServerUser | undefined,
  options: EmbeddedOptions,
): Promise<Launched> {
  const port = options.port ?? (await freePort());
  const { logFile, dataDir, home } = cluster;
  if (existsSync(logFile) && statSync(logFile).size > LOG_BYTES_MAX)
    renameSync(logFile, `${logFile}.1`);
  const log = openSync(logFile, "a", 0o600);
  const logged = statSync(logFile).size;
  if (user !== undefined) chownSync(logFile, user.uid, user.gid);
  const child = spawn(
    program,
    [
      ...["-D", dataDir, "-p", String(port), "-c", "cluster_name=banyan"],
      ...["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="],
      ...(options.flags ?? []),
    ],
    // Detached: Ctrl-C in a terminal reaches us, and we end the server after our own work.
    { stdio: ["ignore", log, log], detached: true, cwd: home, env: SERVER_ENVIRONMENT, ...user },
  );
  closeSync(log);
  let ended: string | undefined;
  child.once("error", (error) => (ended = error.message));
  child.once("exit", (code, signal) => (ended = `it ended with ${code ?? signal}`));
  child.unref();
  const membership = await awaitServer(cluster, port, () => ended === undefined);
  if (membership !== undefined) return { membership };
  if (ended === undefined) child.kill("SIGQUIT");
  return {
    reason: ended ?? `it did not answer within ${ANSWER_MS_MAX / 1000} s`,
    said: readFileSync(logFile).subarray(logged).toString("utf8"),
  };
}

/** Joins as soon as the server answers; undefined when it ended or did not answer in time. */
async function awaitServer(
  cluster: Cluster,
  port: number,
  isAlive: () => boolean,
): Promise<Membership | undefined> {
  const started = Date.now();
  let waitMs = ANSWER_MS_MAX;
  while (isAlive() && Date.now() - started < waitMs) {
    const answer = await joinServer(cluster, port);
    if (typeof answer === "object") return answer;
    if (answer === "recovering") waitMs = RECOVERY_MS_MAX;
    await sleep(30);
  }
  return undefined;
}

function handle(cluster: Cluster, membership: Membership, attached: boolean): EmbeddedPostgres {
  const { port } = membership;
  const { dataDir } = cluster;
  let stopped: Promise<void> | undefined;
  return {
    port,
    dataDir,
    attached,
    url: (database) => urlOf(cluster, port, database),
    createDatabase: (name) => createDatabase(urlOf(cluster, port, "postgres"), name),
    stop(mode) {
      stopped ??= stop(mode);
      return stopped;
    },
  };

  async function stop(mode: "fast" | "immediate"): Promise<void> {
    const mayStop = mode === "immediate" ? !attached : await leave(cluster, membership);
    const running = findPostmaster(dataDir);
    if (mayStop && running?.port === port) await stopPostmaster(dataDir, running, mode);
    await membership.client.end().catch(() => undefined);
  }
}

async function createDatabase(admin: string, name: string): Promise<void> {
  const client = new pg.Client({ connectionString: admin });
  client.on("error", () => undefined);
  try {
    await client.connect();
    const found = await client.query("SELECT 1 FROM pg_database WHERE datname = $1", [name]);
    if (found.rowCount === 0) await client.query(`CREATE DATABASE ${pg.escapeIdentifier(name)}`);
  } catch (error) {
    // Another process was quicker: 42P04 says so, 23505 when it happened at the same moment.
    const code = (error as { code?: unknown }).code;
    if (code === "42P04" || code === "23505") return;
    throw embeddedFailure(
      `the database ${name} could not be made: ${(error as Error).message}`,
      "Look at server.log in the folder of the store",
      error,
    );
  } finally {
    await client.end().catch(() => undefined);
  }
}

function failure(cluster: Cluster, reason: string, said = readLog(cluster)): Error {
  const tail = said.trimEnd().split("\n").slice(-8).join("\n  ");
  return embeddedFailure(
    `the embedded Postgres did not start: ${reason}\n  ${tail}`.trimEnd(),
    `Look at ${cluster.logFile}, or give the store a URL of your own Postgres`,
  );
}

function readLog({ logFile }: Cluster): string {
  return existsSync(logFile) ? readFileSync(logFile, "utf8") : "";
}
