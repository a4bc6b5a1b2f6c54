import type { SomeBuckets } from "../../src/model/buckets.ts";
import { BanyanError } from "../../src/model/errors.ts";
import { isDecimal, type SourceTable } from "../../src/model/table.ts";
import { joinHalves, TextHash } from "../../src/model/text-hash.ts";
import {
  COLUMNS_PER_GROUP,
  NULLS_PER_MASK,
  nullableColumns,
  type RowHashPlan,
} from "../../src/source/row-hash.ts";
import type { Ask } from "./catalogue.ts";
import { quoteIdentifier, quoteLiteral } from "./identifiers.ts";

const SEPARATOR = String.raw`E'\x1f'`;

/**
 * SQL that hashes rows as RowHash of src/source/row-hash.ts does. `concat_ws` gives values' canonical text
 * (a cast would strip the blanks of char(n), and write true for t), and leaves out NULL. What is NULL
 * tells `num_nulls`: a composite of NULLs is one to IS NULL, too.
 */
export function rowHash(table: SourceTable): string {
  const columns = table.columns.map(({ name }) => quoteIdentifier(name));
  const groups = inGroups(columns, COLUMNS_PER_GROUP);
  const texts = groups.length <= 1 ? columns : groups.map(joined);
  const nullable = nullableColumns(table).map((column) => columns[column]!);
  const masks = inGroups(nullable, NULLS_PER_MASK).map((group) =>
    group.map((name, i) => `num_nulls(${name}) * ${2 ** i}`).join(" + "),
  );
  return hashOf(joined([...texts, ...(masks.length === 0 ? ["0"] : masks)]));
}

function joined(parts: readonly string[]): string {
  return `concat_ws(${[SEPARATOR, ...parts].join(", ")})`;
}

function inGroups<T>(all: readonly T[], size: number): readonly (readonly T[])[] {
  const groups: (readonly T[])[] = [];
  for (let at = 0; at < all.length; at += size) groups.push(all.slice(at, at + size));
  return groups;
}

function keyHash(table: SourceTable, key: readonly number[]): string {
  const parts = key.flatMap((column, i) => {
    const { name, type } = table.columns[column]!;
    const value = quoteIdentifier(name);
    const text = isDecimal(type) ? `trim_scale(${value})` : value;
    return i === 0 ? [text] : [SEPARATOR, text];
  });
  return hashOf(`concat(${parts.join(", ")})`);
}

function hashOf(text: string): string {
  return `pg_catalog.hashtextextended(${text} COLLATE "C", 0)`;
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
  within?: SomeBuckets,
): string {
  const isIn = within === undefined ? "" : ` AND ${isInBuckets(table, plan, within)}`;
  return `SELECT ${bucketOf(table, plan)}, count(*), sum(${rowHash(table)}) FROM ${from} WHERE ${where}${isIn} GROUP BY 1`;
}

/** As a join, by hash: older servers go through a list from its beginning for each row. */
function isInBuckets(
  table: SourceTable,
  { key }: RowHashPlan,
  { buckets, wanted }: SomeBuckets,
): string {
  return `${bucketOf(table, { key, buckets })} IN (SELECT unnest('{${wanted.join(",")}}'::int[]))`;
}

/** The columns of the key, count and sum. */
export function sumAggregatesSql(
  table: SourceTable,
  plan: RowHashPlan,
  buckets: readonly number[],
  from: string,
  where: string,
): string {
  const key = plan.key.map((column) => {
    const name = quoteIdentifier(table.columns[column]!.name);
    // A collation of its own may find texts equal that name different streams.
    return `CASE WHEN num_nulls(${name}) = 0 THEN concat(${name}) COLLATE "C" END`;
  });
  const places = key.map((_, i) => i + 1).join(", ");
  return `SELECT ${key.join(", ")}, count(*), sum(${rowHash(table)}) FROM ${from}
           WHERE ${where} AND ${isInBuckets(table, plan, { buckets: plan.buckets, wanted: buckets })} GROUP BY ${places}`;
}

/**
 * Whether the server's hash is the one of this program: its encoding must be UTF-8 and its numbers
 * little-endian, and nothing promises that a later version hashes alike.
 */
export async function hashesAlike(ask: Ask): Promise<boolean> {
  const doing = "trying the server's hash";
  const encoding = "SELECT getdatabaseencoding() AS encoding";
  const [server] = await ask<{ encoding: string }>(doing, encoding, []);
  // One that lacks the letters of the probe could not even be asked.
  if (server?.encoding !== "UTF8") return false;
  const probe = `SELECT ${hashOf(quoteLiteral(PROBE))}::text AS hash`;
  const [hashed] = await ask<{ hash: string }>(doing, probe, []);
  const { high, low } = new TextHash().of(PROBE);
  return hashed?.hash === String(joinHalves(high, low));
}

const PROBE = "Banyan compares what it hashes: äöü";

/** The lowest 64 bits of a sum that may have more. */
export function wrapSum(text: string | null | undefined): bigint {
  if (text === null || text === undefined) {
    throw new BanyanError("PROTOCOL_VIOLATION", "the server gave no sum for rows that it counted");
  }
  return BigInt.asIntN(64, BigInt(text));
}
