import type { Value } from "./drafted-rule.ts";
import type { CodecName } from "../model/table.ts";
import type { ColumnFacts, SampledTable, TableFacts } from "../source/database-facts.ts";

/** The survey cuts longer values off. */
const VALUE_LENGTH_MAX = 99;
const VALUES_MAX = 20;

/**
 * The values of a column with few of them: the declared ones, else those that the server's statistics
 * or the sample know. Most common first, or as declared.
 */
export function valuesOf(
  facts: TableFacts,
  column: string,
  sampled: SampledTable | undefined,
): readonly string[] {
  const found = columnOf(facts, column);
  if (found === undefined) return [];
  const seen = [...(sampled?.transitions.get(column)?.keys() ?? [])]
    .map((step) => stepOf(step).to)
    // As the sample writes a null.
    .filter((value) => value !== "NULL");
  const known = isDeclared(facts, column)
    ? found.allowed!
    : [...found.common.map(({ value }) => value), ...seen].filter((value) =>
        mayHold(facts, found, value),
      );
  return [...new Set(known)]
    .filter((value) => value.length <= VALUE_LENGTH_MAX)
    .slice(0, VALUES_MAX);
}

/** Statistics may be older than what is declared. */
function mayHold(facts: TableFacts, { name, allowed }: ColumnFacts, value: string): boolean {
  if (allowed === undefined || allowed.length === 0) return true;
  const json = jsonValue(facts, name, value);
  return allowed.some((one) => jsonValue(facts, name, one) === json);
}

/** Whether the database says which values a column may have, and they are few. */
export function isDeclared(facts: TableFacts, column: string): boolean {
  const allowed = columnOf(facts, column)?.allowed;
  return allowed !== undefined && allowed.length > 0 && allowed.length <= VALUES_MAX;
}

/** `placed → paid`: what the sample saw. */
export function stepOf(step: string): { readonly from: string; readonly to: string } {
  const at = step.lastIndexOf(ARROW);
  return { from: step.slice(0, Math.max(at, 0)), to: step.slice(at + (at < 0 ? 1 : ARROW.length)) };
}

const ARROW = " → ";

/** Of a default that is a plain literal: `'placed'::text`, `1`. */
export function initialValue(facts: TableFacts, column: string): string | undefined {
  const text = columnOf(facts, column)?.default;
  const quoted = /^'((?:[^']|'')*)'(?:::.*)?$/.exec(text ?? "")?.[1];
  return quoted?.replaceAll("''", "'") ?? /^(-?\d+|true|false)$/.exec(text ?? "")?.[1];
}

/** The value as an event has it; undefined when a column of that kind could never hold it. */
export function jsonValue(facts: TableFacts, column: string, value: string): Value | undefined {
  const source = facts.table.columns.find(({ name }) => name === column);
  return source === undefined ? undefined : jsonValueOf(source.codec, source.type, value);
}

export function jsonValueOf(codec: CodecName, type: string, value: string): Value | undefined {
  switch (codec) {
    case "int":
      return /^-?\d{1,10}$/.test(value) ? Number(value) : undefined;
    case "bool":
      return /^(true|t)$/.test(value) ? true : /^(false|f)$/.test(value) ? false : undefined;
    case "bytea":
    case "timestamp":
    case "timestamptz":
      return undefined;
    case "text":
      return textValue(type, value);
  }
}

/** Types whose values are written as they are compared: equal values have one text. */
const PLAIN = /^(text|varchar|name|char|int2|int4|int8|.*\..*)$/;

function textValue(type: string, value: string): string | undefined {
  const [, length] = /^bpchar\((\d+)\)$/.exec(type) ?? [];
  // Padded with blanks, as the server writes it.
  if (length !== undefined) return value.trimEnd().padEnd(Number(length));
  const bare = type.replace(/\(\d+\)$/, "");
  if (!PLAIN.test(bare) || /(^|\.)citext$/.test(bare)) return undefined;
  return value;
}

function columnOf({ columns }: TableFacts, name: string): ColumnFacts | undefined {
  return columns.find((column) => column.name === name);
}
