import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { codeBlocks, type CodeBlock, type Page } from "./markdown.ts";
import { difference } from "./terminal.ts";
import { runCli, startCli, type RunningCli } from "../support/cli.ts";
import { createDatabase, type TestDatabase } from "../support/databases.ts";

const WAIT_MS_MAX = 60_000;
/** Roles belong to the whole server, so each walk has its own. */
const ROLES = ["banyan_capture", "banyan_owner", "banyan_app"] as const;

/**
 * Does what a page says, in its order: runs its SQL where the first line says, writes its configs, types
 * its commands with the built program, and compares what they print with what the page shows.
 */
export class Walk implements AsyncDisposable {
  readonly #legacy: TestDatabase;
  readonly #store: TestDatabase;
  readonly #folder = mkdtempSync(join(tmpdir(), "banyan-walk-"));
  readonly #suffix = `_${randomBytes(4).toString("hex")}`;
  readonly #env: Record<string, string>;
  readonly problems: string[] = [];
  #running: RunningCli | undefined;

  static async begin(): Promise<Walk> {
    return new Walk(await createDatabase("legacy"), await createDatabase("events"));
  }

  private constructor(legacy: TestDatabase, store: TestDatabase) {
    this.#legacy = legacy;
    this.#store = store;
    this.#env = { LEGACY_URL: legacy.url, EVENTS_URL: store.url };
  }

  async page(source: Page): Promise<void> {
    for (const block of codeBlocks(source)) await this.block(block);
  }

  async block(block: CodeBlock): Promise<void> {
    const { language, code, file, line } = block;
    if (language === "sql") await this.#sql(code, `${file}:${line}`);
    else if (language === "ts" && code.startsWith("// ")) this.#write(code);
    else if (language === "console") await this.#console(block);
  }

  /** Statement by statement in one session, as a person at a terminal. */
  async #sql(code: string, place: string): Promise<void> {
    const where = /^-- in (the legacy database|the store), as (\w+)/.exec(code);
    if (where === null) throw new Error(`${place}: the SQL does not say where to run it`);
    const database = where[1] === "the store" ? this.#store : this.#legacy;
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      if (where[2] === "banyan_owner") await client.query(`SET ROLE ${this.#own("banyan_owner")}`);
      for (const sql of this.#own(code).split(/;$/m)) await client.query(sql);
    } finally {
      await client.end();
    }
    if (code.includes("CREATE ROLE banyan_capture"))
      this.#login("LEGACY_URL", code, "banyan_capture");
    if (code.includes("CREATE ROLE banyan_owner")) this.#login("EVENTS_URL", code, "banyan_owner");
    if (code.includes("CREATE ROLE banyan_app")) this.#passwords.set("banyan_app", code);
    if (code.includes("TO banyan_app;")) {
      this.#login("EVENTS_URL", this.#passwords.get("banyan_app")!, "banyan_app");
    }
  }

  readonly #passwords = new Map<string, string>();

  /** From here on the page uses this role. */
  #login(variable: string, code: string, role: string): void {
    const password = new RegExp(`ROLE ${role} [A-Z ]*PASSWORD '([^']+)'`).exec(code)![1]!;
    const url = new URL(this.#env[variable]!);
    url.username = this.#own(role);
    url.password = password;
    this.#env[variable] = url.href;
  }

  #own(code: string): string {
    let own = code.replaceAll("DATABASE events", `DATABASE ${this.#store.name}`);
    for (const role of ROLES) own = own.replaceAll(role, role + this.#suffix);
    return own;
  }

  #write(code: string): void {
    const name = /^\/\/ (\S+)/.exec(code)![1]!;
    writeFileSync(join(this.#folder, name), code);
  }

  async #console({ code, file, line }: CodeBlock): Promise<void> {
    for (const part of code.split(/^(?=\$ )/m)) {
      const [typed, ...shown] = part.trimEnd().split("\n");
      const problem = await this.#type(typed!, shown);
      if (problem !== undefined) this.problems.push(`${file}:${line} ${typed}\n${problem}`);
    }
  }

  async #type(typed: string, shown: readonly string[]): Promise<string | undefined> {
    const variable = /^\$ export (\w+)=/.exec(typed)?.[1];
    if (variable !== undefined) {
      return this.#env[variable] === undefined
        ? "a variable that the walk does not know"
        : undefined;
    }
    const args = /^\$ npx banyan (.*)$/
      .exec(typed)?.[1]
      ?.replaceAll(/"\$(\w+)"/g, (_, name: string) => this.#env[name] ?? "")
      .split(" ");
    if (args === undefined) return "a command that the walk does not know";
    const options = { cwd: this.#folder, env: this.#env };
    if (args.join(" ") === "run") return await this.#start(shown);
    await this.#caughtUp();
    return difference(shown, await runCli(args, options));
  }

  /** Leaves it running for the rest of the page. */
  async #start(shown: readonly string[]): Promise<string | undefined> {
    const running = startCli(["run"], { cwd: this.#folder, env: this.#env });
    this.#running = running;
    const deadline = Date.now() + WAIT_MS_MAX;
    let problem: string | undefined;
    do {
      await sleep(50);
      problem = difference(shown, { stdout: "", stderr: running.stderr() });
    } while (problem !== undefined && running.child.exitCode === null && Date.now() < deadline);
    return problem;
  }

  /** Waits until a running pipeline has all that was committed by now. */
  async #caughtUp(): Promise<void> {
    if (this.#running === undefined) return;
    const { rows } = await this.#legacy.query("SELECT pg_current_wal_lsn() - '0/0' AS bytes");
    const goal = BigInt((rows[0] as { bytes: string }).bytes)
      .toString(16)
      .toUpperCase();
    const deadline = Date.now() + WAIT_MS_MAX;
    while (this.#running.child.exitCode === null && Date.now() < deadline) {
      if ((await this.#checkpoint()) >= goal.padStart(16, "0")) return;
      await sleep(50);
    }
    throw new Error(`banyan run did not catch up: ${this.#running.stderr()}`);
  }

  /** Where the pipeline stands; the program is asked when the events are not in the walk's own store. */
  async #checkpoint(): Promise<string> {
    const made = await this.#store.query(
      "SELECT to_regclass('banyan.pipelines') IS NOT NULL AS made",
    );
    if ((made.rows[0] as { made: boolean }).made) {
      const { rows } = await this.#store.query(
        "SELECT max(checkpoint) AS at FROM banyan.pipelines",
      );
      return (rows[0] as { at: string | null }).at ?? "";
    }
    const asked = await runCli(["status", "--json"], { cwd: this.#folder, env: this.#env });
    const status = JSON.parse(asked.stdout) as { positions: { checkpoint?: string } };
    return status.positions.checkpoint ?? "";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#running?.child.kill("SIGINT");
    await this.#running?.ended;
    await this.#dropRoles();
    await this.#legacy[Symbol.asyncDispose]();
    await this.#store[Symbol.asyncDispose]();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #dropRoles(): Promise<void> {
    for (const role of ROLES.map((name) => name + this.#suffix)) {
      const found = await this.#legacy.query("SELECT FROM pg_roles WHERE rolname = $1", [role]);
      if (found.rowCount === 0) continue;
      await this.#legacy.query(`DROP OWNED BY ${role}`);
      await this.#store.query(`DROP OWNED BY ${role} CASCADE`);
      await this.#legacy.query(`DROP ROLE ${role}`);
    }
  }
}
