import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Draft } from "../../src/draft/draft.ts";

interface CheckedDraft extends Pick<Draft, "config" | "tables"> {
  /** Text of a file beside them. */
  readonly more?: string;
}

const ROOT = resolve(import.meta.dirname, "../..");

/**
 * What the compiler says of drafted files, with the options of this repository, which are as strict as
 * they come: unused names and unchecked indexes are errors too.
 */
export function typecheck(drafts: Readonly<Record<string, CheckedDraft>>): string[] {
  const folder = mkdtempSync(join(tmpdir(), "banyan-typecheck-"));
  try {
    for (const [name, { config, tables, more }] of Object.entries(drafts)) {
      mkdirSync(join(folder, name));
      if (more !== undefined) writeFileSync(join(folder, name, "banyan.more.ts"), more);
      writeFileSync(join(folder, name, "banyan.config.ts"), config ?? "");
      writeFileSync(join(folder, name, "banyan.tables.ts"), tables);
    }
    const options = {
      extends: join(ROOT, "tsconfig.json"),
      compilerOptions: { rootDir: "/", typeRoots: [join(ROOT, "node_modules/@types")] },
      include: ["**/*.ts"],
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(options));
    writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
    const tsc = join(ROOT, "node_modules/.bin/tsc");
    execFileSync(tsc, ["-p", ".", "--pretty", "false"], { cwd: folder, stdio: "pipe" });
    return [];
  } catch (error) {
    const said = String((error as { stdout?: Buffer }).stdout ?? error).split("\n");
    // What others may be changing in the program itself is not of interest here.
    return said.filter((line) => /^[\w-]+\/banyan\./.test(line));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
