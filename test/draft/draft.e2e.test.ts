import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { documentedShape, listed, printedShape } from "../docs/json-shape.ts";
import { runCli, type CliResult } from "../support/cli.ts";
import { createDatabase, type TestDatabase } from "../support/databases.ts";
import type { DraftDocument } from "../../src/cli/draft-document.ts";

const TABLES_MAX_SECONDS = 10;
/** Beside other tests it may take longer now and then, but not each time. */
const TRIES_MAX = 4;

let db: TestDatabase;
let folder: string;
const documents: DraftDocument[] = [];

beforeAll(async () => {
  db = await createDatabase("draft cli");
  folder = mkdtempSync(join(tmpdir(), "banyan-draft-cli-"));
  await db.query(`
    CREATE TABLE orders (id bigint PRIMARY KEY, status text NOT NULL DEFAULT 'new' CHECK (status IN ('new', 'paid')),
                         total numeric(10,2), updated_at timestamptz NOT NULL DEFAULT now());
    CREATE TABLE order_lines (order_id bigint REFERENCES orders ON DELETE CASCADE, no int, sku text, PRIMARY KEY (order_id, no));
    CREATE TABLE imports (line text, amount numeric(10,2), status text);
    CREATE TABLE languages (code text PRIMARY KEY, name text);
    INSERT INTO languages SELECT n, n FROM generate_series(1, 5) n;
    INSERT INTO orders (id) VALUES (1); ANALYZE`);
}, 120_000);

afterAll(async () => {
  await db[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function draft(...args: readonly string[]): Promise<CliResult> {
  const out = args.includes("--out") ? [] : ["--out", "here"];
  return runCli(["draft", db.url, ...out, ...args], { cwd: folder, env: { LEGACY_URL: db.url } });
}

async function document(...args: readonly string[]): Promise<DraftDocument> {
  const { stdout, stderr } = await draft(...args, "--json");
  if (stdout === "") throw new Error(stderr);
  documents.push(JSON.parse(stdout) as DraftDocument);
  return documents.at(-1)!;
}

const read = (name: string): string => readFileSync(join(folder, "here", name), "utf8");
const CONFIG = "banyan.config.ts";

describe("banyan draft", () => {
  test("refuses what cannot be drafted, with the SQL, and writes nothing", async () => {
    const { exitCode, stdout, stderr } = await draft("--tables", "imports");
    expect({ exitCode, stdout }).toEqual({ exitCode: 4, stdout: "" });
    expect(stderr).toContain("[SOURCE_NOT_READY] cannot be drafted: public.imports: no key");
    expect(stderr).toContain('next: Run: ALTER TABLE "public"."imports" ADD COLUMN');
    expect(readdirSync(folder)).toEqual([]);
  });

  test("says what else is wrong with its arguments", async () => {
    for (const [args, said] of [
      [["--tables", "nothing"], "there is no table nothing"],
      [["--schema", "nothing"], "there is no schema nothing"],
      [["--ask"], "--ask needs a terminal"],
      [["--sample", "long"], "--sample is a time"],
      [["--out", "/dev/null/x"], "cannot be written"],
    ] as const) {
      const { exitCode, stdout, stderr } = await draft(...args);
      expect({ exitCode, stdout, said: stderr.includes(said) }).toEqual({
        exitCode: 2,
        stdout: "",
        said: true,
      });
    }
  });

  test("does not put itself before a config of another kind", async () => {
    const other = join(folder, "other");
    mkdirSync(other);
    writeFileSync(join(other, "banyan.config.mjs"), "export default {}");
    const { exitCode, stderr } = await draft("--out", "other");
    expect(exitCode).toBe(2);
    expect(stderr).toContain(
      "banyan.config.mjs is there, and banyan.config.ts would be taken in its place",
    );
    expect(readdirSync(other)).toEqual(["banyan.config.mjs"]);
  });

  test("writes both files and says what it left out and what comes next; no password is in them", async () => {
    const { exitCode, stdout, stderr } = await draft();
    expect(exitCode).toBe(0);
    expect(stdout).toContain("drafted 1 aggregate of 2 tables with 7 named events");
    expect(stdout).toMatch(
      /public\.imports: blocked: no key[\s\S]*ALTER TABLE "public"\."imports"/,
    );
    expect(stdout).toContain("public.languages: leave as CRUD");
    expect(stderr).toContain("next: banyan check");
    const { password } = new URL(db.url);
    for (const name of [CONFIG, "banyan.tables.ts"])
      expect(read(name)).not.toContain(password || db.url);
    expect(readdirSync(join(folder, "here")).toSorted()).toEqual([CONFIG, "banyan.tables.ts"]);
  });

  test("the draft passes the check with no edit, once its SQL was run", async () => {
    const check = (): Promise<CliResult> =>
      runCli(["check", "--json"], { cwd: join(folder, "here"), env: { LEGACY_URL: db.url } });
    const { mend } = JSON.parse((await check()).stdout) as { mend: string[] };
    for (const sql of mend) await db.query(sql);
    const { exitCode, stdout, stderr } = await check();
    expect({ exitCode, said: exitCode === 0 ? "" : stdout + stderr }).toEqual({
      exitCode: 0,
      said: "",
    });
    await db.query(`DROP PUBLICATION banyan_${db.name}`);
  });

  test("again changes nothing; after a change of the database the difference is shown and written", async () => {
    expect((await document()).files.map(({ state }) => state)).toEqual(["unchanged", "unchanged"]);
    await db.query("ALTER TABLE orders ADD paid_at timestamptz");
    const { exitCode, stdout, stderr } = await draft();
    expect(exitCode).toBe(0);
    expect(stdout).toContain("+  paid_at: string | null;");
    expect(stdout).toMatch(/^\+.*data: \["paid_at", "updated_at"\]/m);
    expect(stdout.startsWith("--- banyan.tables.ts")).toBe(true);
    expect(stderr).toMatch(/replaced .*banyan\.config\.ts/);
    expect(read(CONFIG)).toContain('"paid_at"');
  });

  test("never overwrites what was edited: the draft is only shown, as a patch, and exit code 1 says so", async () => {
    const edited = read(CONFIG).replaceAll("OrderPaid", "OrderSettled");
    writeFileSync(join(folder, "here", CONFIG), edited);
    await db.query("ALTER TABLE orders ADD note text, ADD cancelled_at timestamptz");
    const { files } = await document();
    expect(files.map(({ state }) => state)).toEqual(["replaced", "kept"]);
    expect(read(CONFIG)).toBe(edited);
    expect(read("banyan.tables.ts")).toContain("note: string | null;");
    const { exitCode, stdout, stderr } = await draft();
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/^--- banyan\.config\.ts[\s\S]*^-.*OrderSettled/m);
    expect(stderr).toContain("was edited by hand and is left as it is");
    expect(read(CONFIG)).toBe(edited);
  });

  test("drafts what is asked for, whatever is judged of it", async () => {
    const { aggregates, leftOut } = await document(
      "--tables",
      "languages,orders",
      "--out",
      "asked",
    );
    expect(aggregates.map(({ name }) => name).toSorted()).toEqual(["language", "order"]);
    expect(leftOut).toMatchObject([{ table: "public.imports", cause: "unasked" }]);
  });

  test("with a sample it goes by what it saw", async () => {
    await db.query("ALTER TABLE orders REPLICA IDENTITY FULL");
    const drafting = document("--sample", "3s", "--out", "sampled");
    let done = false;
    const ended = drafting.finally(() => (done = true));
    const deadline = Date.now() + 200_000;
    while (!done && Date.now() < deadline) {
      for (const status of ["paid", "new"])
        await db.query("UPDATE orders SET status = $1, updated_at = now()", [status]);
      await sleep(20);
    }
    const { aggregates } = await ended;
    const events = aggregates.flatMap((one) => one.events);
    expect(events.map(({ name }) => name)).toContain("OrderWentBackToNew");
    expect(events.find(({ name }) => name === "OrderPaid")!.why).toMatch(/seen from new \d+×/);
  });

  test("without anything worth a history it writes nothing and ends with 1", async () => {
    await using bare = await createDatabase("draft nothing");
    await bare.query(
      "CREATE TABLE languages (code text PRIMARY KEY, name text); INSERT INTO languages VALUES ('en', 'English'); ANALYZE",
    );
    const { exitCode, stdout, stderr } = await runCli(["draft", bare.url], { cwd: folder });
    expect(exitCode).toBe(1);
    expect(stdout).toContain("nothing to draft");
    expect(stderr).toContain("next: banyan draft <url> --tables public.languages");
    expect(readdirSync(folder)).not.toContain(CONFIG);
  });

  test("its document is what the page says", async () => {
    await using refused = await createDatabase("draft refused");
    await refused.query(`CREATE TABLE t (id int PRIMARY KEY, amount numeric);
      CREATE ROLE "${refused.name}" LOGIN PASSWORD 'x'; GRANT SELECT ON t TO "${refused.name}"`);
    try {
      const url = new URL(refused.url);
      url.username = refused.name;
      url.password = "x";
      const { stdout } = await runCli(
        ["draft", url.href, "--sample", "1s", "--json", "--out", "refused"],
        { cwd: folder },
      );
      documents.push(JSON.parse(stdout) as DraftDocument);
    } finally {
      await refused.query(`DROP OWNED BY "${refused.name}"; DROP ROLE "${refused.name}"`);
    }
    const documented = documentedShape("draft");
    expect(listed(printedShape(documents, documented))).toEqual(listed(documented));
  });
});

test.each(["orders", "clinic", "crm"])(
  "of the database %s the draft passes the check with no edit",
  async (name) => {
    await using found = await createDatabase(`draft ${name}`);
    await found.query(readFileSync(join(import.meta.dirname, "databases", `${name}.sql`), "utf8"));
    const cwd = join(folder, name);
    const env = { LEGACY_URL: found.url };
    expect(await runCli(["draft", found.url, "--out", cwd], { cwd: folder })).toMatchObject({
      exitCode: 0,
    });
    const check = (): Promise<CliResult> =>
      runCli(["check", "--json", "--runs", "30"], { cwd, env });
    const { mend } = JSON.parse((await check()).stdout) as { mend: string[] };
    for (const sql of mend) await found.query(sql);
    const { exitCode, stdout, stderr } = await check();
    expect({ exitCode, said: exitCode === 0 ? "" : stdout + stderr }).toEqual({
      exitCode: 0,
      said: "",
    });
    const { findings } = JSON.parse(stdout) as {
      findings: { severity: string; message: string }[];
    };
    expect(findings.filter(({ severity }) => severity !== "info")).toEqual([]);
  },
);

test("a schema of 300 tables is drafted within ten seconds", async () => {
  await using large = await createDatabase("draft large");
  await large.query(`DO $$ BEGIN FOR n IN 1..300 LOOP
    EXECUTE format('CREATE TABLE thing_%s (id bigint PRIMARY KEY, parent bigint %s, status text NOT NULL DEFAULT ''new'' CHECK (status IN (''new'', ''sent'', ''paid'')),
      amount numeric(10,2), name text, email text, is_active boolean, paid_at timestamptz, updated_at timestamptz NOT NULL DEFAULT now(), a int, b int, c text, d jsonb, e text[])',
      n, CASE WHEN n % 3 = 0 THEN format('NOT NULL REFERENCES thing_%s ON DELETE CASCADE', n - 1) ELSE '' END);
    END LOOP; END $$`);
  let seconds = Infinity;
  for (let n = 0; n < TRIES_MAX && seconds >= TABLES_MAX_SECONDS; n++) {
    const started = performance.now();
    const args = ["draft", large.url, "--out", `large${n}`];
    const { exitCode, stdout } = await runCli(args, { cwd: folder });
    seconds = (performance.now() - started) / 1000;
    expect(exitCode).toBe(0);
    expect(stdout).toContain("of 300 tables");
  }
  expect(seconds).toBeLessThan(TABLES_MAX_SECONDS);
});
