import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { Pool } from "undici";
import { say, withServer } from "./support.ts";
import { freePorts } from "../connectors/embedded/free-ports.ts";

const PER_SECOND = 500;
const ITEMS = 1_000;
const START_MS_MAX = 60_000;
const TICK_MS = 2;
const LEGACY_SESSIONS = 8;
/** Longest that a request may take while writes are held back. */
const BAR_MS = 1_000;
/** What cannot be told of applications that do nothing. */
const FORCED = ["dual", "shadow", "errors", "latency"];
const CLI = join(import.meta.dirname, "../dist/src/cli/main.js");

const CONFIG = `
import { defineMigration, env, stream, table } from "banyan";
export default defineMigration({
  name: "hold",
  source: { kind: "postgres", url: env("LEGACY_URL") },
  store: { kind: "postgres", url: env("EVENTS_URL") },
  streams: { item: stream(table("item"), { otherwise: "ItemAmended" }) },
  proxy: {
    listen: "127.0.0.1:" + process.env.PROXY_PORT,
    admin: { listen: "127.0.0.1:" + process.env.ADMIN_PORT },
    upstreams: { legacy: { url: env("LEGACY_HTTP") }, new: { url: env("NEW_HTTP") } },
    routes: [
      { method: "PUT", path: "/items/:id", stream: "item", kind: "write", id: { path: "id" }, idForm: "integer" },
    ],
  },
});`;

interface Answer {
  readonly endedMs: number;
  readonly tookMs: number;
  readonly isError: boolean;
}

/**
 * How long a client waits at worst while aggregates move under its requests: real capture, proxy, store and
 * commands. The legacy application does one update for each, so that a move has changes to wait for and to
 * compare; the new one answers at once. What is measured is the move.
 */
export async function benchHold(): Promise<void> {
  say(`\n== hold: moves under ${PER_SECOND} writes a second`);
  await withServer(async (server) => {
    for (const name of ["source", "events"]) await server.createDatabase(name);
    const [proxyPort, adminPort] = (await freePorts(2)) as [number, number];
    const rows = new pg.Pool({ connectionString: server.url("source"), max: LEGACY_SESSIONS });
    // One that is idle when the server ends has nothing to tell.
    rows.on("error", () => undefined);
    const legacy = await startApplication(async (id) => {
      await rows.query("UPDATE item SET n = n + 1 WHERE id = $1", [id]);
    });
    const fresh = await startApplication(async () => {});
    const folder = mkdtempSync(join(tmpdir(), "banyan-hold-"));
    writeFileSync(join(folder, "banyan.config.ts"), CONFIG);
    const env = {
      ...process.env,
      LEGACY_URL: server.url("source"),
      EVENTS_URL: server.url("events"),
      PROXY_PORT: String(proxyPort),
      ADMIN_PORT: String(adminPort),
      LEGACY_HTTP: legacy.url,
      NEW_HTTP: fresh.url,
    };
    const start = (...args: readonly string[]): ChildProcess =>
      spawn(process.execPath, [CLI, ...args], { cwd: folder, env, stdio: "ignore" });
    const banyan = async (...args: readonly string[]): Promise<number> => {
      const child = start(...args);
      return await new Promise((done) => child.once("close", (code) => done(code ?? 1)));
    };
    await fill(server.url("source"));
    const running = [start("run"), start("proxy"), start("rollout", "run")];
    try {
      await until("the proxy", async () => {
        const health = await fetch(`http://127.0.0.1:${adminPort}/health`).catch(() => undefined);
        return health?.ok === true;
      });
      await until("a verification", async () => (await banyan("verify")) === 0);
      const load = startLoad(proxyPort);
      await sleep(2_000);
      const force = FORCED.flatMap((gate) => ["--force", gate]);
      for (const move of [
        "promote shadow",
        "promote 10%",
        "promote 50%",
        "promote new",
        "rollback 50%",
        "rollback shadow",
      ]) {
        const [kind, to] = move.split(" ") as [string, string];
        if (kind === "promote") await banyan("verify");
        const fromMs = performance.now();
        const more = kind === "promote" ? [...force, "--why", "measured"] : [];
        const code = await banyan("rollout", kind, "item", "--to", to, ...more);
        await sleep(500);
        say(
          `${`${kind} to ${to}`.padEnd(20)} ${code === 0 ? describe(load.since(fromMs)) : `not done, exit code ${code}`}`,
        );
      }
      const all = await load.stop();
      say(`all in all           ${describe(all)}`);
      const slowestMs = Math.max(...all.map(({ tookMs }) => tookMs));
      say(`longest pause        ${(slowestMs / 1_000).toFixed(2)} s (bar ${BAR_MS / 1_000} s)`);
    } finally {
      for (const child of running) child.kill("SIGINT");
      await Promise.all(running.map(ended));
      for (const { close } of [legacy, fresh]) await close();
      await rows.end();
      rmSync(folder, { recursive: true, force: true });
    }
  });
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null) await new Promise((done) => child.once("close", done));
}

async function fill(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(`
    CREATE TABLE item (id int PRIMARY KEY, n int NOT NULL);
    INSERT INTO item SELECT i, 0 FROM generate_series(1, ${ITEMS}) i;
    CREATE PUBLICATION banyan_hold FOR TABLE item`);
  await client.end();
}

async function startApplication(
  write: (id: number) => Promise<void>,
): Promise<{ url: string; close: () => Promise<void> }> {
  const server: Server = createServer((request, response) => {
    request.resume();
    const answer = (status: number) => (): void => void response.writeHead(status).end("{}");
    write(Number(request.url!.split("/").at(-1))).then(answer(200), answer(500));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

/** Asks at a steady rate, whether or not the answers come; a request's time runs from when it was due. */
function startLoad(port: number): {
  since(ms: number): readonly Answer[];
  stop(): Promise<readonly Answer[]>;
} {
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: 512 });
  const answers: Answer[] = [];
  const under: Promise<void>[] = [];
  const startedMs = performance.now();
  let asked = 0;
  const ask = async (dueMs: number): Promise<void> => {
    const path = `/items/${1 + (asked % ITEMS)}`;
    let isError = true;
    try {
      const { statusCode, body } = await pool.request({ method: "PUT", path });
      await body.dump();
      isError = statusCode !== 200;
    } catch {
      // Counted.
    }
    const endedMs = performance.now();
    answers.push({ endedMs, tookMs: endedMs - dueMs, isError });
  };
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - startedMs) * PER_SECOND) / 1_000);
    for (; asked < due; asked++) under.push(ask(startedMs + (asked * 1_000) / PER_SECOND));
  }, TICK_MS);
  return {
    since: (ms) => answers.filter(({ endedMs }) => endedMs >= ms),
    async stop() {
      clearInterval(timer);
      await Promise.all(under);
      await pool.destroy();
      return answers;
    },
  };
}

function describe(answers: readonly Answer[]): string {
  const took = answers.map(({ tookMs }) => tookMs).sort((a, b) => a - b);
  const at = (share: number): string =>
    `${Math.round(took[Math.floor((took.length - 1) * share)] ?? 0)} ms`;
  const errors = answers.filter(({ isError }) => isError).length;
  return `${answers.length} requests, ${errors} errors, p50 ${at(0.5)}, p99 ${at(0.99)}, slowest ${at(1)}`;
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + START_MS_MAX;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`in vain for ${what}`);
    await sleep(100);
  }
}
