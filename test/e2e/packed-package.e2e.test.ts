import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { codeBlocks, page, ROOT } from "../docs/markdown.ts";
import { endOf, SCHEMA, stop, until } from "../support/e2e-helpdesk.ts";
import { installPackage, type InstalledPackage } from "../support/e2e-installed-package.ts";
import { createDatabase, type TestDatabase } from "../support/databases.ts";
import type { CliResult } from "../support/cli.ts";

/*
 * What is published, installed in an empty folder: it holds what it should and nothing else, and
 * takes a database the whole way with nothing but itself and its dependencies.
 */

let banyan: InstalledPackage;
let legacy: TestDatabase;
let events: TestDatabase;
let env: Record<string, string>;

beforeAll(async () => {
  banyan = await installPackage();
  legacy = await createDatabase("packed");
  events = await createDatabase("packed_events");
  env = { LEGACY_URL: legacy.url, EVENTS_URL: events.url };
  await legacy.query(SCHEMA);
});
afterAll(async () => {
  banyan?.[Symbol.dispose]();
  await legacy?.[Symbol.asyncDispose]();
  await events?.[Symbol.asyncDispose]();
});

describe("the tarball", () => {
  test("holds the program, the schema of the store, the pages and the example", () => {
    const tops = new Set(banyan.files.map((path) => path.split("/")[0]!));
    expect([...tops].sort()).toEqual([
      "LICENSE",
      "README.md",
      "dist",
      "docs",
      "examples",
      "migrations",
      "package.json",
    ]);
    const inRepository = ["docs", "migrations", "examples/shop-postgres"].flatMap((folder) =>
      readdirSync(join(ROOT, folder))
        // What a capture of the example leaves there.
        .filter((name) => name !== ".banyan")
        .map((name) => `${folder}/${name}`),
    );
    expect(inRepository.filter((path) => !banyan.files.includes(path))).toEqual([]);
    expect(banyan.files).toContain("dist/src/cli/main.js");
    expect(banyan.files).toContain("dist/src/index.d.ts");
  });

  test("holds no test, no benchmark, no source map, and nothing of the machine it was made on", () => {
    const unwanted =
      /(^|\/)(test|bench|node_modules|\.[^/]+)\/|\.(map|tgz|log|tsbuildinfo)$|\.test\.|\.bench\./;
    expect(banyan.files.filter((path) => unwanted.test(path))).toEqual([]);
    const telling = banyan.files.filter((path) => {
      const text = readFileSync(join(banyan.directory, "node_modules/banyan", path), "utf8");
      return text.includes(ROOT) || text.includes("sourceMappingURL");
    });
    expect(telling).toEqual([]);
  });
});

/** The config of the page, with its events in a database that the test can look into. */
function config(edit: (text: string) => string = (text) => text): string {
  const { code } = codeBlocks(page("docs/1-getting-started.md")).find(
    ({ language, code: text }) => language === "ts" && text.includes("defineMigration({"),
  )!;
  const name = `packed_${legacy.name.slice(-8)}`;
  return edit(code)
    .replace('name: "helpdesk"', `name: "${name}"`)
    .replace("streams: {", 'store: { kind: "postgres", url: env("EVENTS_URL") },\n  streams: {');
}

test("npx finds the program, which lists its commands and knows its version", async () => {
  const help = await banyan.shell("npx banyan --help");
  expect(help.exitCode).toBe(0);
  for (const command of ["assess", "check", "run", "verify", "history", "demo"])
    expect(help.stdout).toMatch(new RegExp(`^ +banyan ${command}\\b`, "m"));
  const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
    version: string;
  };
  expect((await banyan.shell("npx banyan --version")).stdout).toBe(`${version}\n`);
});

test("its types are all there: an editor accepts the config, and finds a misspelt column", async () => {
  const compile = async (text: string): Promise<CliResult> => {
    writeFileSync(join(banyan.directory, "banyan.config.ts"), text);
    const options =
      "--noEmit --strict --skipLibCheck false --target es2023 --module nodenext --types ''";
    const tsc = join(ROOT, "node_modules/.bin/tsc");
    return await banyan.shell(`'${tsc}' ${options} --ignoreConfig banyan.config.ts`);
  };
  const wrong = await compile(
    config((text) => text.replace("assignee: changes()", "asignee: changes()")),
  );
  expect(wrong.stdout).toMatch(/^banyan\.config\.ts\(\d+,\d+\): error TS\d+: .*'asignee'/);
  const right = await compile(config());
  expect(right).toMatchObject({ exitCode: 0, stdout: "" });
});

test("a database is checked, baselined, followed and proved, with nothing else from this machine", async () => {
  writeFileSync(join(banyan.directory, "banyan.config.ts"), config());
  const said = async (...args: string[]): Promise<CliResult> => endOf(banyan.confined(args, env));

  const found = await said("check", "--json");
  expect({ exitCode: found.exitCode, stderr: found.stderr }).toEqual({ exitCode: 1, stderr: "" });
  const { mend } = JSON.parse(found.stdout) as { mend: string[] };
  for (const sql of mend) await legacy.query(sql);
  expect((await said("check", "--json")).exitCode).toBe(0);

  const baselined = await said("run", "--until-caught-up", "--json");
  expect({
    exitCode: baselined.exitCode,
    status: JSON.parse(baselined.stdout) as unknown,
  }).toMatchObject({
    exitCode: 0,
    status: { phase: "stopped", ledger: { baselined: 2, baselineRows: 3, changesIn: 0 } },
  });

  await legacy.query(
    `UPDATE tickets SET assignee = 'Ines', status = 'assigned' WHERE id = 1;
     INSERT INTO comments (ticket_id, body) VALUES (1, 'On my way');
     DELETE FROM tickets WHERE id = 2`,
  );
  const running = banyan.confined(["run"], env);
  await until("it follows the log", () => running.stderr().includes("tail: "), running);
  await legacy.query("INSERT INTO tickets (title) VALUES ('Mouse')");
  const verdict = await said("verify", "--json");
  expect({
    exitCode: verdict.exitCode,
    report: JSON.parse(verdict.stdout) as unknown,
  }).toMatchObject({
    exitCode: 0,
    report: { state: "equal", compared: 3, present: 3, reasons: [] },
  });
  const history = await said("history", "ticket-1");
  expect(history.stdout).toMatch(/TicketBaselined[^]*TicketAssigned[^]*CommentWritten/);
  await stop(running);
});

test("no server of its own was started, and nothing was written but into the user's folder", () => {
  expect(existsSync(join(banyan.directory, ".banyan/store"))).toBe(false);
  expect(readdirSync(banyan.directory).sort()).toEqual([
    ".banyan",
    "banyan.config.ts",
    "node_modules",
    "package-lock.json",
    "package.json",
    "tmp",
  ]);
});

test("confined is confined: with the embedded store, which needs a process, it cannot run", async () => {
  writeFileSync(
    join(banyan.directory, "banyan.config.ts"),
    config().replace('store: { kind: "postgres", url: env("EVENTS_URL") },', ""),
  );
  const { exitCode, stderr } = await endOf(banyan.confined(["status"], env));
  expect(exitCode).not.toBe(0);
  expect(stderr).toMatch(
    /access to this API has been restricted|ERR_ACCESS_DENIED|EMBEDDED_SERVER_FAILED/i,
  );
});
