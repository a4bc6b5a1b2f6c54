import type { Cell } from "../../src/model/cell.ts";
import { BanyanError } from "../../src/model/errors.ts";
import { isDecimal, type SourceTable } from "../../src/model/table.ts";
import { joinHalves, TextHash } from "../../src/model/text-hash.ts";
import { nullableColumns, type RowHashPlan } from "../../src/source/row-hash.ts";
import type { Ask } from "./catalogue.ts";
import { quoteIdentifier, quoteLiteral } from "./identifiers.ts";

/** The server takes at most 100 arguments. */
const ARGUMENTS_MAX = 90;
const SEPARATOR = String.raw`E'\x1f'`;

/**
 * SQL that hashes rows as RowHash of src/source/row-hash.ts does. `concat` gives a value's canonical text
 * (a cast would strip the blanks of char(n), and write true for t), and nothing for NULL. What is NULL
 * tells `num_nulls`: a composite of NULLs is one to IS NULL, too.
 */
export function rowHash(table: SourceTable): string {
  const texts = table.columns.flatMap(({ name }) => [quoteIdentifier(name), SEPARATOR]);
  const nulls = nullableColumns(table).map(
    (column) => `num_nulls(${quoteIdentifier(table.columns[column]!.name)})`,
  );
  return hashOf(concat([...texts, ...nulls]));
}

function keyHash(table: SourceTable, key: readonly number[]): string {
  const parts = key.flatMap((column, i) => {
    const { name, type } = table.columns[column]!;
    const value = quoteIdentifier(name);
    const text = isDecimal(type) ? `trim_scale(${value})` : value;
    return i === 0 ? [text] : [SEPARATOR, text];
  });
  return hashOf(concat(parts));
}

function hashOf(text: string): string {
  return `pg_catalog.hashtextextended(${text} COLLATE "C", 0)`;
}

function concat(parts: readonly string[]): string {
  if (parts.length <= ARGUMENTS_MAX) return `concat(${parts.join(", ")})`;
  const groups: string[] = [];
  for (let at = 0; at < parts.length; at += ARGUMENTS_MAX)
    groups.push(concat(parts.slice(at, at + ARGUMENTS_MAX)));
  return concat(groups);
}

function bucketOf(table: SourceTable, { key, buckets }: RowHashPlan): string {
  return `(${keyHash(table, key)} & ${buckets - 1})::int`;
}

/** Bucket, count and sum. @param from the table in a FROM clause @param where which of its rows */
export function sumRowsSql(
  table: SourceTable,
  plan: RowHashPlan,
  from: string,
  where: string,
): string {
  return `SELECT ${bucketOf(table, plan)}, count(*), sum(${rowHash(table)}) FROM ${from} WHERE ${where} GROUP BY 1`;
}

/** The columns of the key, count and sum. */
export function sumAggregatesSql(
  table: SourceTable,
  plan: RowHashPlan,
  buckets: readonly number[],
  from: string,
): string {
  const key = plan.key.map((column) => {
    const name = quoteIdentifier(table.columns[column]!.name);
    return `CASE WHEN num_nulls(${name}) = 0 THEN concat(${name}) END`;
  });
  const places = key.map((_, i) => i + 1).join(", ");
  return `SELECT ${key.join(", ")}, count(*), sum(${rowHash(table)}) FROM ${from}
           WHERE ${bucketOf(table, plan)} IN (${buckets.join(", ")}) GROUP BY ${places}`;
}

/**
 * A condition that holds for the rows of the aggregates with these keys. Literals take the type of what
 * they are compared with, so that an index on the key can serve it.
 */
export function aggregatesCondition(
  table: SourceTable,
  { key }: RowHashPlan,
  keys: readonly (readonly Cell[])[],
): string {
  const names = key.map((column) => quoteIdentifier(table.columns[column]!.name));
  const isWhole = (cells: readonly Cell[]): boolean => cells.every(isPresent);
  const conditions = keys
    .filter((cells) => !isWhole(cells))
    .map((cells) => {
      const parts = cells.map((cell, i) =>
        isPresent(cell) ? `${names[i]} = ${quoteLiteral(cell)}` : `num_nulls(${names[i]}) = 1`,
      );
      return `(${parts.join(" AND ")})`;
    });
  const whole = keys.filter(isWhole);
  if (whole.length > 0) {
    const values = whole.map((cells) => row(cells.map((cell) => quoteLiteral(cell as string))));
    conditions.push(`${row(names)} IN (${values.join(", ")})`);
  }
  return conditions.length === 0 ? "false" : conditions.join(" OR ");
}

function isPresent(cell: Cell): cell is string {
  return cell !== null && cell !== undefined;
}

function row(parts: readonly string[]): string {
  return parts.length === 1 ? parts[0]! : `(${parts.join(", ")})`;
}

/**
 * Whether the server's hash is the one of this program: its encoding must be UTF-8 and its numbers
 * little-endian, and nothing promises that a later version hashes alike.
 */
export async function hashesAlike(ask: Ask): Promise<boolean> {
  const [server] = await ask<{ encoding: string; hash: string }>(
    "trying the server's hash",
    `SELECT getdatabaseencoding() AS encoding, ${hashOf(quoteLiteral(PROBE))}::text AS hash`,
    [],
  );
  const { high, low } = new TextHash().of(PROBE);
  return server?.encoding === "UTF8" && server.hash === String(joinHalves(high, low));
}

const PROBE = "Banyan compares what it hashes: äöü";

/** The lowest 64 bits of a sum that may have more. */
export function wrapSum(text: string | null | undefined): bigint {
  if (text === null || text === undefined) {
    throw new BanyanError("PROTOCOL_VIOLATION", "the server gave no sum for rows that it counted");
  }
  return BigInt.asIntN(64, BigInt(text));
}
