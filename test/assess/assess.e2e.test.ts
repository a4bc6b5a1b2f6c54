import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadDatabase } from "../support/assess-databases.ts";
import { runCli, startCli, type CliResult } from "../support/cli.ts";
import type { TestDatabase } from "../support/databases.ts";
import { createRole, type TestRole } from "../support/faults-role.ts";
import type { Assessment } from "../../src/assess/assessment.ts";

let db: TestDatabase;
let role: TestRole;
const folder = mkdtempSync(join(tmpdir(), "banyan-assess-"));

beforeAll(async () => {
  db = await loadDatabase("erp");
  role = await createRole(db);
});
afterAll(async () => {
  await role[Symbol.asyncDispose]();
  await db[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

const documentOf = ({ stdout }: CliResult): Assessment => JSON.parse(stdout) as Assessment;

test("assess prints its judgement to stdout and its progress to stderr, from a folder without a config", async () => {
  const { exitCode, stdout, stderr } = await runCli(["assess", db.url], { cwd: folder });
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(/^test_assess_erp_\w+ on PostgreSQL \d+/);
  expect(stdout).toContain("Begin with order (Sales.Order and 2 tables that belong to it)");
  expect(stdout).toContain(
    'ALTER TABLE "Finance"."ExchangeRates" REPLICA IDENTITY USING INDEX "UX_ExchangeRates";',
  );
  expect(stderr).toContain("reading catalogue and statistics");
});

test("--json is one document, --schema narrows it, --html writes a page beside it", async () => {
  const page = join(folder, "page.html");
  const result = await runCli([
    "assess",
    db.url,
    "--json",
    "--schema",
    "Sales",
    "--schema",
    "master",
    "--html",
    page,
  ]);
  expect(result.exitCode).toBe(0);
  const document = documentOf(result);
  expect(document.format).toBe(1);
  expect(new Set(document.tables.map(({ name }) => name.split(".")[0]))).toEqual(
    new Set(["Sales", "master"]),
  );
  expect(readFileSync(page, "utf8")).toMatch(
    /^<!doctype html>[\s\S]*Begin here: order[\s\S]*<\/html>\n$/,
  );
});

test("a sample is in the document; Ctrl-C ends it early and the judgement comes all the same", async () => {
  const cli = startCli(["assess", db.url, "--json", "--sample", "10m"]);
  const { child, ended } = cli;
  const deadline = Date.now() + 60_000;
  const ready =
    "SELECT FROM pg_replication_slots WHERE database = current_database() AND confirmed_flush_lsn IS NOT NULL";
  while ((await db.query(ready)).rows.length === 0) {
    if (Date.now() > deadline) throw new Error(`it did not begin: ${cli.stderr()}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  await db.query(`UPDATE "Sales"."Order" SET "Status" = 'DELIVERED' WHERE "Status" = 'RELEASED'`);
  child.kill("SIGINT");
  const result = await ended;
  expect(result.exitCode).toBe(0);
  const { basis, tables } = documentOf(result);
  expect(basis.sample!.seconds).toBeLessThan(120);
  expect(basis.sample!.changes).toBeGreaterThan(100);
  expect(tables.find(({ name }) => name === "Sales.Order")!.changes.basis).toBe("sample");
});

test("a sample that the role may not take is refused in words, and the rest is judged", async () => {
  const result = await runCli(["assess", role.url, "--json", "--sample", "2s"]);
  expect(result.exitCode).toBe(0);
  expect(documentOf(result).basis.sampleRefused).toContain(
    `ALTER ROLE "${role.name}" REPLICATION;`,
  );
  expect(result.stderr).toContain("may not read the log");
});

test("what cannot be is said with its exit code, and a password is never printed", async () => {
  const wrong = new URL(role.url);
  wrong.password = "not-the-pa55word";
  const nowhere = new URL(role.url);
  nowhere.port = "1";
  const cases: [string[], number, string][] = [
    [["assess"], 2, "USAGE"],
    [["assess", "mysql://u:hidden-pa55@h/d"], 2, "USAGE"],
    [["assess", db.url, "--sample", "soon"], 2, "USAGE"],
    [["assess", db.url, "--sample", "2h"], 2, "USAGE"],
    [
      ["assess", db.url, "--schema", "nowhere"],
      2,
      "There are: Finance, Lager.Nord, Sales, master, public",
    ],
    [["assess", db.url, "--html", join(folder, "no/such/page.html")], 2, "USAGE"],
    [["assess", nowhere.href], 4, "SOURCE_UNREACHABLE"],
    [["assess", `${role.url}-that-is-not-there`], 4, "SOURCE_REFUSED"],
  ];
  // Some servers trust everybody who is on their own machine.
  const refuses = (await runCli(["assess", wrong.href])).exitCode === 4;
  if (refuses) cases.push([["assess", wrong.href], 4, "SOURCE_REFUSED"]);
  for (const [args, exitCode, says] of cases) {
    const result = await runCli(args);
    expect({ args, exitCode: result.exitCode }).toEqual({ args, exitCode });
    expect(result.stderr).toContain(says);
    expect(result.stdout).toBe("");
    expect(result.stdout + result.stderr).not.toMatch(/pa55|secret/);
  }
});
