/** Text of a TypeScript file, made of parts that stand in one line where they fit. */

const WIDTH = 100;

/** A piece of code: text, or a bracket around items that may be broken into lines. */
export type Code = string | Bracket;

interface Bracket {
  readonly open: string;
  readonly items: readonly Code[];
  readonly close: string;
  readonly padded: boolean;
}

export function call(name: string, ...items: readonly Code[]): Code {
  return { open: `${name}(`, items, close: ")", padded: false };
}

export function list(items: readonly Code[], before = ""): Code {
  return { open: `${before}[`, items, close: "]", padded: false };
}

export function object(members: Readonly<Record<string, Code>>, before = ""): Code {
  const items = Object.entries(members).map(([name, value]) => member(name, value));
  return { open: `${before}{`, items, close: "}", padded: true };
}

/** `name: value`. */
export function member(name: string, value: Code): Code {
  const before = `${propertyName(name)}: `;
  return typeof value === "string" ? before + value : { ...value, open: before + value.open };
}

/** @param after what follows it in its last line */
export function print(code: Code, indent: number, after = ","): string {
  const flat = flatten(code);
  if (typeof code === "string" || indent + flat.length + after.length <= WIDTH) return flat + after;
  const inner = " ".repeat(indent + 2);
  const lines = code.items.map((item) => inner + print(item, indent + 2));
  return [code.open, ...lines, `${" ".repeat(indent)}${code.close}${after}`].join("\n");
}

function flatten(code: Code): string {
  if (typeof code === "string") return code;
  const items = code.items.map(flatten).join(", ");
  const space = code.padded && items !== "" ? " " : "";
  return `${code.open}${space}${items}${space}${code.close}`;
}

export function literal(value: string | number | boolean | null): string {
  return JSON.stringify(value);
}

/** Names are quoted where JavaScript would not take them. */
export function propertyName(name: string): string {
  return isIdentifier(name) ? name : literal(name);
}

/** `row.name`, or `row["the name"]`. */
export function access(of: string, name: string): string {
  return isIdentifier(name) ? `${of}.${name}` : `${of}[${literal(name)}]`;
}

function isIdentifier(name: string): boolean {
  return /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name);
}

/**
 * Line comments. What a database says of itself is written into them, so that nothing in it may end a
 * line: not a line break of Unicode either.
 */
export function comment(text: string, indent: number): string {
  const before = `${" ".repeat(indent)}// `;
  return wrap(oneLine(text), WIDTH - before.length)
    .map((line) => before + line)
    .join("\n");
}

/** Text without anything that could end a line or a comment, and without invisible characters. */
export function oneLine(text: string): string {
  return text
    .replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, " ")
    .replaceAll("*/", "* /")
    .replaceAll(/ {2,}/g, " ")
    .trim();
}

function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = "";
    }
    line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
