import { kindOf } from "./chunk-survey.ts";
import { quoteIdentifier, quoteLiteral } from "./identifiers.ts";
import { columnList, orderTerms } from "./snapshot-rows.ts";
import type { SourceTable } from "../../src/model/table.ts";
import type { ChunkKey, ChunkRange, OrderColumn } from "../../src/source/change-source.ts";

/**
 * An index gives the rows of a chunk in their order, and a chunk is a small part of a table. Guesses about
 * that are bad where a key has two columns, of which the planner looks at the first alone, and where nobody
 * has analysed the table: what it then sorts is all of the table, for each chunk. Compiling a statement
 * that runs once costs more than it gains.
 */
export const BY_INDEX =
  "SET jit = off; SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off";
/** Of named keys each is looked up for itself, and the rows are few. Ends with the transaction. */
export const BY_LOOKUP = "SET LOCAL enable_bitmapscan = on; SET LOCAL enable_sort = on";

/** A table of a chunk, and what of it is asked for by key. */
export interface RangeTable {
  readonly table: SourceTable;
  /** As it is written behind FROM. */
  readonly from: string;
  /** Those that hold the root's key. */
  readonly columns: readonly number[];
}

type KeyRange = Exclude<ChunkRange, { readonly keys: unknown }>;
type NamedKeys = Exclude<ChunkRange, KeyRange>;

/** Asks for the key of the n-th row behind another one. */
export function boundQuery(root: RangeTable, after: ChunkKey | undefined, rows: number): string {
  return keyQuery(root, after, "", rows - 1);
}

/** Asks for the key of the last row behind another one. */
export function lastQuery(root: RangeTable, after: ChunkKey | undefined): string {
  return keyQuery(root, after, " DESC", 0);
}

function keyQuery(
  { table, from, columns }: RangeTable,
  after: ChunkKey | undefined,
  direction: "" | " DESC",
  offset: number,
): string {
  const names = namesOf(table, columns);
  const texts = names.map((name) => `concat(${name})`).join(", ");
  const order = names.map((name) => name + direction).join(", ");
  const terms = between(table, columns, { after, end: undefined });
  return `SELECT ARRAY[${texts}] AS key FROM ${from}${where(terms)} ORDER BY ${order} OFFSET ${offset} LIMIT 1`;
}

/** Asks for the rows of a range in the order of their key, NULLs last. */
export function rangeQuery({ table, from, columns }: RangeTable, range: KeyRange): string {
  const list = columnList(table);
  const names = namesOf(table, columns);
  const order = names.join(", ");
  const terms = between(table, columns, range);
  const nullable = names.filter((_, i) => table.columns[columns[i]!]!.nullable);
  const filled = nullable.map((name) => `${name} IS NOT NULL`);
  const { after, end } = range;
  // Of a row of two parts the first may decide, and the second be NULL.
  if (end !== undefined) terms.push(...(names.length > 1 ? filled : []));
  if (after === undefined || end !== undefined || nullable.length === 0)
    return `SELECT ${list} FROM ${from}${where(terms)} ORDER BY ${order}`;
  // By OR no index gives the order, and parts that are not in order themselves would be sorted together.
  const last = [
    [...terms, ...filled],
    ...nullable.map((name, i) => [...filled.slice(0, i), `${name} IS NULL`]),
  ].map((conditions) => `(SELECT ${list} FROM ${from}${where(conditions)} ORDER BY ${order})`);
  return `SELECT ${list} FROM (${last.join(" UNION ALL ")}) AS last ORDER BY ${order}`;
}

/** Asks for the rows of named keys, in an order that all tables can follow. */
export function keysQuery(
  { table, from, columns }: RangeTable,
  { keys }: NamedKeys,
  orders: readonly OrderColumn["as"][],
): string {
  const condition = conditionOf(table, columns, keys);
  const order = orderTerms(
    table,
    columns.map((column, i) => ({ column, as: orders[i]! })),
  );
  return `SELECT ${columnList(table)} FROM ${from} WHERE ${condition} ORDER BY ${order}`;
}

function conditionOf(
  table: SourceTable,
  columns: readonly number[],
  keys: NamedKeys["keys"],
): string {
  const names = namesOf(table, columns);
  if (keys.length === 0) return "false";
  // Looked up in a hash table where there are many, and not one by one for each row.
  if (names.length === 1 && keys.every(([text]) => text !== null))
    return `${names[0]} IN (${keys.map(([text]) => literal(table, columns[0]!, text!)).join(", ")})`;
  const terms = keys.map((key) =>
    key
      .map((text, i) =>
        text === null
          ? `${names[i]} IS NULL`
          : `${names[i]} = ${literal(table, columns[i]!, text)}`,
      )
      .join(" AND "),
  );
  return terms.map((term) => `(${term})`).join(" OR ");
}

/** What a row comparison implies of its first column is said as well: the planner knows how much that leaves. */
function between(
  table: SourceTable,
  columns: readonly number[],
  { after, end }: KeyRange,
): string[] {
  const names = namesOf(table, columns);
  const row = (parts: readonly string[]): string =>
    parts.length === 1 ? parts[0]! : `(${parts.join(", ")})`;
  const terms: string[] = [];
  for (const [key, than, implied] of [
    [after, ">", ">="],
    [end, "<=", "<="],
  ] as const) {
    if (key === undefined) continue;
    const literals = key.map((text, i) => literal(table, columns[i]!, text));
    terms.push(`${row(names)} ${than} ${row(literals)}`);
    if (names.length > 1) terms.push(`${names[0]} ${implied} ${literals[0]}`);
  }
  return terms;
}

function where(terms: readonly string[]): string {
  return terms.length === 0 ? "" : ` WHERE ${terms.join(" AND ")}`;
}

function namesOf(table: SourceTable, columns: readonly number[]): readonly string[] {
  return columns.map((column) => quoteIdentifier(table.columns[column]!.name));
}

/**
 * Numbers as the widest of their kind: a root's key may be beyond what a child's column can hold. Without a
 * length, to which a cast would cut what is longer.
 */
function literal(table: SourceTable, column: number, text: string): string {
  const kind = kindOf(table.columns[column]!.type)?.replace(/\(.*/, "");
  return `${quoteLiteral(text)}${kind === undefined ? "" : `::${kind}`}`;
}
