import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import {
  chownSync, existsSync, mkdirSync, openSync, closeSync, readFileSync, rmSync, writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { findBinaries, isReachable, serverUser, type ServerUser } from "./postgres-binaries.ts";
import { BanyanError } from "../../src/model/errors.ts";

export interface EmbeddedOptions {
  /** Folder that keeps the data over restarts. */
  readonly dir: string;
  /** Further `postgres` arguments, e.g. `["-c", "wal_level=logical"]`. */
  readonly flags?: readonly string[];
}

export interface EmbeddedPostgres {
  readonly port: number;
  readonly dataDir: string;
  /** True when the server was running already; then `stop` leaves it running. */
  readonly attached: boolean;
  url(database: string): string;
  createDatabase(name: string): Promise<void>;
  /** `fast` ends sessions and writes out; `immediate` is a crash. Idempotent. */
  stop(mode: "fast" | "immediate"): Promise<void>;
}

const START_MS_MAX = 30_000;
const STOP_MS_MAX = 20_000;
const SUPERUSER = "banyan";

/**
 * Starts a real Postgres from the npm package, on a free loopback port, or attaches to the one that
 * runs on this folder already.
 *
 * If this process is killed the server goes on; the next start attaches to it. Only the operating
 * system user can read the password.
 *
 * @throws BanyanError `EMBEDDED_SERVER_FAILED` with the end of the server's log
 */
export async function startEmbeddedPostgres(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const user = serverUser();
  const home = homeOf(resolve(options.dir), user);
  const dataDir = join(home, "data");
  const binaries = findBinaries(user);
  if (!existsSync(join(dataDir, "PG_VERSION"))) initialise(binaries.initdb, home, dataDir, user);
  const password = readFileSync(join(home, "password"), "utf8");

  const running = await attach(dataDir, password);
  if (running !== undefined) return server(running, dataDir, password, undefined);

  const port = await freePort();
  const logFile = join(home, "server.log");
  const log = openSync(logFile, "a");
  if (user !== undefined) chownSync(logFile, user.uid, user.gid);
  const child = spawn(
    binaries.postgres,
    [
      ...["-D", dataDir, "-p", String(port)],
      ...["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="],
      ...(options.flags ?? []),
    ],
    { stdio: ["ignore", log, log], detached: true, cwd: home, ...user },
  );
  closeSync(log);
  const exit = new Promise<string>((done) => {
    child.once("error", (error) => done(error.message));
    child.once("exit", (code, signal) => done(`it exited with ${code ?? signal}`));
  });
  child.unref();
  await waitUntilReady(port, password, exit, logFile);
  return server(port, dataDir, password, child);
}

function server(
  port: number,
  dataDir: string,
  password: string,
  child: ChildProcess | undefined,
): EmbeddedPostgres {
  const url = (database: string): string =>
    `postgres://${SUPERUSER}:${password}@127.0.0.1:${port}/${database}`;
  return {
    port,
    dataDir,
    attached: child === undefined,
    url,
    async createDatabase(name) {
      await withClient(url("postgres"), async (client) => {
        const found = await client.query("SELECT 1 FROM pg_database WHERE datname = $1", [name]);
        if (found.rowCount === 0) {
          await client.query(`CREATE DATABASE "${name.replaceAll('"', '""')}"`).catch((error: unknown) => {
            // Another process was quicker.
            if ((error as { code?: string }).code !== "42P04" && (error as { code?: string }).code !== "23505") throw error;
          });
        }
      });
    },
    async stop(mode) {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
      const ended = new Promise<void>((done) => child.once("exit", () => done()));
      child.kill(mode === "fast" ? "SIGINT" : "SIGQUIT");
      const late = sleep(STOP_MS_MAX, "late" as const, { ref: false });
      if ((await Promise.race([ended, late])) === "late") child.kill("SIGKILL");
    },
  };
}

/** Where the data lies: the folder itself, or, when the server's user cannot get there, one under /var/lib. */
function homeOf(dir: string, user: ServerUser | undefined): string {
  mkdirSync(dir, { recursive: true });
  let home = dir;
  if (user !== undefined) {
    if (!isReachable(dir, user)) {
      home = join("/var/lib/banyan", createHash("sha256").update(dir).digest("hex").slice(0, 16));
      mkdirSync(home, { recursive: true, mode: 0o755 });
      writeFileSync(join(dir, "LOCATION"), `${home}\n`);
    }
    chownSync(home, user.uid, user.gid);
  }
  return home;
}

function initialise(
  initdb: string,
  home: string,
  dataDir: string,
  user: ServerUser | undefined,
): void {
  rmSync(dataDir, { recursive: true, force: true });
  const passwordFile = join(home, "password");
  writeFileSync(passwordFile, randomBytes(24).toString("hex"), { mode: 0o600 });
  if (user !== undefined) chownSync(passwordFile, user.uid, user.gid);
  try {
    execFileSync(
      initdb,
      [
        ...["-D", dataDir, "-U", SUPERUSER, `--pwfile=${passwordFile}`, "--auth=scram-sha-256"],
        ...["--encoding=UTF8", "--locale=C", "--no-instructions"],
      ],
      { stdio: ["ignore", "pipe", "pipe"], cwd: home, ...user },
    );
  } catch (cause) {
    rmSync(dataDir, { recursive: true, force: true });
    const said = String((cause as { stderr?: Buffer }).stderr ?? cause).trim();
    throw new BanyanError("EMBEDDED_SERVER_FAILED", `initdb failed: ${said}`, {
      hint: `Check the free space and rights of ${home}`,
    });
  }
}

/** Port of a server that runs on this data folder and answers, if there is one. */
async function attach(dataDir: string, password: string): Promise<number | undefined> {
  const pidFile = join(dataDir, "postmaster.pid");
  if (!existsSync(pidFile)) return undefined;
  const lines = readFileSync(pidFile, "utf8").split("\n");
  const port = Number(lines[3]);
  const pid = Number(lines[0]);
  const deadline = Date.now() + START_MS_MAX;
  // It may be starting, stopping or recovering: wait while the process lives.
  while (isAlive(pid) && Number.isInteger(port) && Date.now() < deadline) {
    if (await answers(port, password)) return port;
    if (!existsSync(pidFile)) return undefined;
    await sleep(100);
  }
  return undefined;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

async function waitUntilReady(
  port: number,
  password: string,
  exit: Promise<string>,
  logFile: string,
): Promise<void> {
  let ended: string | undefined;
  void exit.then((reason) => (ended = reason));
  const deadline = Date.now() + START_MS_MAX;
  while (Date.now() < deadline && ended === undefined) {
    if (await answers(port, password)) return;
    await sleep(50);
  }
  const tail = readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-8).join("\n  ");
  const what = ended ?? `it did not answer within ${START_MS_MAX / 1000} s`;
  throw new BanyanError("EMBEDDED_SERVER_FAILED", `the embedded Postgres did not start: ${what}\n  ${tail}`, {
    hint: `Look at ${logFile}, or give the store a URL of your own Postgres`,
  });
}

async function answers(port: number, password: string): Promise<boolean> {
  try {
    const url = `postgres://${SUPERUSER}:${password}@127.0.0.1:${port}/postgres`;
    await withClient(url, (client) => client.query("SELECT 1"));
    return true;
  } catch {
    return false;
  }
}

async function withClient(url: string, use: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  client.on("error", () => undefined);
  try {
    await client.connect();
    await use(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const probe = createServer();
    probe.once("error", fail);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => done(port));
    });
  });
}
