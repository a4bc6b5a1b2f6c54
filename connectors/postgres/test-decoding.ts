import { qualifiedName } from "../../src/model/table.ts";

/** One line of the output plugin test_decoding that is about rows; `null` is a NULL. */
export interface DecodedChange {
  readonly operation: "insert" | "update" | "delete" | "truncate";
  /** Several of a TRUNCATE. */
  readonly tables: readonly string[];
  /** What the replica identity tells of the old row, without its NULLs; undefined when nothing. */
  readonly old: DecodedTuple | undefined;
  /** Undefined when the line was cut off before its end. A value that the log does not repeat is left out. */
  readonly now: DecodedTuple | undefined;
}

export type DecodedTuple = ReadonlyMap<string, string | null>;

const OPERATIONS = {
  INSERT: "insert",
  UPDATE: "update",
  DELETE: "delete",
  TRUNCATE: "truncate",
} as const;

/**
 * Reads a line such as
 * `table public.orders: UPDATE: old-key: id[bigint]:7 status[text]:'new' new-tuple: id[bigint]:7 status[text]:'paid'`.
 *
 * @param cut whether the line's end is missing: then only table and operation are read
 * @returns undefined for a line about something else (BEGIN, COMMIT, a message)
 */
export function parseChange(line: string, cut: boolean): DecodedChange | undefined {
  if (!line.startsWith("table ")) return undefined;
  const reader = new Reader(line, "table ".length);
  const tables: string[] = [];
  do {
    const schema = reader.identifier();
    if (schema === undefined || !reader.take(".")) return undefined;
    const relation = reader.identifier();
    if (relation === undefined) return undefined;
    tables.push(qualifiedName(schema, relation));
  } while (reader.take(", "));
  if (!reader.take(": ")) return undefined;
  const word = reader.until(":");
  if (!(word in OPERATIONS)) return undefined;
  const operation = OPERATIONS[word as keyof typeof OPERATIONS];
  const nothing = { operation, tables, old: undefined, now: undefined };
  if (cut || operation === "truncate" || !reader.take(":")) return nothing;
  if (operation === "delete") return { ...nothing, old: reader.tuple() };
  if (!reader.take(" old-key:")) return { ...nothing, now: reader.tuple() };
  const old = reader.tuple();
  return { ...nothing, old, now: reader.take(" new-tuple:") ? reader.tuple() : undefined };
}

/** The time in `COMMIT 734 (at 2026-01-31 10:00:00.123456+00)`, in milliseconds. */
export function commitTimeMs(line: string): number | undefined {
  const text = /^COMMIT \d+ \(at ([\d-]+) ([\d:.]+)\+00\)/.exec(line);
  return text === null ? undefined : Date.parse(`${text[1]}T${text[2]}Z`);
}

class Reader {
  readonly #text: string;
  #at: number;

  constructor(text: string, at: number) {
    this.#text = text;
    this.#at = at;
  }

  take(word: string): boolean {
    if (!this.#text.startsWith(word, this.#at)) return false;
    this.#at += word.length;
    return true;
  }

  until(end: string): string {
    const to = this.#text.indexOf(end, this.#at);
    const text = this.#text.slice(this.#at, to < 0 ? undefined : to);
    this.#at += text.length;
    return text;
  }

  /** As the server quotes it where it must. */
  identifier(): string | undefined {
    if (this.#text[this.#at] === '"') return this.#quoted('"');
    const bare = /[^".:, [\]]+/y;
    bare.lastIndex = this.#at;
    const found = bare.exec(this.#text)?.[0];
    this.#at += found?.length ?? 0;
    return found;
  }

  /** Columns up to the end, or to the word that begins the new row. Undefined when one cannot be read. */
  tuple(): DecodedTuple | undefined {
    const cells = new Map<string, string | null>();
    if (this.take(" (no-tuple-data)")) return cells;
    while (this.#at < this.#text.length && !this.#text.startsWith(" new-tuple:", this.#at)) {
      if (!this.take(" ")) return undefined;
      const name = this.identifier();
      if (name === undefined || !this.#type() || !this.take(":")) return undefined;
      if (this.take("unchanged-toast-datum")) continue;
      cells.set(name, this.take("null") ? null : this.#value());
    }
    return cells;
  }

  /** A type in brackets; an array's has brackets of its own, a quoted one may have anything. */
  #type(): boolean {
    if (!this.take("[")) return false;
    for (let depth = 1; depth > 0;) {
      const c = this.#text[this.#at];
      if (c === undefined) return false;
      if (c === '"') this.#quoted('"');
      else {
        depth += c === "[" ? 1 : c === "]" ? -1 : 0;
        this.#at++;
      }
    }
    return true;
  }

  #value(): string {
    this.take("B");
    return this.#text[this.#at] === "'" ? this.#quoted("'") : this.until(" ");
  }

  #quoted(quote: string): string {
    const from = this.#at + 1;
    let to = from;
    for (;;) {
      to = this.#text.indexOf(quote, to);
      if (to < 0) to = this.#text.length;
      if (this.#text[to + 1] !== quote) break;
      to += 2;
    }
    this.#at = to + 1;
    return this.#text.slice(from, to).replaceAll(quote + quote, quote);
  }
}
