import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { documentedShape, printedShape } from "../docs/json-shape.ts";
import { configFolder, runCli, startCli, type CliResult, type RunningCli } from "../support/cli.ts";
import { createDatabase, type TestDatabase } from "../support/databases.ts";

const NAME = `rollout_${randomUUID().slice(0, 8)}`;
const CONFIG = `
import { defineMigration, env, stream, table } from "banyan";
const app = (port) => ({ url: "http://127.0.0.1:" + port });
export default defineMigration({
  name: "${NAME}",
  source: { kind: "postgres", url: env("LEGACY_URL") },
  store: { kind: "postgres", url: env("EVENTS_URL") },
  streams: { item: stream(table("item"), { otherwise: "ItemAmended" }) },
  proxy: {
    listen: "127.0.0.1:0",
    upstreams: { legacy: app(1), new: app(2) },
    routes: [
      { method: "GET", path: "/items", stream: "item", kind: "read" },
      { method: "PUT", path: "/items/:id", stream: "item", kind: "write", id: { path: "id" } },
      { method: "POST", path: "/items", stream: "item", kind: "create" },
    ],
  },
});`;

let legacy: TestDatabase;
let events: TestDatabase;
let folder: ReturnType<typeof configFolder>;
let env: Record<string, string>;
let capture: RunningCli;
let proxying: Promise<void> = Promise.resolve();
const ending = new AbortController();
const printed = new Map<string, unknown[]>();

beforeAll(async () => {
  legacy = await createDatabase("rollout_legacy");
  events = await createDatabase("rollout_events");
  folder = configFolder(CONFIG);
  env = { LEGACY_URL: legacy.url, EVENTS_URL: events.url };
  await legacy.query(`
    CREATE TABLE item (id int PRIMARY KEY, label text NOT NULL UNIQUE);
    CREATE UNIQUE INDEX ON item (lower(label)) WHERE id > 9;
    CREATE UNIQUE INDEX ON item (id, label);
    INSERT INTO item SELECT n, 'label ' || n FROM generate_series(1, 50) n;
    CREATE PUBLICATION banyan_${NAME} FOR TABLE item`);
  capture = startCli(["run"], { cwd: folder.directory, env });
  await until("the baseline", async () => {
    if (capture.child.exitCode !== null) throw new Error(capture.stderr());
    const { rows } = await events
      .query("SELECT checkpoint FROM banyan.pipelines WHERE checkpoint IS NOT NULL")
      .catch(() => ({ rows: [] }));
    return rows.length > 0;
  });
}, 240_000);

afterAll(async () => {
  ending.abort();
  await proxying;
  capture.child.kill("SIGINT");
  await capture.ended;
  await legacy[Symbol.asyncDispose]();
  await events[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`in vain for ${what}`);
    await sleep(50);
  }
}

function banyan(...args: readonly string[]): Promise<CliResult> {
  return runCli(args, { cwd: folder.directory, env });
}

/** Runs it with --json, and keeps the document of its kind. */
async function document(kind: string, ...args: readonly string[]) {
  const { stdout, stderr, exitCode } = await banyan("rollout", ...args, "--json");
  if (stdout === "") throw new Error(stderr);
  const told = JSON.parse(stdout) as Record<string, unknown>;
  printed.set(kind, [...(printed.get(kind) ?? []), told]);
  return { ...told, exitCode } as Record<string, unknown> & { exitCode: number };
}

/** As a proxy without traffic says what it knows. */
async function proxy(): Promise<void> {
  const instance = randomUUID();
  while (!ending.signal.aborted) {
    await events.query(
      `INSERT INTO banyan.proxies (pipeline, instance, place, stream_type, epoch, knows)
       SELECT $1, $2, 'host:1', 'item', e, e
         FROM (SELECT coalesce((SELECT epoch FROM banyan.rollouts WHERE pipeline = $1), 0) AS e) x
       ON CONFLICT (pipeline, stream_type, instance)
       DO UPDATE SET epoch = excluded.epoch, knows = excluded.knows, seen_at = clock_timestamp()`,
      [NAME, instance],
    );
    await sleep(25);
  }
}

/** As reverse sync says of itself. */
async function reverseRuns(): Promise<void> {
  await events.query(
    `INSERT INTO banyan.reverse_progress (pipeline, cursor, updated_at)
     VALUES ($1, '9/9', clock_timestamp() + interval '1 hour')`,
    [NAME],
  );
}

test("a stream type goes to shadow and canary by its gates, and back, and the log has all of it", async () => {
  expect(await document("status", "status")).toMatchObject({
    types: [{ type: "item", stage: "legacy" }],
  });
  const plan = await banyan("rollout", "plan");
  expect(plan).toMatchObject({ exitCode: 0 });
  for (const line of [
    "item stands at legacy",
    "1. banyan rollout promote item --to shadow  (may not run now)",
    "✗ proxies  no proxy was seen",
    "3. banyan rollout promote item --to 10%",
    "! GET /items: names no aggregate: stays with legacy until 100%",
    "! POST /items: does not say where legacy's answer has the new id",
    "item (label): is unique over all aggregates",
    "item (lower(label) WHERE id > 9): is unique over all aggregates",
  ])
    expect(plan.stdout).toContain(line);
  expect(plan.stdout).not.toContain("item (id, label)");
  const refused = await document("move", "promote", "item");
  expect(refused).toMatchObject({ outcome: "refused", exitCode: 1 });

  proxying = proxy();
  await until(
    "the proxy",
    async () => (await events.query("SELECT FROM banyan.proxies")).rowCount! > 0,
  );
  expect(await document("plan", "plan", "item")).toMatchObject({ exitCode: 0 });
  expect(await document("move", "promote", "item")).toMatchObject({ outcome: "done", exitCode: 0 });
  await reverseRuns();
  const waiting = await document("move", "promote", "item");
  expect(waiting).toMatchObject({ outcome: "waiting", exitCode: 1 });
  expect(await banyan("verify")).toMatchObject({ exitCode: 0 });
  const force = ["--force", "dual", "--force", "shadow"];
  const unsaid = await banyan("rollout", "promote", "item", "--to", "10%", ...force);
  expect(unsaid).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("--why") });
  await legacy.query("UPDATE item SET label = 'changed ' || id WHERE id < 20");
  const why = ["--why", "no traffic yet"];
  const killed = "00000000-0000-4000-8000-00000000dead";
  await events.query(
    `INSERT INTO banyan.proxies (pipeline, instance, place, stream_type, epoch, knows, seen_at)
     VALUES ($1, $2, 'gone:2', 'item', 0, 0, now() - interval '60 s')`,
    [NAME, killed],
  );
  // Writes are not held back for one that will not answer.
  const vain = await document("move", "promote", "item", "--to", "10%", ...force, ...why);
  expect(vain).toMatchObject({ outcome: "refused", exitCode: 1 });
  expect(JSON.stringify(vain["gates"])).toMatch(
    /1 running, but it would be not acknowledged by gone:2 .*--without-proxy 0+-0000-4000-8000-0+dead/,
  );
  expect((await banyan("rollout", "plan")).stdout).toContain("gone:2");
  for (const mistyped of ["gone:2", killed.replace("dead", "deaf")]) {
    const without = ["--without-proxy", mistyped];
    const wrong = await banyan("rollout", "promote", "item", ...force, ...why, ...without);
    expect(wrong).toMatchObject({ exitCode: 2, stdout: "" });
    expect(wrong.stderr).toContain(`--without-proxy: there is no proxy ${mistyped}`);
    expect(wrong.stderr).toMatch(/Proxies are: .*0dead \(gone:2\)/);
  }
  expect((await document("status", "status"))["underWay"]).toEqual([]);
  const forced = await document(
    "move",
    "promote",
    "item",
    "--to",
    "10%",
    ...force,
    ...why,
    "--without-proxy",
    killed,
  );
  await events.query("DELETE FROM banyan.proxies WHERE instance = $1", [killed]);
  expect(forced).toMatchObject({ outcome: "done", to: { stage: "canary", share: 1_000 } });
  expect(await document("status", "status")).toMatchObject({
    types: [{ stage: "canary", share: 1_000, proxies: [{ place: "host:1" }] }],
  });

  await events.query("DELETE FROM banyan.reverse_progress");
  const lossy = await document("move", "rollback", "item");
  expect(lossy).toMatchObject({
    outcome: "refused",
    exitCode: 1,
    reason: expect.stringContaining("--word lose-item"),
  });
  const back = await document("move", "rollback", "item", "--word", "lose-item", "--who", "bob");
  expect(back).toMatchObject({ outcome: "done", to: { stage: "shadow", share: 0 } });
  const log = await document("log", "log");
  const [last] = log["entries"] as [Record<string, unknown>];
  expect(last).toMatchObject({
    who: "bob",
    what: "rollback done",
    detail: { forced: ["reverse"] },
  });
  const whys = (log["entries"] as { why: string }[]).map(({ why }) => why);
  expect(whys).toContain("no traffic yet");
});

test("what is paused is not promoted, and a wrong command line says what is right", async () => {
  expect(await document("pause", "pause", "item", "--why", "lunch")).toMatchObject({
    paused: true,
    changed: true,
  });
  const refusals = [
    ["promote item", "[USAGE] item is paused"],
    ["promote items", "there is no stream type items"],
    ["promote item --force luck --why x", "there is no gate luck"],
    ["rollback item --force reverse --why x", "a rollback has no gate that is passed over"],
    ["log items", "there is no stream type items"],
    ["promote item --to 200%", "no stage and no share"],
    ["complete item", "only new can be completed"],
    ["rollback item --to new", "not behind it"],
    ["", "say what to do: plan, status"],
    ["promote", "next: See: banyan rollout promote --help"],
  ] as const;
  for (const [line, says] of refusals) {
    const { exitCode, stdout, stderr } = await banyan(
      "rollout",
      ...line.split(" ").filter(Boolean),
    );
    expect({ exitCode, stdout }, line).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr, line).toContain(says);
  }
  expect(await document("pause", "resume", "item")).toMatchObject({ paused: false, changed: true });
});

test("the daemon takes up a move that a killed process left, and brings back what errors", async () => {
  await reverseRuns();
  const killed = await runCli(
    [
      "rollout",
      "promote",
      "item",
      "--to",
      "50%",
      "--force",
      "dual",
      "--force",
      "shadow",
      "--why",
      "x",
    ],
    {
      cwd: folder.directory,
      env: { ...env, BANYAN_FAILPOINT: "move-held" },
    },
  );
  expect(killed.signal).toBe("SIGKILL");
  const heard = (ago: string) =>
    events.query(
      `UPDATE banyan.moves SET touched_at = now() - interval '${ago}' WHERE ended_at IS NULL`,
    );
  await heard("-1 minute");
  const early = await banyan("rollout", "resume", "item");
  expect(early).toMatchObject({ exitCode: 0, stdout: "item was not paused already\n" });
  expect(early.stderr).toMatch(/a promote that .+ began is under way \(held\).*run this again/);
  await heard("1 minute");
  const daemon = startCli(["rollout", "run", "--json"], { cwd: folder.directory, env });
  const lines = (): Record<string, unknown>[] =>
    daemon
      .stdout()
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  const event = (what: string) => async () =>
    Promise.resolve(lines().some((line) => line["what"] === what));
  await until("the move is taken up", event("resumed"));
  await banyan("verify");
  const on = await document(
    "move",
    "promote",
    "item",
    "--to",
    "50%",
    "--force",
    "dual",
    "--force",
    "shadow",
    "--why",
    "x",
  );
  expect(on).toMatchObject({ outcome: "done" });
  await events.query(
    `INSERT INTO banyan.traffic (pipeline, second, stream_type, route, side, instance, requests, errors, millis, slower)
     VALUES ($1, clock_timestamp(), 'item', 'GET /', 'new', gen_random_uuid(), 200, 100, 0, array_fill(0, ARRAY[13]))`,
    [NAME],
  );
  await until("the way back", event("rolled-back"));
  daemon.child.kill("SIGINT");
  expect(await daemon.ended).toMatchObject({ exitCode: 0 });
  printed.set("run", lines());
  const back = lines().find((line) => line["what"] === "rolled-back");
  expect(back!["seconds"]).toBeLessThan(10);

  await events.query(
    `DO $$ BEGIN PERFORM banyan.lock_authority('${NAME}', 'item');
       UPDATE banyan.rollouts SET stage = 'complete', epoch = epoch + 1 WHERE pipeline = '${NAME}'; END $$`,
  );
  const { stderr } = await banyan("verify");
  expect(stderr).toContain("item is complete: nothing is written back any more");
});

test.each([
  ["plan", "rollout plan"],
  ["status", "rollout status"],
  ["move", "rollout move"],
  ["pause", "rollout pause"],
  ["log", "rollout log"],
  ["run", "rollout run"],
])("the page says what rollout %s prints, and nothing else", (kind, title) => {
  const documented = documentedShape(title);
  const shape = printedShape(printed.get(kind) ?? [], documented);
  const unknown = [...shape.leaves].filter(
    ([path, types]) => ![...types].every((type) => documented.leaves.get(path)?.has(type)),
  );
  expect(unknown).toEqual([]);
  expect(shape.leaves.size).toBeGreaterThan(0);
  expect([...shape.optional].filter((path) => !documented.optional.has(path))).toEqual([]);
});
