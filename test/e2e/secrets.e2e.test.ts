import { afterAll, beforeAll, expect, test } from "vitest";
import { withoutPasswords } from "../../src/cli/without-passwords.ts";
import { configOf, endOf, openHelpdesk, until, type Helpdesk } from "../support/e2e-helpdesk.ts";
import { startCli } from "../support/cli.ts";

/*
 * The password of a URL is never printed: not on stdout, not on stderr, not under --json, as it is or
 * percent-encoded, whether all goes well or nothing does; and it is not kept in the store either.
 */

const PASSWORD = "pa55:w@rd/%41 #?";
/** Pieces of it, so that a part is found too. */
const FORMS = ["pa55", "w@rd", "w%40rd", "%41 #", "%2541"];

let desk: Helpdesk;
let role: string;
/** The databases as a role with that password. */
let good: Record<string, string>;
const said: string[] = [];

beforeAll(async () => {
  desk = await openHelpdesk({ label: "secrets" });
  role = `clerk_${desk.name}`;
  await desk.legacy.query(
    `CREATE ROLE ${role} LOGIN REPLICATION PASSWORD '${PASSWORD}';
     GRANT SELECT ON tickets, comments TO ${role}`,
  );
  await desk.events.query(`GRANT CREATE ON DATABASE ${desk.events.name} TO ${role}`);
  good = { LEGACY_URL: asClerk(desk.legacy.url), EVENTS_URL: asClerk(desk.events.url) };
});
afterAll(async () => {
  await desk?.events.query(`DROP OWNED BY ${role} CASCADE`);
  await desk?.legacy.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  await desk?.[Symbol.asyncDispose]();
});

function asClerk(address: string): string {
  const url = new URL(address);
  url.username = role;
  url.password = encodeURIComponent(PASSWORD);
  return url.href;
}

/** Runs it and keeps all that it said. @returns the exit code */
async function hear(line: string, more: Readonly<Record<string, string>>): Promise<number | null> {
  const { stdout, stderr, exitCode } = await desk.banyan(line, more);
  said.push(stdout, stderr);
  return exitCode;
}

function expectNoSecret(text: string): void {
  const lines = text.split("\n").filter((line) => FORMS.some((form) => line.includes(form)));
  expect(lines).toEqual([]);
}

test("when all goes well", async () => {
  const codes = [];
  for (const line of [
    "check --json",
    "run --until-caught-up --json",
    "status",
    "status --json",
    "verify --wait 0",
    "history ticket-1 --json",
    `assess ${good["LEGACY_URL"]} --json`,
  ])
    codes.push(await hear(line, good));
  // The password is right, and verify cannot tell because nothing runs.
  expect(codes).toEqual([0, 0, 0, 0, 4, 0, 0]);
  expectNoSecret(said.join("\n"));
});

test("when a server refuses or is not there, by every command", async () => {
  const change = (which: string, edit: (url: URL) => void): Record<string, string> => {
    const url = new URL(good[which]!);
    edit(url);
    return { ...good, [which]: url.href };
  };
  const commands = { LEGACY_URL: ["check --json", "run"], EVENTS_URL: ["status --json", "run"] };
  const runs = Object.entries(commands).flatMap(([which, lines]) =>
    [
      change(which, (url) => (url.password = `${encodeURIComponent(PASSWORD)}x`)),
      change(which, (url) => (url.pathname = "/nowhere")),
    ].flatMap((env) => lines.map((line) => ({ line, env }))),
  );
  // Two at a time.
  const next = runs.values();
  const worker = async (): Promise<void> => {
    for (const { line, env } of next) await hear(line, env);
  };
  await Promise.all([worker(), worker()]);
  expect(said.join("\n")).toMatch(/\[SOURCE_REFUSED\][^]*\[STORE_REFUSED\]/);
  expectNoSecret(said.join("\n"));
});

test("when the URL stands where something else belongs", async () => {
  const url = good["LEGACY_URL"]!;
  const codes = [];
  for (const line of [
    `asess ${url}`,
    `check ${url}`,
    `check --config ${url}`,
    `history ${url}`,
    `verify --wait ${url}`,
    `state ticket-1 --at ${url}`,
    `assess ${url}&sslmode=verify-full&sslrootcert=/none`,
    `assess ${url.replace("postgres:", "mysql:")}`,
  ])
    codes.push(await hear(line, good));
  expect(codes).toEqual([2, 2, 2, 4, 2, 2, 4, 2]);
  expectNoSecret(said.join("\n"));
});

test("when the config itself has it and fails", async () => {
  const url = good["LEGACY_URL"]!;
  for (const text of [
    `throw new Error("cannot connect to ${url}");`,
    `const url = "${url}"; url.nothing.at.all; export default {};`,
    configOf(desk.name).replace('env("LEGACY_URL")', `"${url.replace("postgres", "postgers")}"`),
  ]) {
    desk.writeConfig(text);
    expect(await hear("check --json", good)).toBe(2);
  }
  desk.writeConfig(configOf(desk.name));
  expectNoSecret(said.join("\n"));
});

test("while it retries, and in what it leaves in the store", async () => {
  const cli = startCli(["run"], { cwd: desk.directory, env: { ...desk.env, ...good } });
  await until("it follows the log", () => cli.stderr().includes("tail: "), cli);
  const endSessions = async (): Promise<void> => {
    const end =
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1 AND datname = $2";
    await desk.legacy.query(end, [role, desk.legacy.name]);
  };
  // A session for short questions is replaced without a word, and the stream may just be beginning.
  for (let i = 0; i < 300 && !cli.stderr().includes("trying again"); i++) {
    await endSessions();
    await new Promise((later) => setTimeout(later, 200));
  }
  // It is let in no more.
  await desk.legacy.query(`ALTER ROLE ${role} PASSWORD 'another'`);
  await endSessions();
  const { exitCode, stdout, stderr } = await endOf(cli);
  expect(exitCode).toBe(4);
  expect(stderr).toMatch(/trying again[^]*\[SOURCE_REFUSED\]/);
  expectNoSecret(stdout + stderr);
  const { rows } = await desk.events.query(
    "SELECT (SELECT json_agg(p) FROM banyan.pipelines p)::text || (SELECT json_agg(s) FROM banyan.sources s) AS kept",
  );
  expectNoSecret((rows[0] as { kept: string }).kept);
});

test("a password is found in any text, whatever it holds", () => {
  expect(withoutPasswords("a postgres://u:p@h/d b")).toBe("a postgres://u:…@h/d b");
  expect(withoutPasswords("postgresql://u:p:q@r/s@h:5/d?x=1")).toBe("postgresql://u:…@h:5/d?x=1");
  expect(withoutPasswords("postgres://u@h/d?password=p&x=1")).toBe(
    "postgres://u@h/d?password=…&x=1",
  );
  const harmless = "see file:///a/b:3:4 and http://localhost:80/x, or mail a@b";
  expect(withoutPasswords(harmless)).toBe(harmless);
});
