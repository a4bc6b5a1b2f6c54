import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startCli } from "../support/cli.ts";
import {
  configOf,
  endOf,
  expectNoStack,
  expectTold,
  hasEnded,
  openHelpdesk,
  stop,
  until,
  type Helpdesk,
} from "../support/e2e-helpdesk.ts";
import { createRole, type TestRole } from "../support/faults-role.ts";

/*
 * A database that is not there, refuses, or is somebody else's already: one message with the reason
 * and what to do, for the source and for the store, by every command that needs it.
 */

let desk: Helpdesk;
let role: TestRole;

beforeAll(async () => {
  desk = await openHelpdesk({ label: "refusals" });
  role = await createRole(desk.legacy);
});
afterAll(async () => {
  await role?.[Symbol.asyncDispose]();
  await desk?.[Symbol.asyncDispose]();
});

/** The address of one of the two databases, changed. */
function changed(which: "LEGACY_URL" | "EVENTS_URL", change: (url: URL) => void) {
  const url = new URL(desk.env[which]!);
  change(url);
  return { [which]: url.href };
}

const SIDES = [
  ["LEGACY_URL", "SOURCE", ["check", "run", "assess"]],
  ["EVENTS_URL", "STORE", ["status", "run --until-caught-up", "verify --json"]],
] as const;

interface Trouble {
  readonly change: (url: URL) => void;
  readonly kind: "REFUSED" | "UNREACHABLE";
  readonly says: RegExp;
  readonly next: RegExp;
}

describe.concurrent.each(SIDES)("a database that cannot be used: %s", (which, side, commands) => {
  const tell = async (line: string, { change, kind, says, next }: Trouble): Promise<void> => {
    const env = changed(which, change);
    const args = line === "assess" ? `assess ${env[which]}` : line;
    expectTold(await desk.banyan(args, env), { exitCode: 4, code: `${side}_${kind}`, says, next });
  };

  test("every command tells that it refuses the password", async () => {
    const change = (url: URL): void => void (url.password = "wrong");
    const next = /^Check the password in the URL\.$/;
    for (const command of commands)
      await tell(command, { change, kind: "REFUSED", says: /^connecting: password.*failed/, next });
  });

  test("there is no such database, no server, no TLS", async () => {
    const troubles: readonly Trouble[] = [
      {
        change: (url) => (url.pathname = "/nowhere"),
        kind: "REFUSED",
        says: /^connecting: database "nowhere" does not exist$/,
        next: /^Check the database name/,
      },
      {
        change: (url) => (url.port = "1"),
        kind: "UNREACHABLE",
        says: /127\.0\.0\.1:1$|::1:1$/,
        next: /host and port/,
      },
      {
        change: (url) => (url.search = "?sslmode=require"),
        kind: "REFUSED",
        says: /does not support SSL/,
        next: /sslmode=disable/,
      },
    ];
    for (const trouble of troubles) await tell(commands[0], trouble);
  });
});

test("a role without rights: run says which, check has the SQL and ends with 1", async () => {
  const env = { LEGACY_URL: role.url };
  expectTold(await desk.banyan("run", env), {
    exitCode: 4,
    code: "SOURCE_REFUSED",
    says: /permission denied/,
    next: /banyan check/,
  });
  const { exitCode, stdout } = await desk.banyan("check --json", env);
  expect(exitCode).toBe(1);
  const { mend } = JSON.parse(stdout) as { mend: string[] };
  expect(mend.join("\n")).toMatch(/REPLICATION/);
});

test("a run that retries says so once in a while, and a signal ends it with 0", async () => {
  const nowhere = changed("EVENTS_URL", (url) => (url.port = "1"));
  const cli = startCli(["run", "--json"], {
    cwd: desk.directory,
    env: { ...desk.env, ...nowhere },
  });
  await until("it retries", () => cli.stderr().includes("trying again in 500 ms"), cli);
  cli.child.kill("SIGTERM");
  const { exitCode, stdout, stderr } = await endOf(cli);
  expect({ exitCode, document: JSON.parse(stdout) as unknown }).toEqual({
    exitCode: 0,
    document: null,
  });
  expect(stderr).toMatch(
    /^\[STORE_UNREACHABLE\] connecting: .*; trying again in 250 ms\n {2}next: .*host and port/,
  );
  expectNoStack(stderr);
});

test("a store that takes no sessions for a while is waited for by what runs on", async () => {
  const database = new URL(desk.env["EVENTS_URL"]!).pathname.slice(1);
  const allow = (may: boolean): Promise<unknown> =>
    desk.legacy.query(`ALTER DATABASE ${database} ALLOW_CONNECTIONS ${may}`);
  const begun = { run: /events go to/, "rollout run": /Ctrl-C ends it/ };
  await allow(false);
  try {
    const waiting = Object.keys(begun).map((line) => [line, desk.start(line)] as const);
    for (const [, cli] of waiting) {
      await until("it retries", () => cli.stderr().includes("trying again in 500 ms"), cli);
      expect(cli.stderr()).toMatch(/^\[STORE_UNREACHABLE\] connecting: .*not currently accepting/);
    }
    await allow(true);
    for (const [line, cli] of waiting) {
      const says = begun[line as keyof typeof begun];
      await until(`${line} goes on`, () => says.test(cli.stderr()), cli);
      await stop(cli);
    }
  } finally {
    await allow(true);
  }
});

describe("a slot that is somebody's", () => {
  test("of a first run: the place in the log of another pipeline is left alone", async () => {
    const own = await desk.run();
    desk.writeConfig(
      configOf(`${desk.name}_two`).replace(
        'url: env("LEGACY_URL")',
        `url: env("LEGACY_URL"), slot: "banyan_${desk.name}", publication: "banyan_${desk.name}"`,
      ),
    );
    expectTold(await desk.banyan("run"), {
      exitCode: 4,
      code: "SOURCE_NOT_READY",
      says: new RegExp(`slot banyan_${desk.name} exists.*no history`),
      next: /another slot name.*pg_drop_replication_slot/,
    });
    expect(hasEnded(own)).toBe(false);
    desk.writeConfig(configOf(desk.name));
    await stop(own);
  });

  test("of a second run: it takes over, the first one ends and says why", async () => {
    const first = await desk.run();
    const second = await desk.run();
    const fenced = await endOf(first);
    expectTold(fenced, {
      exitCode: 4,
      code: "PIPELINE_FENCED",
      says: /^another process has taken over this pipeline; nothing more is written here$/,
      next: /banyan status/,
    });
    expect(hasEnded(second)).toBe(false);
    const { exitCode, stdout } = await desk.banyan("status --json");
    expect({ exitCode, status: JSON.parse(stdout) as unknown }).toMatchObject({
      exitCode: 0,
      status: { running: true, processId: second.child.pid },
    });
    await stop(second);
  });
});

test("status says what the last run ended with, and that it does not run any more", async () => {
  await desk.legacy.query(`ALTER PUBLICATION banyan_${desk.name} DROP TABLE comments`);
  const ended = await desk.banyan("run");
  expectTold(ended, {
    exitCode: 4,
    code: "SOURCE_NOT_READY",
    says: /comments/,
    next: /ALTER PUBLICATION.*ADD TABLE/,
  });
  const { stdout } = await desk.banyan("status --json");
  const status = JSON.parse(stdout) as { running: boolean; failure: { code: string } };
  expect(status).toMatchObject({ running: false, failure: { code: "SOURCE_NOT_READY" } });
  expect((await desk.banyan("status")).stdout).toMatch(
    /not running; last seen \d+ s ago\n ended with +\[SOURCE_NOT_READY\] .*\n +next +.*ADD TABLE/,
  );
});

test("status says so after a first run too, that ended before there was a baseline", async () => {
  desk.writeConfig(configOf(`${desk.name}_three`));
  expect((await desk.banyan("run")).stderr).toContain("[PUBLICATION_MISSING]");
  const { stdout } = await desk.banyan("status --json");
  expect(JSON.parse(stdout)).toMatchObject({
    running: false,
    phase: "new",
    failure: { code: "PUBLICATION_MISSING" },
  });
});
