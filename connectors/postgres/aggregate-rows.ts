import type { Cell } from "../../src/model/cell.ts";
import type { Cells, SourceTable } from "../../src/model/table.ts";
import type { Ask } from "./catalogue.ts";
import { quoteIdentifier, quoteLiteral, quoteTable } from "./identifiers.ts";
import type { SnapshotRows } from "./snapshot-rows.ts";
import { sqlstateOf } from "./sqlstate.ts";

/**
 * How the values of a key's column are compared with texts: as values of a type, by an operator that an
 * index on the column can serve; undefined as texts, which none can.
 */
export type KeyType = { readonly type: string; readonly operator: string } | undefined;

type Key = readonly Cell[];

/**
 * Reads the rows of the aggregates with these keys, and perhaps others: two texts may be equal as values.
 *
 * One statement, whose plan is the server's choice: through an index key by key where there is one, else
 * with one pass of the table for all keys.
 *
 * @param columns those that hold the key
 */
export async function* readAggregateRows(
  rows: SnapshotRows,
  table: SourceTable,
  columns: readonly number[],
  keys: readonly Key[],
  signal: AbortSignal,
): AsyncGenerator<readonly Cells[], void, void> {
  const read = (types: readonly KeyType[]): AsyncGenerator<readonly Cells[], void, void> => {
    const sql = aggregateRowsSql(table, rows.from(table), columns, keys, types);
    return rows.copySelect(table, sql, table.columns.length, signal);
  };
  const types = await rows.use((ask) => keyTypes(ask, table, columns));
  let isBegun = false;
  try {
    for await (const group of read(types)) {
      isBegun = true;
      yield group;
    }
  } catch (error) {
    // An event may name a key that the column cannot hold: as text it is merely one that no row has.
    if (isBegun || !sqlstateOf(error).startsWith("22")) throw error;
    yield* read(columns.map(() => undefined));
  }
}

/** @param types of the columns; @param from the table in a FROM clause */
export function aggregateRowsSql(
  table: SourceTable,
  from: string,
  columns: readonly number[],
  keys: readonly Key[],
  types: readonly KeyType[],
): string {
  const names = columns.map((column) => `t.${quoteIdentifier(table.columns[column]!.name)}`);
  const equal = (i: number, other: string): string => {
    const type = types[i];
    return type === undefined
      ? // The text of NULL is the empty one.
        `(concat(${names[i]}) COLLATE "C") = ${other} AND num_nulls(${names[i]}) = 0`
      : `${names[i]} OPERATOR(${type.operator}.=) ${other}`;
  };
  const typed = (i: number, literal: string, many = ""): string =>
    `${quoteLiteral(literal)}::${types[i]?.type ?? "text"}${many}`;
  const list = table.columns.map(({ name }) => `t.${quoteIdentifier(name)}`).join(", ");
  const select = `SELECT ${list} FROM ${from} AS t WHERE`;
  const whole = keys.filter((cells) => cells.every(isPresent));
  const arrays = columns.map((_, i) => typed(i, arrayText(whole.map((cells) => cells[i]!)), "[]"));
  const terms = columns.map((_, i) => equal(i, `k.k${i}`));
  const selects = [
    // A join, which the server may carry out in any way.
    `${select} EXISTS (SELECT FROM unnest(${arrays.join(", ")}) AS k (${columns.map((_, i) => `k${i}`).join(", ")})
       WHERE ${terms.join(" AND ")})`,
  ];
  // Not IS NULL of any type, which a composite value of NULLs is too: no row may come twice.
  const isNull = (i: number): string =>
    types[i] === undefined ? `num_nulls(${names[i]}) = 1` : `${names[i]} IS NULL`;
  const partial = keys
    .filter((cells) => !cells.every(isPresent))
    .map((cells) => {
      const parts = cells.map((cell, i) =>
        isPresent(cell) ? equal(i, typed(i, cell)) : isNull(i),
      );
      return `(${parts.join(" AND ")})`;
    });
  if (partial.length > 0) selects.push(`${select} ${partial.join(" OR ")}`);
  return selects.join(" UNION ALL ");
}

function isPresent(cell: Cell): cell is string {
  return cell !== null && cell !== undefined;
}

/** Texts as the text of an array. */
function arrayText(texts: readonly Cell[]): string {
  const quoted = texts.map((text) => `"${text!.replaceAll(/["\\]/g, String.raw`\$&`)}"`);
  return `{${quoted.join(",")}}`;
}

interface Row {
  readonly name: string;
  readonly schema: string;
  readonly type: string;
  readonly is_enum: boolean;
  /** Schema of its own equality, where that is one that an index goes by. */
  readonly operator: string | null;
}

/** Domains are compared as what they are made of, so that a text that breaks their rules is no error. */
const KEY_TYPES = `
  WITH RECURSIVE based (name, oid) AS (
    SELECT attname, atttypid FROM pg_attribute WHERE attrelid = $1::text::regclass AND attname = ANY ($2::text[])
    UNION ALL
    SELECT b.name, t.typbasetype FROM based b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype = 'd')
  SELECT b.name, n.nspname AS schema, t.typname AS type, t.typtype = 'e' AS is_enum,
         (SELECT o.nspname FROM pg_operator e JOIN pg_namespace o ON o.oid = e.oprnamespace
           WHERE e.oprname = '=' AND e.oprleft = t.oid AND e.oprright = t.oid AND e.oprcanmerge
             AND has_schema_privilege(o.oid, 'USAGE') LIMIT 1) AS operator
    FROM based b JOIN pg_type t ON t.oid = b.oid AND t.typtype IN ('b', 'e')
    JOIN pg_namespace n ON n.oid = t.typnamespace AND has_schema_privilege(n.oid, 'USAGE')`;

/** How each of the columns is compared, by the catalogue. */
export async function keyTypes(
  ask: Ask,
  table: SourceTable,
  columns: readonly number[],
): Promise<readonly KeyType[]> {
  const names = columns.map((column) => table.columns[column]!.name);
  const doing = `reading the types of ${table.name}`;
  const found = await ask<Row>(doing, KEY_TYPES, [quoteTable(table), names]);
  const byName = new Map(found.map((row) => [row.name, keyType(row)]));
  return names.map((name) => byName.get(name));
}

function keyType({ schema, type, is_enum: isEnum, operator }: Row): KeyType {
  if (schema === "pg_catalog") {
    // A root's key may be beyond what a child's column can hold.
    const wide = ["int2", "int4"].includes(type) ? "int8" : type;
    const isKnown = COMPARED_AS_THEY_ARE.has(wide);
    return isKnown ? { type: `pg_catalog.${quoteIdentifier(wide)}`, operator: schema } : undefined;
  }
  const name = `${quoteIdentifier(schema)}.${quoteIdentifier(type)}`;
  if (isEnum) return { type: name, operator: "pg_catalog" };
  if (type !== "citext" || operator === null) return undefined;
  return { type: name, operator: quoteIdentifier(operator) };
}

/**
 * Types whose text, read again, is a value equal to the one that it was written from, also where it is
 * named without a length. Those of others may mean something else by then (regclass), or have no equality.
 */
const COMPARED_AS_THEY_ARE = new Set([
  "bool",
  "int8",
  "oid",
  "numeric",
  "float4",
  "float8",
  "text",
  "varchar",
  "bpchar",
  "name",
  "uuid",
  "bytea",
  "date",
  "time",
  "timetz",
  "timestamp",
  "timestamptz",
  "interval",
  "inet",
  "cidr",
  "macaddr",
  "macaddr8",
  "bit",
  "varbit",
]);
