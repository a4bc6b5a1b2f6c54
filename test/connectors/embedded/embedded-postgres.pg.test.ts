import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import pg from "pg";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import {
  startEmbeddedPostgres,
  type EmbeddedOptions,
  type EmbeddedPostgres,
} from "../../../connectors/embedded/embedded-postgres.ts";
import { findPostmaster, stopPostmaster } from "../../../connectors/embedded/postmaster.ts";
import { freePort } from "../../support/free-port.ts";
import { startTcpProxy } from "../../support/tcp-proxy.ts";

const isRoot = process.getuid?.() === 0;
const FLAGS = ["-c", "fsync=off"];
const WAIT_MS_MAX = 60_000;
let base: string;
let dir: string;
const servers: EmbeddedPostgres[] = [];
const children: ChildProcess[] = [];

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "banyan-embedded-"));
  chmodSync(base, 0o755);
  dir = join(base, "store");
});

afterEach(async () => {
  vi.unstubAllEnvs();
  for (const child of children.splice(0)) child.kill("SIGKILL");
  const folders = new Set([join(dir, "data"), ...servers.map(({ dataDir }) => dataDir)]);
  for (const server of servers.splice(0)) await server.stop("immediate");
  for (const dataDir of folders) {
    const running = findPostmaster(dataDir);
    if (running !== undefined) await stopPostmaster(dataDir, running, "immediate");
    rmSync(dirname(dataDir), { recursive: true, force: true });
  }
  rmSync(base, { recursive: true, force: true });
});

async function start(options: Partial<EmbeddedOptions> = {}): Promise<EmbeddedPostgres> {
  const server = await startEmbeddedPostgres({ dir, flags: FLAGS, ...options });
  servers.push(server);
  return server;
}

interface OtherUser {
  readonly child: ChildProcess;
  readonly port: number;
  readonly attached: boolean;
  readonly url: string;
}

/** Another process that starts the same server, perhaps as another user of the system. */
async function startInOtherProcess(as: { uid?: number; gid?: number } = {}): Promise<OtherUser> {
  const root = resolve(import.meta.dirname, "../../..");
  const child = spawn(
    process.execPath,
    [
      join(root, "node_modules/jiti/lib/jiti-cli.mjs"),
      join(root, "test/support/embedded-user.ts"),
      dir,
    ],
    { stdio: ["pipe", "pipe", "inherit"], env: { ...process.env, JITI_FS_CACHE: "false" }, ...as },
  );
  children.push(child);
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  return { child, ...(JSON.parse(line) as { port: number; attached: boolean; url: string }) };
}

async function ask(url: string, sql: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: WAIT_MS_MAX });
  client.on("error", () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query({ text: sql, rowMode: "array" });
    return (rows as unknown[][])[0]?.[0];
  } finally {
    await client.end().catch(() => undefined);
  }
}

test("data outlives a stop and a start, on a new port of its choice", async () => {
  const first = await start();
  expect(first.attached).toBe(false);
  await first.createDatabase("kept äß");
  await first.createDatabase("kept äß");
  await ask(first.url("kept äß"), "CREATE TABLE t AS SELECT 7 AS a");
  await first.stop("fast");
  await first.stop("fast");
  expect(findPostmaster(first.dataDir)).toBeUndefined();
  const second = await start();
  expect(await ask(second.url("kept äß"), "SELECT a FROM t")).toBe(7);
});

test("text is UTF-8 and sorts the same whatever the locale and the Postgres settings of the machine", async () => {
  for (const [name, value] of Object.entries({
    LC_ALL: "xx_YY.latin1",
    LANG: "de_DE.ISO-8859-1",
    TZ: "Asia/Tokyo",
    PGSSLMODE: "require",
    PGPASSWORD: "wrong",
    PGDATA: "/nowhere",
    LD_LIBRARY_PATH: "/nowhere",
  }))
    vi.stubEnv(name, value);
  const server = await start();
  const url = server.url("postgres");
  expect(await ask(url, "SHOW server_encoding")).toBe("UTF8");
  expect(
    await ask(
      url,
      "SELECT lower('ÄÉ') || upper('ß') || (SELECT min(x) FROM unnest(ARRAY['a', 'B']) x)",
    ),
  ).toBe("äéßB");
  expect(await ask(url, "SELECT setting FROM pg_file_settings WHERE name = 'timezone'")).toMatch(
    /UTC/,
  );
});

test("only loopback is listened on, and only who knows the password gets in", async () => {
  const server = await start();
  const url = new URL(server.url("postgres"));
  const { password } = url;
  expect(password).toMatch(/^[0-9a-f]{48}$/);
  for (const wrong of ["", "banyan", "postgres"]) {
    url.password = wrong;
    await expect(ask(url.href, "SELECT 1")).rejects.toThrow(/password/);
  }
  const outside = Object.values(networkInterfaces())
    .flat()
    .find((face) => face?.internal === false && face.family === "IPv4");
  if (outside !== undefined) {
    url.password = password;
    url.hostname = outside.address;
    await expect(ask(url.href, "SELECT 1")).rejects.toThrow(/ECONNREFUSED/);
  }
  expect(await ask(server.url("postgres"), "SHOW unix_socket_directories")).toBe("");
  await expect(ask(server.url("postgres"), "SELECT no_such_function()")).rejects.toThrow();
  expect(readFileSync(join(dir, "server.log"), "utf8")).not.toContain(password);
  expect(statSync(server.dataDir).mode & 0o777).toBe(0o700);
  expect(statSync(join(server.dataDir, "banyan-password")).mode & 0o777).toBe(0o600);
});

test("a second start attaches, and the last one out stops the server", async () => {
  const lines: string[] = [];
  const first = await start({ log: (line) => lines.push(line) });
  const second = await start({ log: (line) => lines.push(line) });
  expect(second.attached).toBe(true);
  expect(second.port).toBe(first.port);
  expect(lines[0]).toMatch(/^started .* port \d+$/);
  expect(lines[1]).toMatch(/^attached to .* port \d+$/);
  await first.stop("fast");
  expect(await ask(second.url("postgres"), "SELECT 1")).toBe(1);
  await second.stop("fast");
  expect(findPostmaster(first.dataDir)).toBeUndefined();
});

test("a crash is only for the one who started the server", async () => {
  const first = await start();
  const second = await start();
  await second.stop("immediate");
  expect(await ask(first.url("postgres"), "SELECT 1")).toBe(1);
  await first.stop("immediate");
  expect(findPostmaster(first.dataDir)).toBeUndefined();
});

test("processes that start at the same moment on a new folder share one server", async () => {
  const users = await Promise.all([startInOtherProcess(), startInOtherProcess(), start()]);
  expect(new Set(users.map(({ port }) => port)).size).toBe(1);
  expect(users.filter(({ attached }) => !attached)).toHaveLength(1);
});

test("a killed process leaves the server running; the next one attaches, and ends it when it leaves", async () => {
  const killed = await startInOtherProcess();
  expect(killed.attached).toBe(false);
  killed.child.kill("SIGKILL");
  await once(killed.child, "exit");
  expect(await ask(killed.url, "SELECT 1")).toBe(1);
  const next = await start();
  expect(next.attached).toBe(true);
  expect(next.port).toBe(killed.port);
  await vi.waitFor(async () => {
    const others =
      "SELECT count(*)::int FROM pg_stat_activity WHERE application_name = 'banyan embedded'";
    expect(await ask(next.url("postgres"), others)).toBe(1);
  }, WAIT_MS_MAX);
  await next.stop("fast");
  expect(findPostmaster(next.dataDir)).toBeUndefined();
});

test("a server killed with SIGKILL comes back with what was committed", async () => {
  const first = await start();
  await ask(first.url("postgres"), "CREATE TABLE t AS SELECT 7 AS a");
  process.kill(findPostmaster(first.dataDir)!.pid, "SIGKILL");
  const second = await start();
  expect(second.attached).toBe(false);
  expect(await ask(second.url("postgres"), "SELECT a FROM t")).toBe(7);
});

test.runIf(process.platform === "linux")(
  "a process number that now belongs to another program is not taken for the server",
  async () => {
    const first = await start();
    const pidFile = join(first.dataDir, "postmaster.pid");
    const text = readFileSync(pidFile, "utf8");
    await first.stop("fast");
    writeFileSync(pidFile, text.replace(/^\d+/, String(process.pid)));
    const second = await start();
    expect(second.attached).toBe(false);
    expect(await ask(second.url("postgres"), "SELECT 1")).toBe(1);
  },
);

test("a server that cannot start says why, with the end of its log and what to do", async () => {
  await expect(start({ flags: ["-c", "shared_buffers=nonsense"] })).rejects.toMatchObject({
    code: "EMBEDDED_SERVER_FAILED",
    message: expect.stringMatching(
      /did not start: it ended with 1\n.*shared_buffers.*nonsense/s,
    ) as string,
    hint: expect.stringContaining("server.log") as string,
  });
  const port = await freePort();
  const taken = createServer().listen(port, "127.0.0.1");
  await once(taken, "listening");
  await expect(start({ port })).rejects.toMatchObject({
    code: "EMBEDDED_SERVER_FAILED",
    message: expect.stringContaining("could not bind") as string,
  });
  taken.close();
  const server = await start({ port });
  expect(server.port).toBe(port);
});

test("a folder that holds other files is left alone", async () => {
  mkdirSync(dir);
  writeFileSync(join(dir, "thesis.txt"), "");
  await expect(start()).rejects.toMatchObject({
    code: "EMBEDDED_SERVER_FAILED",
    hint: expect.stringContaining("empty") as string,
  });
});

test("leaving in bounded time does not depend on the sessions of others", async () => {
  const server = await start();
  await using proxy = await startTcpProxy({ host: "127.0.0.1", port: server.port });
  const client = new pg.Client({ connectionString: proxy.url(server.url("postgres")) });
  client.on("error", () => undefined);
  await client.connect();
  proxy.stall();
  await server.stop("fast");
  expect(findPostmaster(server.dataDir)).toBeUndefined();
});

test.runIf(isRoot)(
  "below a private folder the data lies elsewhere, and goes with its folder",
  async () => {
    chmodSync(base, 0o700);
    const first = await start();
    expect(first.dataDir).not.toContain(dir);
    await ask(first.url("postgres"), "CREATE TABLE t AS SELECT 7 AS a");
    await first.stop("fast");
    const second = await start();
    expect(await ask(second.url("postgres"), "SELECT a FROM t")).toBe(7);
    await second.stop("fast");
    rmSync(dir, { recursive: true });
    const third = await start();
    expect(third.dataDir).not.toBe(first.dataDir);
    await expect(ask(third.url("postgres"), "SELECT a FROM t")).rejects.toThrow(/does not exist/);
  },
);

test.runIf(isRoot)("an ordinary user runs a server of their own", async () => {
  const nobody = { uid: 65534, gid: 65534 };
  chmodSync(base, 0o777);
  const user = await startInOtherProcess(nobody);
  expect(await ask(user.url, "SELECT 1")).toBe(1);
  const { pid } = findPostmaster(join(dir, "data"))!;
  expect(statSync(`/proc/${pid}`).uid).toBe(nobody.uid);
  user.child.stdin!.end();
  await once(user.child, "exit");
  expect(existsSync(join(dir, "data/postmaster.pid"))).toBe(false);
});
