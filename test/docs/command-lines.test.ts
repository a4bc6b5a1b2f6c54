import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { codeBlocks, inlineCode, page, pages, ROOT, section, tableRows } from "./markdown.ts";
import { COMMANDS, runCommandLine } from "../../src/cli/command-line.ts";
import type { BanyanError } from "../../src/model/errors.ts";

describe("the documentation names", () => {
  test("only command lines that the program understands", async () => {
    const lines = documentedLines();
    expect(lines.length).toBeGreaterThan(25);
    const refused: string[] = [];
    for (const line of lines) {
      const problem = await problemOf(line);
      if (problem !== undefined) refused.push(`banyan ${line}: ${problem}`);
    }
    expect(refused).toEqual([]);
  });

  test("every command, in the README and by its JSON document", () => {
    const rows = tableRows(section(page("README.md"), "Commands").body);
    const inReadme = rows.map(([cell]) => /^`banyan (\w+)/.exec(cell!)?.[1]);
    expect(new Set(inReadme)).toEqual(new Set(COMMANDS));
    const json = page("docs/cli-json.md").text;
    const silent = COMMANDS.filter(
      (name) => !new RegExp(`\`banyan ${name}[^\`]*--json`).test(json),
    );
    expect(silent).toEqual([]);
  });

  test("no npm script that there is not", () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
      scripts: Record<string, string>;
    };
    const named = pages().flatMap(({ text }) =>
      [...text.matchAll(/npm run (?:--silent )?([\w:]+)/g)].map(([, name]) => name!),
    );
    expect(named.length).toBeGreaterThan(5);
    expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
  });
});

test("hints of the program name commands that there are", () => {
  const named = ["src", "connectors"].flatMap((root) =>
    readdirSync(join(ROOT, root), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .flatMap((name) => {
        const text = readFileSync(join(ROOT, root, name), "utf8");
        return [...text.matchAll(/(?:`|: |\| {2}|start )banyan ([a-z]+)/g)].map(
          ([, command]) => command!,
        );
      }),
  );
  expect(named.length).toBeGreaterThan(10);
  expect(named.filter((name) => !COMMANDS.includes(name))).toEqual([]);
});

/**
 * What the program says against a command line. In a folder without a config one that it understands
 * comes as far as CONFIG_NOT_FOUND; one word alone is the name of a command.
 */
async function problemOf(line: string): Promise<string | undefined> {
  const words = line.split(" ").filter((word) => word !== "");
  if (words.length === 1 || words[0] === "demo" || words.includes("--help")) {
    const known = ["--help", "--keep", "--seed", "--json", ...COMMANDS];
    return words.every((word) => known.includes(word)) ? undefined : "no such command or option";
  }
  // No config is there, and no address of a database.
  const nowhere = words.map((word, i) =>
    words[i - 1] === "--config" || (["assess", "draft"].includes(words[0]!) && i === 1)
      ? "nowhere"
      : word,
  );
  const config = words.includes("--config") ? [] : ["--config", "nowhere"];
  try {
    await runCommandLine([...nowhere, ...config]);
    return "it did something";
  } catch (error) {
    const { code, message } = error as BanyanError;
    const understood = code === "CONFIG_NOT_FOUND" || message.startsWith("the address does not");
    return understood ? undefined : message;
  }
}

/** Everything behind `banyan` in the documentation, once each, with examples for what stands for something. */
function documentedLines(): readonly string[] {
  const lines = pages().flatMap((source) => {
    const typed = codeBlocks(source)
      .filter(({ language }) => language === "console" || language === "sh")
      .flatMap(({ language, code }) =>
        code
          .split("\n")
          .filter((line) => language === "sh" || line.startsWith("$ "))
          .map((line) => line.replace(/^\$ /, "")),
      );
    return [...typed, ...inlineCode(source)];
  });
  const ours = lines.flatMap((line) => /^(?:npx )?banyan (\S.*)$/.exec(line)?.[1] ?? []);
  const examples = ours.map((line) => line.replace("<stream>", "ticket-1").replace(/ \[\w+\]/, ""));
  return [...new Set(examples)];
}
