import { afterAll, beforeAll, expect, test } from "vitest";
import { setTimeout as sleep } from "node:timers/promises";
import { startApp, type TestApp } from "../proxy/proxy-support.ts";
import { configFolder, startCli } from "../support/cli.ts";
import { createDatabase, type TestDatabase } from "../support/databases.ts";

const CONFIG = `
import { defineMigration, env, stream, table } from "banyan";
const app = (port) => ({ url: "http://127.0.0.1:" + port });
export default defineMigration({
  name: "shadow_e2e",
  source: { kind: "postgres", url: "postgres://nobody@127.0.0.1:1/nothing" },
  store: { kind: "postgres", url: env("EVENTS_URL") },
  streams: { order: stream(table("orders"), { otherwise: "OrderAmended" }) },
  proxy: {
    listen: "127.0.0.1:0",
    upstreams: { legacy: app(process.env.LEGACY_PORT), new: app(process.env.NEW_PORT) },
    routes: [
      { method: "GET", path: "/orders/:id", stream: "order", kind: "read", id: { path: "id" } },
      { method: "PUT", path: "/orders/:id", stream: "order", kind: "write", id: { path: "id" } },
    ],
    shadow: { showValues: true, timeoutMs: 30_000 },
  },
});`;
const WAIT_MS_MAX = 90_000;
const ASK_AGAIN_MS = 15_000;

let events: TestDatabase;
let legacy: TestApp;
let fresh: TestApp;

beforeAll(async () => {
  events = await createDatabase("shadow_events");
  legacy = await startApp("legacy", (_, response) => answer(response, 1));
  fresh = await startApp("new", (_, response) => answer(response, 2));
});
afterAll(async () => {
  await legacy[Symbol.asyncDispose]();
  await fresh[Symbol.asyncDispose]();
  await events[Symbol.asyncDispose]();
});

/** So large that a thread of its own compares it. */
function answer(
  response: Parameters<NonNullable<Parameters<typeof startApp>[1]>>[1],
  total: number,
) {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ total, text: "x".repeat(50_000) }));
}

test("what the built program sees in shadow is in the store: a difference of large answers, and a write's statuses", async () => {
  using folder = configFolder(CONFIG);
  const env = {
    EVENTS_URL: events.url,
    LEGACY_PORT: String(legacy.port),
    NEW_PORT: String(fresh.port),
  };
  const running = startCli(["proxy", "--json"], { cwd: folder.directory, env });
  const port = (): string | undefined => /listening on 127.0.0.1:(\d+)/.exec(running.stderr())?.[1];
  await until("it listens", () => port() !== undefined);
  await events.query(
    "INSERT INTO banyan.rollouts (pipeline, stream_type, stage, share, salt, epoch) VALUES ('shadow_e2e', 'order', 'shadow', 0, 's', 1)",
  );
  await until("it is known", () => running.stderr().includes("order is at shadow"));
  const url = `http://127.0.0.1:${port()}/orders/7`;
  const read = (await (await fetch(`${url}?token=secret`)).json()) as { total: number };
  expect(read.total).toBe(1);
  expect((await fetch(url, { method: "PUT", body: "{}" })).status).toBe(200);
  const rowsOf = async (sql: string): Promise<readonly unknown[]> =>
    (await events.query(sql)).rows as readonly unknown[];
  const samples = "SELECT route, target, differences FROM banyan.shadow_samples";
  let askedMs = performance.now();
  await until("a sample is stored", async () => {
    // The thread that compares runs only when nobody else does, and gives up what takes it too long.
    if (performance.now() - askedMs > ASK_AGAIN_MS) {
      await (await fetch(`${url}?token=secret`)).text();
      askedMs = performance.now();
    }
    return (await rowsOf(samples)).length > 0;
  });
  running.child.kill("SIGTERM");
  const { exitCode, stderr } = await running.ended;
  expect(exitCode, stderr).toBe(0);
  for (const sample of await rowsOf(samples))
    expect(sample).toEqual({
      route: "GET /orders/:id",
      target: "/orders/7",
      differences: [{ place: "total", legacy: "1", new: "2" }],
    });
  expect(
    await rowsOf(
      "SELECT stream_id, route, legacy_status, new_status, verdict FROM banyan.shadow_writes",
    ),
  ).toEqual([
    {
      stream_id: "order-7",
      route: "PUT /orders/:id",
      legacy_status: 200,
      new_status: 200,
      verdict: "waiting",
    },
  ]);
});

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + WAIT_MS_MAX;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`not within ${WAIT_MS_MAX} ms: ${what}`);
    await sleep(20);
  }
}
