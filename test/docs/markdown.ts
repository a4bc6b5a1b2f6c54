import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

export const ROOT = resolve(import.meta.dirname, "../..");

export interface Page {
  /** Path from the root, e.g. `docs/3-mapping.md`. */
  readonly file: string;
  readonly text: string;
}

/** README.md, everything in docs/, and the README of the example, as a user reads them. */
export function pages(): readonly Page[] {
  const docs = readdirSync(join(ROOT, "docs"))
    .filter((name) => name.endsWith(".md"))
    .sort()
    .map((name) => `docs/${name}`);
  return ["README.md", ...docs, "examples/shop-postgres/README.md"].map(page);
}

export function page(file: string): Page {
  return { file, text: readFileSync(join(ROOT, file), "utf8") };
}

export interface CodeBlock {
  readonly file: string;
  readonly line: number;
  /** What stands behind the fence, e.g. `ts`. */
  readonly language: string;
  readonly code: string;
}

export function codeBlocks({ file, text }: Page): readonly CodeBlock[] {
  const blocks: CodeBlock[] = [];
  const lines = text.split("\n");
  for (let i = 0; i < lines.length; i++) {
    const fence = /^```(\w*)$/.exec(lines[i]!);
    if (fence === null) continue;
    const end = lines.indexOf("```", i + 1);
    if (end < 0) throw new Error(`${file}:${i + 1}: a code block that does not end`);
    const code = lines.slice(i + 1, end).join("\n");
    blocks.push({ file, line: i + 1, language: fence[1]!, code });
    i = end;
  }
  return blocks;
}

/** The text without its code blocks. */
export function prose({ text }: Page): string {
  return text.replaceAll(/^```\w*\n[\s\S]*?^```$/gm, "");
}

/** What stands between backticks outside of code blocks. */
export function inlineCode(source: Page): readonly string[] {
  return [...prose(source).matchAll(/`([^`\n]+)`/g)].map(([, code]) => code!);
}

export interface Section {
  readonly title: string;
  readonly level: number;
  /** Up to the next heading of the same or a higher level. */
  readonly body: string;
}

export function sections(source: Page): readonly Section[] {
  const text = prose(source);
  const headings = [...text.matchAll(/^(#{1,6}) (.+)$/gm)];
  return headings.map((heading, i) => {
    const level = heading[1]!.length;
    const next = headings.slice(i + 1).find((other) => other[1]!.length <= level);
    const body = text.slice(heading.index + heading[0].length, next?.index);
    return { title: heading[2]!, level, body };
  });
}

export function section(source: Page, title: string): Section {
  const found = sections(source).find((one) => one.title === title);
  if (found === undefined) throw new Error(`${source.file} has no section "${title}"`);
  return found;
}

/** Rows of the first table in a text, without its head; a `|` inside backticks is part of its cell. */
export function tableRows(text: string): readonly (readonly string[])[] {
  const lines = text.split("\n");
  const rule = lines.findIndex((line) => /^\|(-+\|)+$/.test(line));
  if (rule < 0) return [];
  const rows: string[][] = [];
  for (const line of lines.slice(rule + 1)) {
    if (!line.startsWith("|")) break;
    const cells = line.match(/(?:`[^`]*`|[^|])+/g) ?? [];
    rows.push(cells.map((cell) => cell.trim()));
  }
  return rows;
}

/** The anchor that a heading gets on the usual hosts. */
export function anchorOf(title: string): string {
  return title
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");
}

/** Links of a page that lead to files here: the file and the anchor. External ones are left out. */
export function localLinks(
  source: Page,
): readonly { readonly path: string; readonly anchor: string }[] {
  return [...prose(source).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target]) => target!)
    .filter((target) => !/^[a-z]+:/.test(target))
    .map((target) => {
      const [path = "", anchor = ""] = target.split("#");
      const from = join(ROOT, source.file, "..");
      return { path: path === "" ? join(ROOT, source.file) : resolve(from, path), anchor };
    });
}

export function anchorsOf(path: string): readonly string[] {
  if (!existsSync(path) || !path.endsWith(".md")) return [];
  return sections({ file: path, text: readFileSync(path, "utf8") }).map(({ title }) =>
    anchorOf(title),
  );
}
