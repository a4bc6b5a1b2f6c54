import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { codeBlocks, pages, ROOT, type Page } from "./markdown.ts";

/*
 * A block with imports is a file as it stands. One without is a part of the page's first config: it
 * sees that one's tables, and all words of a mapping.
 */

const WORDS =
  "becomes, changed, changes, child, defineMigration, deleted, env, inserted, is, stream, table, updated, was";

test("every TypeScript block of the documentation compiles", { timeout: 120_000 }, () => {
  const files = new Map<string, string>();
  for (const source of pages()) {
    for (const { code, language, line } of codeBlocks(source)) {
      if (language !== "ts") continue;
      const name = `${source.file.replaceAll(/[^a-zA-Z0-9]/g, "-")}-${line}.ts`;
      files.set(
        name,
        code.includes("import ") ? code : `${contextOf(source)}\n${code}\nexport {};`,
      );
    }
  }
  expect(files.size).toBeGreaterThan(5);
  // The check itself must be able to fail.
  const control = `${contextOf(pages().find(({ file }) => file === "docs/3-mapping.md")!)}
    export const wrong = updated(orders, { status: becomes("sold") });`;
  const errors = compile(new Map([...files, ["control.ts", control]]));
  const ours = errors.filter((line) => /^[\w-]+\.ts\(/.test(line));
  expect(ours.filter((line) => !line.startsWith("control.ts"))).toEqual([]);
  expect(ours.join("\n")).toMatch(/control\.ts.*"sold"/);
});

/** Imports of all words and the tables of the page's first config. */
function contextOf(source: Page): string {
  const config = codeBlocks(source).find(
    ({ language, code }) => language === "ts" && code.includes("export default"),
  );
  const tables = /^import [^;]+;\n([\s\S]*)export default/m.exec(config?.code ?? "")?.[1] ?? "";
  return `import { ${WORDS} } from "banyan";\n${tables}`;
}

function compile(files: ReadonlyMap<string, string>): readonly string[] {
  const folder = mkdtempSync(join(tmpdir(), "banyan-docs-"));
  try {
    for (const [name, code] of files) writeFileSync(join(folder, name), code);
    const options = {
      extends: join(ROOT, "tsconfig.json"),
      compilerOptions: {
        rootDir: "/",
        typeRoots: [join(ROOT, "node_modules/@types")],
        noUnusedLocals: false,
        noUnusedParameters: false,
      },
      include: ["*.ts"],
    };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(options));
    writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
    const tsc = join(ROOT, "node_modules/.bin/tsc");
    execFileSync(tsc, ["-p", ".", "--pretty", "false"], { cwd: folder, stdio: "pipe" });
    return [];
  } catch (error) {
    return String((error as { stdout?: Buffer }).stdout ?? error).split("\n");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
