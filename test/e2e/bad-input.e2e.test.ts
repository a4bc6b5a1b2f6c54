import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { configOf, expectTold, openHelpdesk, type Helpdesk } from "../support/e2e-helpdesk.ts";
import { runCli } from "../support/cli.ts";

/*
 * Whatever a person gets wrong is answered by one message: its code, what is wrong and where, and what
 * to do next. Nothing is on stdout then, with --json neither, and nothing of the program's own files
 * is shown.
 */

let desk: Helpdesk;

beforeAll(async () => {
  desk = await openHelpdesk({ label: "bad_input", published: false });
  mkdirSync(join(desk.directory, "empty"));
});
afterAll(() => desk?.[Symbol.asyncDispose]());

describe.concurrent("a command line that is not understood", () => {
  test.each([
    ["", /^no command was named$/, /^See: banyan --help$/],
    ["chekc", /^Unknown argument: chekc$/, /^See: banyan --help$/],
    ["check --forse", /^Unknown argument: forse$/, /^See: banyan check --help$/],
    ["history", /^the argument <stream> is missing$/, /^See: banyan history --help$/],
    ["check --config", /^--config needs a value$/, /^See: banyan check --help$/],
    ["check --config a --config b", /^--config was given more than once$/, /banyan check --help/],
    ["verify --wait soon", /^--wait is a whole number from 0 to 86400$/, /banyan verify --help/],
    ["state ticket-1 --at then", /^--at "then" is not a time$/, /ISO 8601.*2026-01-31T10:00:00Z/],
    [
      "state ticket-1 --at 2026 --version 1",
      /at and version are mutually exclusive/,
      /state --help/,
    ],
    ["quarantine burn", /Given: "burn", Choices: "list", "retry", "skip"/, /quarantine --help/],
    ["quarantine skip", /^skip needs a stream/, /banyan quarantine list, then/],
    ["assess mysql://h/d", /does not begin with postgres:\/\//, /postgres:\/\/user@host/],
  ])("banyan %s", async (line, says, next) => {
    expectTold(await desk.banyan(line), { exitCode: 2, code: "USAGE", says, next });
  });

  test("it is answered in the language of the rest, wherever the person is", async () => {
    const german = { LANG: "de_DE.UTF-8", LC_ALL: "de_DE.UTF-8", LANGUAGE: "de" };
    const told = { exitCode: 2, code: "USAGE", next: /See/ } as const;
    expectTold(await desk.banyan("history", german), {
      ...told,
      says: /^the argument <stream> is missing$/,
    });
    expectTold(await desk.banyan("frob", german), { ...told, says: /^Unknown argument: frob$/ });
  });
});

describe.concurrent("a config that is not there", () => {
  const told = { exitCode: 2, code: "CONFIG_NOT_FOUND", next: /--config FILE.*getting-started/ };
  test.each(["check --json", "run", "history ticket-1"])(
    "banyan %s in a folder without one",
    async (line) => {
      const cwd = join(desk.directory, "empty");
      const result = await runCli(line.split(" "), { cwd, env: desk.env });
      expectTold(result, { ...told, says: /^there is no banyan\.config\.ts in \/.*empty$/ });
    },
  );

  test("a file that is not there, and a folder", async () => {
    const missing = await desk.banyan("check --config nowhere/a.ts");
    expectTold(missing, { ...told, says: /^there is no file \/.*\/nowhere\/a\.ts$/ });
    expectTold(await desk.banyan("check --config empty"), {
      ...told,
      says: /^there is no file \/.*\/empty$/,
    });
  });
});

describe.concurrent("a config that is wrong", () => {
  interface Case {
    readonly what: string;
    readonly edit: (text: string) => string;
    readonly says: RegExp;
    readonly next?: RegExp;
  }
  const cases: readonly Case[] = [
    {
      what: "cannot be read as TypeScript",
      edit: (text) => text.replace("streams: {", "streams: {{"),
      says: /bad\.ts cannot be loaded: ParseError: Unexpected token[^]*bad\.ts:16:12$/,
      next: /^Correct the file/,
    },
    {
      what: "uses a name that does not exist",
      edit: (text) => text.replace('becomes("resolved")', 'becomez("resolved")'),
      says: /bad\.ts cannot be loaded: becomez is not defined \(\/.*bad\.ts:\d+:\d+\)$/,
      next: /^Correct the file/,
    },
    {
      what: "imports what is not installed",
      edit: (text) => `import "no-such-package";\n${text}`,
      says: /bad\.ts cannot be loaded: Cannot find module 'no-such-package'$/,
      next: /^Correct the file/,
    },
    {
      what: "has keys that there are not, at every level, all told at once",
      edit: (text) =>
        text
          .replace("limits: {", 'colour: "red", limits: { speed: 3,')
          .replace('kind: "postgres",', 'kind: "postgres", pool: 3,'),
      says: /bad\.ts:\n[^]*"pool"\n.*at source\n[^]*"speed"\n.*at limits/,
    },
    {
      what: "has a value of another type",
      edit: (text) => text.replace("idleMs: 100", 'idleMs: "100"'),
      says: /bad\.ts:\n.*expected number, received string\n.*at limits\.idleMs$/,
    },
    {
      what: "has a value out of bounds",
      edit: (text) => text.replace("idleMs: 100", "idleMs: 1"),
      says: /bad\.ts:\n.*>=50\n.*at limits\.idleMs$/,
    },
    {
      what: "reads a variable that is not set",
      edit: (text) => text.replace('"LEGACY_URL"', '"NO_SUCH_URL"'),
      says: /bad\.ts:\n.*the environment variable NO_SUCH_URL is not set\n.*at source\.url$/,
    },
    {
      what: "has another database's address",
      edit: (text) => text.replace('env("LEGACY_URL")', '"mysql://root:pa55@h/d"'),
      says: /bad\.ts:\n.*a URL like postgres:\/\/user@host:5432\/database\n.*at source\.url$/,
    },
    {
      what: "has a stream without its fallback",
      edit: (text) => text.replace('otherwise: "TicketAmended",', ""),
      says: /bad\.ts:\n.*expected string, received undefined\n.*at streams\.ticket\.otherwise$/,
    },
    {
      what: "exports nothing",
      edit: () => "",
      says: /bad\.ts exports no defineMigration\(\{ … \}\) by default$/,
      next: /^Begin it with: export default defineMigration\(\{$/,
    },
  ];
  test.each(cases)("$what", async ({ edit, says, next = /^See docs\/2-configuration\.md$/ }) => {
    // They run at the same time.
    const directory = mkdtempSync(join(desk.directory, "wrong-"));
    writeFileSync(join(directory, "bad.ts"), edit(configOf(desk.name)));
    const result = await desk.banyan(`check --json --config ${directory}/bad.ts`);
    expectTold(result, { exitCode: 2, code: "CONFIG_INVALID", says, next });
  });
});

describe("a mapping that does not fit the database", () => {
  test("a table that there is not: check lists it beside the rest, run names it", async () => {
    desk.writeConfig(configOf(desk.name).replace('("comments")', '("coments")'));
    const { exitCode, stdout } = await desk.banyan("check --json");
    const { ready, findings } = JSON.parse(stdout) as CheckDocument;
    expect({ exitCode, ready }).toEqual({ exitCode: 1, ready: false });
    expect(findings.filter(({ severity }) => severity === "error")).toMatchObject([
      { code: "table-missing", message: expect.stringContaining("public.coments") as string },
      { code: "publication-missing" },
    ]);
    expectTold(await desk.banyan("run"), {
      exitCode: 4,
      code: "TABLE_MISSING",
      says: /public\.coments/,
      next: /names in the config/,
    });
  });

  test("a column that there is not: check names the rule, and its exit code is that of a config", async () => {
    desk.writeConfig(configOf(desk.name).replace("assignee: changes()", "asignee: changes()"));
    const { exitCode, stdout } = await desk.banyan("check --json");
    const { ready, findings } = JSON.parse(stdout) as CheckDocument;
    expect({ exitCode, ready }).toEqual({ exitCode: 2, ready: false });
    expect(findings.map(({ message }) => message).join("\n")).toMatch(
      /rule TicketAssigned .*column "asignee".*public\.tickets/,
    );
    desk.writeConfig(configOf(desk.name));
  });

  test("no publication yet: check has the SQL, run says to ask check", async () => {
    expectTold(await desk.banyan("run"), {
      exitCode: 4,
      code: "PUBLICATION_MISSING",
      says: new RegExp(`publication banyan_${desk.name} does not exist`),
      next: /banyan check/,
    });
    const { exitCode, stdout } = await desk.banyan("check --json");
    expect(exitCode).toBe(1);
    const { mend } = JSON.parse(stdout) as CheckDocument;
    for (const sql of mend) await desk.legacy.query(sql);
    const mended = await desk.banyan("check --json");
    expect(mended.exitCode).toBe(0);
    expect(JSON.parse(mended.stdout)).toMatchObject({ ready: true, mend: [] });
  });
});

interface CheckDocument {
  readonly ready: boolean;
  readonly findings: readonly { severity: string; code: string; message: string }[];
  readonly mend: readonly string[];
}

test("a stream that there is not: how streams are named here", async () => {
  expect((await desk.banyan("run --until-caught-up")).exitCode).toBe(0);
  for (const line of ["history ticket-99", "state ticket-99", "history invoice-1 --json"]) {
    expectTold(await desk.banyan(line), {
      exitCode: 4,
      code: "STREAM_UNKNOWN",
      says: /^there are no events of (ticket-99|invoice-1)$/,
      next: /type \(ticket\), a dash and its key, e\.g\. ticket-1$/,
    });
  }
  for (const line of ["history ticket-01", "state ticket-01 --json"]) {
    expectTold(await desk.banyan(line), {
      exitCode: 4,
      code: "STREAM_UNKNOWN",
      says: /^there are no events of ticket-01: "01" is not a whole number, as public\.tickets\.id \(int\d\) is written$/,
      next: /a dash and its key as the database writes it, .*e\.g\. ticket-1$/,
    });
  }
});

test("a pipeline that never ran", async () => {
  desk.writeConfig(configOf(`${desk.name}_other`));
  const told = { exitCode: 4, code: "PIPELINE_UNKNOWN", next: /^Run: banyan run$/ };
  expectTold(await desk.banyan("status"), { ...told, says: /_other has never run$/ });
  expectTold(await desk.banyan("verify --json"), { ...told, says: /_other has no baseline yet$/ });
});
