import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { documentedShape, listed, printedShape } from "../docs/json-shape.ts";
import { page, tableRows } from "../docs/markdown.ts";
import {
  endOf,
  expectNoStack,
  expectTold,
  openHelpdesk,
  until,
  type Helpdesk,
} from "../support/e2e-helpdesk.ts";
import type { DemoDocument } from "../../src/cli/demo/demo.ts";
import { CLI, runCli, startCli } from "../support/cli.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

/*
 * What a script can tell from the exit code alone. 2, 4 and 130 are in the files beside this one too,
 * with what is said; here is one of each kind, so that the set is that of docs/errors.md.
 */

/** Of the whole way; most of it is waiting. */
const DEMO_MS_MAX = 560_000;
const seen = new Set<number | null>();
let desk: Helpdesk;

beforeAll(async () => {
  desk = await openHelpdesk({ label: "exit_codes" });
  expect((await desk.banyan("run --until-caught-up")).exitCode).toBe(0);
});
afterAll(() => desk?.[Symbol.asyncDispose]());

async function exitOf(line: string, more: Readonly<Record<string, string>> = {}) {
  const { exitCode } = await desk.banyan(line, more);
  seen.add(exitCode);
  return exitCode;
}

test("0 is done, also for help and version", async () => {
  for (const line of ["check", "history ticket-1", "--help", "run --help", "--version"])
    expect({ line, exitCode: await exitOf(line) }).toEqual({ line, exitCode: 0 });
});

test("1 is that something was found", async () => {
  expect(await exitOf("state ticket-1 --at 2000-01-01")).toBe(1);
});

test("2 is the command line or the config, 4 the environment and what could not be told", async () => {
  expect(await exitOf("frob")).toBe(2);
  expect(await exitOf("check", { LEGACY_URL: "" })).toBe(2);
  expect(await exitOf("check", { LEGACY_URL: "postgres://nobody@127.0.0.1:1/x" })).toBe(4);
  expect(await exitOf("verify --wait 0")).toBe(4);
});

test("70 is a bug, or a store that somebody wrote into: here alone there is a stack", async () => {
  await desk.events.query(
    `INSERT INTO banyan.events (event_id, time, version, source_id, mapping_version, schema_version, origin,
                                stream_id, type, source_position, source_transaction, data)
     SELECT gen_random_uuid(), time, version + 1, source_id, mapping_version, schema_version, origin,
            stream_id, 'Nonsense', 'FFFFFFFFFFFFFFFF/00000000', source_transaction, data
       FROM banyan.events WHERE stream_id = 'ticket-2'`,
  );
  const { exitCode, stdout, stderr } = await desk.banyan("state ticket-2 --json");
  seen.add(exitCode);
  expect({ exitCode, stdout }).toEqual({ exitCode: 70, stdout: "" });
  expect(stderr).toMatch(
    /^banyan: \[INVARIANT_BROKEN\] no mapping version says how Nonsense of ticket-2 folds\n[^]*\n {4}at /,
  );
});

test("an event that a service appended is no bug: state cannot fold it, and says so", async () => {
  await desk.events.query(
    `INSERT INTO banyan.events (event_id, time, version, origin, stream_id, type, data)
     VALUES (gen_random_uuid(), now(), 2, 'native', 'ticket-1', 'TicketEscalated', '{}')`,
  );
  expectTold(await desk.banyan("state ticket-1 --json"), {
    exitCode: 2,
    code: "USAGE",
    says: /^event 2 of ticket-1, TicketEscalated, was appended by a service/,
    next: /banyan history ticket-1/,
  });
  expect(await exitOf("state ticket-1 --version 1")).toBe(0);
});

test("a result that cannot be written is no finding; one that nobody reads is no trouble", async () => {
  const shell = (line: string): Promise<{ code: number; stderr: string }> =>
    new Promise((done) => {
      const env = { ...process.env, ...desk.env, NODE: process.execPath, CLI };
      execFile("bash", ["-c", line], { cwd: desk.directory, env }, (error, _, stderr) =>
        done({ code: typeof error?.code === "number" ? error.code : 0, stderr }),
      );
    });
  const full = await shell('"$NODE" "$CLI" history ticket-1 > /dev/full');
  expect(full).toEqual({
    code: 4,
    stderr: "banyan: the result could not be written: ENOSPC: no space left on device, write\n",
  });
  const closed = await shell('"$NODE" "$CLI" history ticket-1 | true; exit ${PIPESTATUS[0]}');
  expect(closed).toEqual({ code: 0, stderr: "" });
});

/* Both wait for most of a minute and more, so they wait together. */
describe.concurrent("what takes long", () => {
  test("75 is that it did not end within 30 seconds of the first signal", async ({ expect }) => {
    await using other = await openHelpdesk({ label: "exit_75" });
    const { hostname: host, port } = new URL(other.events.url);
    await using proxy = await startTcpProxy({ host, port: Number(port) });
    const running = startCli(["run", "--json"], {
      cwd: other.directory,
      env: { ...other.env, EVENTS_URL: proxy.url(other.events.url) },
    });
    await until("it follows the log", () => running.stderr().includes("tail: "), running);
    // The store answers no more, so that what is in hand does not become durable.
    proxy.stall();
    await other.legacy.query("INSERT INTO tickets (title) VALUES ('In hand')");
    await new Promise((later) => setTimeout(later, 1_000));
    const startedMs = Date.now();
    running.child.kill("SIGINT");
    const { exitCode, stdout, stderr } = await endOf(running);
    seen.add(exitCode);
    expect({ exitCode, stdout }).toEqual({ exitCode: 75, stdout: "" });
    expect(Date.now() - startedMs).toBeGreaterThan(29_000);
    expectNoStack(stderr);
    // And nothing was lost by it.
    const again = await other.banyan("run --until-caught-up");
    expect({ exitCode: again.exitCode, said: again.stderr }).toMatchObject({ exitCode: 0 });
    const history = await other.banyan("history ticket-3");
    expect(history.stdout).toMatch(/^ticket-3: 1 event\n.*TicketOpened/);
  });

  const long = { timeout: DEMO_MS_MAX + 20_000 };
  test(
    "demo proves itself: exactly the documented document, equal, and 0",
    long,
    async ({ expect }) => {
      const temporary = mkdtempSync(join(tmpdir(), "banyan-e2e-"));
      const { exitCode, stdout, stderr } = await runCli(["demo", "--short", "--json"], {
        env: { TMPDIR: temporary },
        timeoutMs: DEMO_MS_MAX,
      });
      seen.add(exitCode);
      expect({ exitCode, said: exitCode === 0 ? "" : stderr }).toEqual({ exitCode: 0, said: "" });
      expect(stdout.trimEnd().split("\n")).toHaveLength(1);
      const document = JSON.parse(stdout) as DemoDocument;
      const documented = documentedShape("demo");
      expect(listed(printedShape([document], documented))).toEqual(listed(documented));
      expect(document).toMatchObject({
        killedAndResumed: true,
        parity: { state: "equal", missing: 0, extra: 0, different: 0 },
      });
      const { rows, baselined, changes, events, parity, rates, rollout } = document;
      expect(rollout).toMatchObject({
        stagesReached: ["legacy", "shadow", "1%", "10%", "50%", "new"],
        dual: { fail: 0 },
        shadow: { different: 0 },
        clientErrors: 0,
        lostWrites: 0,
        staleReads: 0,
      });
      expect(rollout!.caught.fail).toBeGreaterThan(0);
      const figures = [rows, baselined, changes, events, parity.compared, rates.changesPerSecond];
      expect(figures.filter((figure) => figure <= 0)).toEqual([]);
      expect(stderr).toContain("$ kill -9");
      expectNoStack(stderr);
      // Its server and its databases are gone with it.
      expect(readdirSync(temporary).filter((name) => name.startsWith("banyan-"))).toEqual([]);
      rmSync(temporary, { recursive: true });
    },
  );
});

test("130 is a second signal", async () => {
  const running = await desk.run();
  running.child.kill("SIGSTOP");
  // Both arrive before it can do anything about the first.
  running.child.kill("SIGINT");
  running.child.kill("SIGTERM");
  running.child.kill("SIGCONT");
  const { exitCode } = await endOf(running);
  seen.add(exitCode);
  expect(exitCode).toBe(130);
});

test("these are all that docs/errors.md and --help speak of", async () => {
  const documented = tableRows(page("docs/errors.md").text).map(([code]) => Number(code));
  expect([...seen].sort((a, b) => Number(a) - Number(b))).toEqual(documented);
  const help = (await desk.banyan("--help")).stdout.split("Exit codes:")[1]!;
  expect([...help.matchAll(/\b(\d+) [a-z]/g)].map(([, code]) => Number(code))).toEqual(documented);
});
