import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { documentedShape, listed, printedShape } from "../docs/json-shape.ts";
import {
  exchangeRaw,
  rawClient,
  refusalOf,
  startApp,
  statusOf,
  type TestApp,
} from "../proxy/proxy-support.ts";
import { configFolder, runCli, startCli, type RunningCli } from "../support/cli.ts";
import { createDatabase, type TestDatabase } from "../support/databases.ts";

const NAME = `proxy_${randomUUID().slice(0, 8)}`;
const CONFIG = `
import { defineMigration, env, stream, table } from "banyan";
const app = (port) => ({ url: "http://127.0.0.1:" + port });
export default defineMigration({
  name: "${NAME}",
  source: { kind: "postgres", url: "postgres://nobody@127.0.0.1:1/nothing" },
  store: { kind: "postgres", url: env("EVENTS_URL") },
  streams: { order: stream(table("orders"), { otherwise: "OrderAmended" }) },
  proxy: {
    listen: "127.0.0.1:0",
    admin: { listen: "127.0.0.1:0", token: env("ADMIN_TOKEN") },
    upstreams: { legacy: app(process.env.LEGACY_PORT), new: app(process.env.NEW_PORT) },
    routes: [{ method: "GET", path: "/orders/:id", stream: "order", kind: "read", id: { path: "id" } }],
    accessLog: "access.log",
    shadow: { reads: 0 },
  },
});`;
const TOKEN = "token-of-the-admin-plane";
const WAIT_MS_MAX = 60_000;

let events: TestDatabase;
let legacy: TestApp;
let fresh: TestApp;
let folder: ReturnType<typeof configFolder>;

beforeAll(async () => {
  events = await createDatabase("proxy_events");
  legacy = await startApp("legacy");
  fresh = await startApp("new");
  folder = configFolder(CONFIG);
});
afterAll(async () => {
  await legacy[Symbol.asyncDispose]();
  await fresh[Symbol.asyncDispose]();
  await events[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

test("a request follows the rollout in the store, and the first signal lets what is under way end", async () => {
  const { running, port, admin } = await start({});
  const ask = (): Promise<string> => exchangeRaw(port, "GET /orders/1 HTTP/1.1\r\nHost: a\r\n\r\n");
  expect(await ask()).toMatch(/legacy \/orders\/1$/);
  await roll("new", 1);
  await until("it is known", () => running.stderr().includes("order is at new, epoch 1"));
  expect(await ask()).toMatch(/new \/orders\/1$/);
  const health = `GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n`;
  expect(statusOf(await exchangeRaw(admin, `${health}\r\n`))).toBe(401);
  expect(await exchangeRaw(admin, `${health}Authorization: Bearer ${TOKEN}\r\n\r\n`)).toMatch(
    /"ready"/,
  );

  const slow = rawClient(port);
  slow.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nha");
  await until("it has begun", () => legacy.begun() > 1);
  running.child.kill("SIGTERM");
  await until("it drains", () => running.stderr().includes("draining"));
  slow.send("lf");
  expect(await slow.closed()).toMatch(/^HTTP\/1\.1 200[^]*legacy \/slow$/);
  const { exitCode, stdout, stderr } = await running.ended;
  expect(exitCode, stderr).toBe(0);
  const document = JSON.parse(stdout) as object;
  expect(document).toMatchObject({ requests: 3, drained: true });
  const documented = documentedShape("proxy");
  expect(listed(printedShape([document], documented))).toEqual(listed(documented));
  expect(stderr).not.toContain(TOKEN);
});

test("a store that is down at the start costs the routed requests only", async () => {
  const url = new URL(events.url);
  url.port = "1";
  const { running, port } = await start({ EVENTS_URL: url.href });
  const routed = await exchangeRaw(port, "GET /orders/1 HTTP/1.1\r\nHost: a\r\n\r\n");
  expect([statusOf(routed), refusalOf(routed)]).toEqual([503, "authority-unknown"]);
  expect(await exchangeRaw(port, "GET /page HTTP/1.1\r\nHost: a\r\n\r\n")).toMatch(
    /legacy \/page$/,
  );
  running.child.kill("SIGINT");
  expect((await running.ended).exitCode).toBe(0);
});

test("an upstream with TLS must have the certificate of its name, whatever host a client names", async () => {
  const tls = (name: string): string => join(import.meta.dirname, "../support/tls", name);
  const key = readFileSync(tls("server.key"));
  const names: string[] = [];
  const SNICallback = (name: string, done: (error: null) => void): void => {
    names.push(name);
    done(null);
  };
  const secure = createServer(
    { key, cert: readFileSync(tls("server.crt")), SNICallback },
    (request, response) => response.end(`secure ${request.headers.host}`),
  );
  await new Promise<void>((done) => secure.listen(0, "127.0.0.1", done));
  const { port: securePort } = secure.address() as AddressInfo;
  const text = CONFIG.replace(
    "legacy: app(process.env.LEGACY_PORT)",
    `legacy: { url: "https://localhost:${securePort}" }`,
  );
  using other = configFolder(text);
  const answers: string[] = [];
  for (const more of [{ NODE_EXTRA_CA_CERTS: tls("ca.crt") }, {}]) {
    const { running, port } = await start(more, other.directory);
    for (const host of ["a.example", "b.example"])
      answers.push(await exchangeRaw(port, `GET /page HTTP/1.1\r\nHost: ${host}\r\n\r\n`));
    running.child.kill("SIGINT");
    await running.ended;
  }
  secure.closeAllConnections();
  secure.close();
  expect(answers.slice(0, 2).map((one) => one.split("\r\n\r\n")[1])).toEqual([
    "secure a.example",
    "secure b.example",
  ]);
  expect(answers.slice(2).map(refusalOf)).toEqual(["upstream-failed", "upstream-failed"]);
  expect(new Set(names)).toEqual(new Set(["localhost"]));
});

test("a drain that was asked for on the admin plane ends the program too", async () => {
  const { running, admin } = await start({});
  const answer = await exchangeRaw(
    admin,
    `POST /drain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer ${TOKEN}\r\n\r\n`,
  );
  expect(statusOf(answer)).toBe(202);
  const { exitCode, stderr } = await running.ended;
  expect(exitCode, stderr).toBe(0);
  expect(stderr).toContain("audit: drain was asked for by 127.0.0.1");
});

test("a config without a proxy, and an address that is taken, are told with what to do", async () => {
  using without = configFolder(CONFIG.replace(/ {2}proxy: \{[^]*\n {2}\},\n/, ""));
  const missing = await runCli(["proxy"], { cwd: without.directory, env: environment({}) });
  expect([missing.exitCode, missing.stderr]).toEqual([
    2,
    expect.stringMatching(/\[CONFIG_INVALID\][^]*next: Add proxy/),
  ]);
  using taken = configFolder(CONFIG.replace("127.0.0.1:0", `127.0.0.1:${legacy.port}`));
  const refused = await runCli(["proxy"], { cwd: taken.directory, env: environment({}) });
  expect([refused.exitCode, refused.stderr]).toEqual([
    4,
    expect.stringContaining("[PROXY_NOT_LISTENING]"),
  ]);
});

function environment(more: Readonly<Record<string, string>>): Record<string, string> {
  return {
    EVENTS_URL: events.url,
    ADMIN_TOKEN: TOKEN,
    LEGACY_PORT: String(legacy.port),
    NEW_PORT: String(fresh.port),
    ...more,
  };
}

async function start(
  more: Readonly<Record<string, string>>,
  cwd: string = folder.directory,
): Promise<{ running: RunningCli; port: number; admin: number }> {
  const running = startCli(["proxy", "--json"], { cwd, env: environment(more) });
  await until("it listens", () => {
    if (running.child.exitCode !== null) throw new Error(running.stderr());
    return /admin plane on \S+/.test(running.stderr());
  });
  const portOf = (pattern: RegExp): number => Number(pattern.exec(running.stderr())![1]);
  return {
    running,
    port: portOf(/listening on [\d.]+:(\d+)/),
    admin: portOf(/admin plane on [\d.]+:(\d+)/),
  };
}

async function roll(stage: string, epoch: number): Promise<void> {
  await events.query(
    `INSERT INTO banyan.rollouts (pipeline, stream_type, stage, salt, epoch) VALUES ('${NAME}', 'order', '${stage}', 's', ${epoch})`,
  );
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  const deadline = Date.now() + WAIT_MS_MAX;
  while (!isSo()) {
    if (Date.now() > deadline) throw new Error(`not within ${WAIT_MS_MAX / 1000} s: ${what}`);
    await sleep(20);
  }
}
