import pg from "pg";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  endOf,
  expectNoStack,
  hasEnded,
  openHelpdesk,
  stop,
  until,
  type Helpdesk,
} from "../support/e2e-helpdesk.ts";
import { startCli, type RunningCli } from "../support/cli.ts";

/*
 * The first SIGINT or SIGTERM drains: what was read before it is durable when the process has ended,
 * with 0. The second one ends the process at once, with 130. Neither loses or repeats anything.
 */

let desk: Helpdesk;

beforeAll(async () => {
  desk = await openHelpdesk({ label: "signals" });
  expect((await desk.banyan("run --until-caught-up")).exitCode).toBe(0);
});
afterAll(() => desk?.[Symbol.asyncDispose]());

/** Keeps every commit of the store waiting until it is disposed. */
async function holdStore(): Promise<AsyncDisposable> {
  const client = new pg.Client({ connectionString: desk.events.url });
  client.on("error", () => undefined);
  await client.connect();
  await client.query("BEGIN; LOCK TABLE banyan.events IN EXCLUSIVE MODE");
  let released: Promise<void> | undefined;
  return { [Symbol.asyncDispose]: () => (released ??= client.end()) };
}

/** Until a change has been read and mapped, and its commit stands before the lock. */
async function untilHeld(running: RunningCli): Promise<void> {
  const waiting =
    "SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock' AND application_name LIKE 'banyan%'";
  await until(
    "a commit of the store waits",
    async () => (await desk.events.query(waiting, [desk.events.name])).rowCount! > 0,
    running,
  );
}

async function typesOf(stream: string): Promise<readonly string[]> {
  const { rows } = await desk.events.query(
    "SELECT type FROM banyan.events WHERE stream_id = $1 ORDER BY version",
    [stream],
  );
  return (rows as { type: string }[]).map(({ type }) => type);
}

async function insertTicket(title: string): Promise<string> {
  const sql = "INSERT INTO tickets (title) VALUES ($1) RETURNING id";
  const { rows } = await desk.legacy.query(sql, [title]);
  return `ticket-${(rows[0] as { id: string }).id}`;
}

describe.each(["SIGINT", "SIGTERM"] as const)("%s to banyan run", (signal) => {
  test("what was read is durable first, then it ends with 0", async () => {
    const running = await desk.run("--json");
    await using held = await holdStore();
    const stream = await insertTicket(`read before ${signal}`);
    await untilHeld(running);
    running.child.kill(signal);
    await sleep(300);
    // It does not end with something in hand.
    expect(hasEnded(running)).toBe(false);
    expect(await typesOf(stream)).toEqual([]);
    await held[Symbol.asyncDispose]();
    const { exitCode, stdout, stderr } = await endOf(running);
    expect(exitCode).toBe(0);
    expect(await typesOf(stream)).toEqual(["TicketOpened"]);
    const { rows } = await desk.events.query("SELECT checkpoint, phase FROM banyan.pipelines");
    const [{ checkpoint, phase }] = rows as [{ checkpoint: string; phase: string }];
    expect(JSON.parse(stdout)).toMatchObject({ phase: "stopped", positions: { checkpoint } });
    expect(phase).toBe("stopped");
    expectNoStack(stderr);
  });

  test("under load it ends between two commits, and the next run begins there", async () => {
    const running = await desk.run();
    const load = new AbortController();
    const streams: string[] = [];
    const writing = (async () => {
      while (!load.signal.aborted) streams.push(await insertTicket(`load of ${signal}`));
    })();
    const isRead = async (): Promise<boolean> =>
      streams.length > 0 && (await typesOf(streams[0]!)).length > 0;
    await until("the first of it is in the store", isRead, running);
    await sleep(300);
    const { stdout } = await (async () => {
      running.child.kill(signal);
      return await endOf(running);
    })();
    load.abort();
    await writing;
    expect(stdout).toMatch(/^stopped at [0-9A-F/]+: .* Run it again to go on\.\n$/);
    // One writer, so what is there is the beginning of what was written.
    const there = await Promise.all(streams.map(async (id) => (await typesOf(id)).length));
    expect(there).toEqual(there.map((_, i) => (i < there.filter((n) => n > 0).length ? 1 : 0)));
    expect(there[0]).toBe(1);
    expect((await desk.banyan("run --until-caught-up")).exitCode).toBe(0);
    const after = await Promise.all(streams.map(async (id) => await typesOf(id)));
    expect(after.filter((types) => types.join() !== "TicketOpened")).toEqual([]);
  });
});

test.each([
  ["SIGINT", "SIGINT"],
  ["SIGTERM", "SIGINT"],
] as const)(
  "%s, then %s: it ends at once with 130, and nothing is lost or told twice",
  async (first, second) => {
    const running = await desk.run();
    let endedMs: number;
    let stream: string;
    {
      await using _held = await holdStore();
      stream = await insertTicket(`${first}, ${second}`);
      await untilHeld(running);
      running.child.kill(first);
      await sleep(300);
      expect(hasEnded(running)).toBe(false);
      const startedMs = Date.now();
      running.child.kill(second);
      const { exitCode, stdout, stderr } = await endOf(running);
      endedMs = Date.now() - startedMs;
      expect({ exitCode, stdout }).toEqual({ exitCode: 130, stdout: "" });
      expectNoStack(stderr);
      expect(await typesOf(stream)).toEqual([]);
    }
    // Far below the grace that the first one gives.
    expect(endedMs).toBeLessThan(15_000);
    expect((await desk.banyan("run --until-caught-up")).exitCode).toBe(0);
    expect(await typesOf(stream)).toEqual(["TicketOpened"]);
  },
);

test("all of it is in the store, row for row", async () => {
  const running = await desk.run();
  expect((await desk.banyan("verify")).stdout).toMatch(/✓ equal/);
  await stop(running);
});

test("a verify that is stopped has no verdict, and says so without a stack", async () => {
  for (const options of [[], ["--json"]]) {
    const verify = startCli(["verify", ...options], { cwd: desk.directory, env: desk.env });
    await until("it waits", () => verify.stderr().includes("waiting for the pipeline"), verify);
    verify.child.kill("SIGINT");
    const { exitCode, stdout, stderr } = await endOf(verify);
    expect({ exitCode, stdout }).toEqual({ exitCode: 4, stdout: "" });
    expect(stderr).toMatch(
      /\nbanyan: stopped before there was a result\. Run it again to begin anew\.\n$/,
    );
    expectNoStack(stderr);
  }
});

test("a run that is stopped in its baseline keeps nothing, says so, and ends with 0", async () => {
  await using fresh = await openHelpdesk({ label: "signals_baseline" });
  // A transaction that is open keeps the slot from being made.
  const open = new pg.Client({ connectionString: fresh.legacy.url });
  open.on("error", () => undefined);
  await open.connect();
  await open.query("BEGIN; UPDATE tickets SET title = 'open'");
  const running = startCli(["run"], { cwd: fresh.directory, env: fresh.env });
  const creating =
    "SELECT FROM pg_stat_activity WHERE query LIKE 'CREATE_REPLICATION_SLOT%' AND datname = $1";
  await until(
    "the slot is being made",
    async () => (await fresh.legacy.query(creating, [fresh.legacy.name])).rowCount! > 0,
    running,
  );
  running.child.kill("SIGTERM");
  const { exitCode, stdout, stderr } = await endOf(running);
  await open.end();
  expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "stopped\n" });
  expectNoStack(stderr);
  expect((await fresh.banyan("run --until-caught-up")).exitCode).toBe(0);
  expect((await fresh.banyan("history ticket-1")).exitCode).toBe(0);
});
