import { quoteLiteral } from "./identifiers.ts";
import { NOT_NULL } from "./not-null.ts";
import type { Ask } from "./catalogue.ts";
import { isDecimal } from "../../src/model/table.ts";
import type { ChunkSurvey, KeyedTable } from "../../src/source/change-source.ts";

/** Of a table without statistics. */
const BYTES_PER_ROW_GUESSED = 100;

interface Row {
  readonly rows: number;
  readonly bytes: number;
  /** Whether an index begins with the columns, in their order and that of their values. */
  readonly indexed: boolean;
  readonly nullable: boolean;
  /** Names of collations by column; null where a type has none. */
  readonly collations: readonly (string | null)[];
}

/** What sorts by the bytes of its UTF-8 text is told apart by the server's own words for it. */
const BYTEWISE = `
  CASE WHEN a.attcollation = 0 THEN NULL
       WHEN current_setting('server_encoding') <> 'UTF8' THEN 'in ' || current_setting('server_encoding')
       WHEN co.collname IN ('C', 'POSIX', 'ucs_basic') THEN 'C'
       WHEN co.collname = 'pg_c_utf8' THEN 'C'
       WHEN co.collname = 'default'
            THEN CASE WHEN coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') = 'c' AND d.datcollate IN ('C', 'POSIX') THEN 'C'
                      WHEN to_jsonb(d) ->> 'datlocprovider' = 'b' THEN 'C'
                      WHEN to_jsonb(d) ->> 'datlocprovider' = 'i'
                           THEN coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale')
                      ELSE d.datcollate END
       ELSE co.collname END`;

const SURVEY = `
  WITH leaf AS (
    SELECT relid AS oid FROM pg_partition_tree($1::oid) WHERE isleaf
    UNION SELECT $1::oid WHERE NOT EXISTS (SELECT FROM pg_partition_tree($1::oid))),
  keyed AS (
    SELECT k.place, a.attnum, a.attcollation, ${NOT_NULL} AS filled, ${BYTEWISE} AS sorted
      FROM unnest($2::text[]) WITH ORDINALITY k (name, place)
      JOIN pg_attribute a ON a.attrelid = $1::oid AND a.attname = k.name
      LEFT JOIN pg_collation co ON co.oid = a.attcollation
      CROSS JOIN (SELECT * FROM pg_database WHERE datname = current_database()) d)
  SELECT (SELECT coalesce(sum(CASE WHEN c.reltuples >= 0 THEN c.reltuples
                                   ELSE pg_relation_size(c.oid) / ${BYTES_PER_ROW_GUESSED} END), 0)::float8
            FROM leaf JOIN pg_class c USING (oid)) AS rows,
         (SELECT coalesce(sum(pg_table_size(oid)), 0)::float8 FROM leaf) AS bytes,
         EXISTS (
           SELECT FROM pg_index i
             JOIN pg_class ic ON ic.oid = i.indexrelid
             JOIN pg_am am ON am.oid = ic.relam AND am.amname = 'btree'
            WHERE i.indrelid = $1::oid AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
              AND (SELECT count(*) FROM keyed) <= i.indnkeyatts
              AND NOT EXISTS (
                SELECT FROM keyed
                 WHERE i.indkey[place - 1] <> attnum OR i.indoption[place - 1] & 1 <> 0
                    OR i.indcollation[place - 1] <> attcollation
                    OR NOT (SELECT opcdefault FROM pg_opclass WHERE oid = i.indclass[place - 1]))) AS indexed,
         (SELECT NOT bool_and(filled) FROM keyed) AS nullable,
         (SELECT json_agg(sorted ORDER BY place) FROM keyed) AS collations`;

/** Asks what a baseline must know of the tables of one stream type before it is begun. */
export async function surveyChunks(ask: Ask, tables: readonly KeyedTable[]): Promise<ChunkSurvey> {
  let rows = 0;
  let bytes = 0;
  let obstacle = obstacleOfTypes(tables);
  const unindexed: string[] = [];
  for (const [n, { table, columns }] of tables.entries()) {
    const names = columns.map((column) => table.columns[column]!.name);
    const [{ oid } = { oid: undefined }] = await ask<{ oid: string }>(
      "surveying tables",
      `SELECT c.oid::text AS oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2`,
      [table.schema, table.relation],
    );
    if (oid === undefined) continue;
    const [found] = await ask<Row>("surveying tables", SURVEY, [oid, names]);
    rows += found!.rows;
    bytes += found!.bytes;
    const [collated] = found!.collations.filter((name) => name !== null && name !== "C");
    if (collated !== undefined && collated !== null)
      obstacle ??= `the key of ${table.name} is text collated ${quoteLiteral(collated)}, whose order is not known here`;
    if (n === 0 && found!.nullable) obstacle ??= `the key of ${table.name} may be NULL`;
    if (!found!.indexed) unindexed.push(table.name);
    if (!found!.indexed)
      obstacle ??= `${table.name} has no index that begins with (${names.join(", ")}), so each chunk would read all of it`;
  }
  return {
    rows: Math.round(rows),
    bytes,
    unindexed,
    ...(obstacle === undefined ? {} : { obstacle }),
  };
}

/** The key must have one order here and there, and the same in all tables. */
function obstacleOfTypes(tables: readonly KeyedTable[]): string | undefined {
  const [root] = tables;
  for (const [i, column] of root!.columns.entries()) {
    const kinds = tables.map(({ table, columns }) => kindOf(table.columns[columns[i]!]!.type));
    const { name, type } = root!.table.columns[column]!;
    if (kinds[0] === undefined)
      return `the order of ${type}, the type of ${root!.table.name}.${name}, is not known here`;
    const other = kinds.findIndex((kind) => kind !== kinds[0]);
    if (other >= 0)
      return `${tables[other]!.table.name} refers to ${root!.table.name}.${name} by a column of another type`;
  }
  return undefined;
}

/** What their order does not depend on is left out: the precision of times. */
const ORDERED = new Set([
  "uuid",
  "bytea",
  "bool",
  "macaddr",
  "date",
  "time",
  "timestamp",
  "timestamptz",
]);

/** Types whose order is known in `src/source/key-order.ts`, and the type that their values are written as; else undefined. */
export function kindOf(type: string): string | undefined {
  if (["int2", "int4", "int8"].includes(type)) return "int8";
  if (isDecimal(type)) return "numeric";
  if (type === "text" || type === "varchar" || /^varchar\(\d+\)$/.test(type)) return "text";
  // Another length gives equal values other texts.
  if (/^bpchar\(\d+\)$/.test(type)) return type;
  const plain = type.replace(/\(\d\)$/, "");
  return ORDERED.has(plain) ? plain : undefined;
}
