import { afterAll, beforeAll, expect, test } from "vitest";
import { openPostgresSource } from "../../connectors/postgres/source.ts";
import type { Position } from "../../src/model/position.ts";
import { configFolder, runCli, startCli, type RunningCli } from "../support/cli.ts";
import { createDatabase, type TestDatabase } from "../support/databases.ts";
import { eventually } from "../support/faults-capture.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

/*
 * What somebody reads in the terminal when the network, the slot or the store are in trouble: the code,
 * the place and the next step, while it retries and when it gives up.
 */

/** A busy machine takes long to start a program. */
const WAIT_MS_MAX = 90_000;

let legacy: TestDatabase;
let events: TestDatabase;
let folder: ReturnType<typeof configFolder>;
let env: Record<string, string>;
let name: string;

beforeAll(async () => {
  legacy = await createDatabase("messages");
  events = await createDatabase("messages_events");
  name = `m${legacy.name.slice(-8)}`;
  await legacy.query(
    `CREATE TABLE item (id int PRIMARY KEY, name text); INSERT INTO item VALUES (1, 'a');
     CREATE PUBLICATION banyan_${name} FOR TABLE item`,
  );
  folder = configFolder(`
    import { defineMigration, env, stream, table } from "banyan";
    export default defineMigration({
      name: "${name}",
      source: { kind: "postgres", url: env("LEGACY_URL") },
      store: { kind: "postgres", url: env("EVENTS_URL") },
      streams: { item: stream(table("item"), { otherwise: "ItemAmended" }) },
    });`);
  env = { LEGACY_URL: legacy.url, EVENTS_URL: events.url };
});

afterAll(async () => {
  await legacy[Symbol.asyncDispose]();
  await events[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

function run(more: Readonly<Record<string, string>> = {}): RunningCli {
  return startCli(["run"], { cwd: folder.directory, env: { ...env, ...more } });
}

async function untilSaid(cli: RunningCli, text: string): Promise<void> {
  await eventually(`"${text}"`, WAIT_MS_MAX, () => cli.stderr().includes(text)).catch(() =>
    expect(cli.stderr()).toContain(text),
  );
}

async function drain(cli: RunningCli): Promise<void> {
  cli.child.kill("SIGINT");
  expect(await cli.ended).toMatchObject({ exitCode: 0 });
}

test("a store that is not there yet is waited for, from the very start", async () => {
  const { hostname: host, port } = new URL(events.url);
  await using proxy = await startTcpProxy({ host, port: Number(port) });
  proxy.refuse();
  const cli = run({ EVENTS_URL: proxy.url(events.url) });
  await untilSaid(cli, "next: ");
  expect(cli.stderr()).toMatch(
    /^\[STORE_UNREACHABLE\] connecting: .*; trying again in 250 ms\n {2}next: .*tried again/,
  );
  proxy.resume();
  await untilSaid(cli, "baseline done");
  await drain(cli);
});

test("a slot that another reader holds: who has it, how to end it, and on it goes", async () => {
  const { rows } = await events.query("SELECT checkpoint FROM banyan.pipelines");
  const from = (rows as { checkpoint: Position }[])[0]!.checkpoint;
  const slot = `banyan_${name}`;
  const options = { url: legacy.url, slot, publication: slot, applicationName: "curious" };
  const other = openPostgresSource(options);
  const letGo = new AbortController();
  const reading = (async () => {
    for await (const _ of other.stream(from, letGo.signal));
  })();
  const active = "SELECT FROM pg_replication_slots WHERE slot_name = $1 AND active";
  await eventually("another reader", WAIT_MS_MAX, async () => {
    return (await legacy.query(active, [slot])).rowCount === 1;
  });
  const cli = run();
  await untilSaid(cli, "trying again in 500 ms");
  expect(cli.stderr()).toMatch(
    new RegExp(
      `\\[SLOT_IN_USE\\] replication slot ${slot} is being read by process \\d+ \\(curious\\)`,
    ),
  );
  // The same next step is said once.
  expect(cli.stderr().match(/ {2}next: Stop the other reader.*pg_terminate_backend/g)).toHaveLength(
    1,
  );
  letGo.abort();
  await reading;
  await other.close();
  await untilSaid(cli, "tail: ");
  await drain(cli);
});

test("a slot that is gone: the run ends with the code, the name and the way to a new baseline", async () => {
  await legacy.query("SELECT pg_drop_replication_slot($1)", [`banyan_${name}`]);
  const { exitCode, stderr } = await runCli(["run"], { cwd: folder.directory, env });
  expect(exitCode).toBe(4);
  expect(stderr).toContain(`banyan: [SLOT_LOST] replication slot banyan_${name} does not exist`);
  expect(stderr).toMatch(
    /\n {2}next: .*banyan rebaseline\. .*to begin a new one: .*empty database.*banyan run\n/,
  );
});

test("a source that refuses: the reason, without the password", async () => {
  const url = new URL(legacy.url);
  url.password = "quite-wrong";
  const { exitCode, stderr } = await runCli(["run"], {
    cwd: folder.directory,
    env: { ...env, LEGACY_URL: url.href },
  });
  expect(exitCode).toBe(4);
  expect(stderr).toMatch(/banyan: \[SOURCE_REFUSED\] connecting: .*password/);
  expect(stderr).toContain("next: Check the password in the URL.");
  expect(stderr).not.toContain("quite-wrong");
});
