import { parseQualifiedName } from "../../src/model/table.ts";
import { BanyanError } from "../../src/model/errors.ts";
import type { Ask } from "./catalogue.ts";
import { quoteTable } from "./identifiers.ts";

/** A table of the legacy database, as its rows are written. */
export interface LegacyTable {
  readonly name: string;
  /** For statements: `"public"."orders"`, with ONLY where rows of other tables could be meant. */
  readonly target: string;
  readonly oid: number;
  /** By name. Generated ones are not among them. */
  readonly columns: ReadonlyMap<string, LegacyColumn>;
  /** Whether triggers could write something else than they were given. */
  readonly hasTriggers: boolean;
  /** Whether a unique or exclusion constraint is DEFERRABLE: then the server refuses ON CONFLICT. */
  readonly hasDeferrable: boolean;
  /** Tables that must have a row before this one may refer to it. */
  readonly parents: readonly number[];
  readonly missingRights: readonly string[];
}

export interface LegacyColumn {
  readonly name: string;
  /** Its type for a cast of text that loses nothing: without the modifier, which is left to the assignment. */
  readonly type: string;
  /** With the modifier, as a value is when it is in the column. */
  readonly exactType: string;
  readonly isNullable: boolean;
  /** Whether `=` finds it in an index; else it is compared as text. */
  readonly isComparable: boolean;
  readonly isAlwaysGenerated: boolean;
  /** What fills it, for statements. */
  readonly sequence: string | null;
  readonly isInteger: boolean;
}

interface Row {
  readonly name: string;
  readonly oid: string;
  readonly kind: string;
  readonly triggers: boolean;
  readonly deferrable: boolean;
  readonly parents: readonly number[];
  readonly missing: readonly string[];
  readonly columns: readonly LegacyColumn[] | null;
}

/**
 * `=` of pg_catalog, which is all that the session's search_path has, and an index that serves it: types
 * with an order of their own, enums, and what is stored like one of them.
 */
const COMPARABLE = `
  (t.typtype = 'e' OR b.typname = 'varchar' AND b.typnamespace = 'pg_catalog'::regnamespace
   OR b.typnamespace = 'pg_catalog'::regnamespace AND EXISTS (
     SELECT FROM pg_opclass o JOIN pg_am m ON m.oid = o.opcmethod
      WHERE m.amname = 'btree' AND o.opcdefault AND o.opcintype = b.oid))`;

/** One that the column owns, or that its default asks. */
const SEQUENCE = `
  (SELECT s.oid::regclass::text FROM pg_class s
    WHERE s.relkind = 'S' AND (
      EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = s.oid AND d.deptype IN ('a', 'i')
                 AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid = a.attnum)
      OR EXISTS (SELECT FROM pg_attrdef f JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
                  WHERE f.adrelid = c.oid AND f.adnum = a.attnum AND d.refclassid = 'pg_class'::regclass AND d.refobjid = s.oid))
    ORDER BY s.oid LIMIT 1)`;

const TABLES = `
  SELECT asked.name, c.oid::int8 AS oid, c.relkind AS kind,
         EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgenabled IN ('O', 'A')
                    AND g.tgtype & 20 <> 0) AS triggers,
         EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND NOT i.indimmediate) AS deferrable,
         ARRAY(SELECT k.confrelid::int8::float8 FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f') AS parents,
         ARRAY(SELECT r FROM unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) r WHERE NOT has_table_privilege(c.oid, r)) AS missing,
         (SELECT json_agg(json_build_object(
                   'name', a.attname, 'type', quote_ident(tn.nspname) || '.' || quote_ident(t.typname),
                   'exactType', format_type(a.atttypid, a.atttypmod), 'isNullable', NOT a.attnotnull,
                   'isComparable', ${COMPARABLE}, 'isAlwaysGenerated', a.attidentity = 'a', 'sequence', ${SEQUENCE},
                   'isInteger', b.oid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)) ORDER BY a.attnum)
            FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace tn ON tn.oid = t.typnamespace
            JOIN pg_type b ON b.oid = CASE WHEN t.typbasetype = 0 THEN t.oid ELSE t.typbasetype END
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns
    FROM unnest($1::text[], $2::text[], $3::text[]) asked (name, schema, relation)
    JOIN pg_namespace n ON n.nspname = asked.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = asked.relation AND c.relkind IN ('r', 'p')`;

/**
 * The named tables, each after those that it refers to, as far as that can be.
 *
 * @throws BanyanError `TABLE_MISSING`
 */
export async function readLegacyTables(
  ask: Ask,
  names: readonly string[],
): Promise<ReadonlyMap<string, LegacyTable>> {
  const parsed = names.map(parseQualifiedName);
  const rows = await ask<Row>("reading the tables", TABLES, [
    names,
    parsed.map(({ schema }) => schema),
    parsed.map(({ relation }) => relation),
  ]);
  const found = new Set(rows.map(({ name }) => name));
  const missing = names.filter((name) => !found.has(name));
  if (missing.length > 0) {
    throw new BanyanError("TABLE_MISSING", `no such table to write to: ${missing.join(", ")}`, {
      hint: "Check `reverse` in the config: its URL must lead to the database that is captured.",
      detail: { tables: missing.join(", ") },
    });
  }
  return new Map(inOrder(rows.map(tableOf)).map((table) => [table.name, table]));
}

function tableOf(row: Row): LegacyTable {
  const { schema, relation } = parseQualifiedName(row.name);
  const table = quoteTable({ schema, relation });
  const isPartitioned = row.kind === "p";
  return {
    name: row.name,
    target: isPartitioned ? table : `ONLY ${table}`,
    oid: Number(row.oid),
    columns: new Map((row.columns ?? []).map((column) => [column.name, column])),
    hasTriggers: row.triggers,
    hasDeferrable: row.deferrable,
    parents: row.parents,
    missingRights:
      row.missing.length === 0 ? [] : [`GRANT ${row.missing.join(", ")} ON ${table} TO %role;`],
  };
}

/** Parents first. Tables that refer to each other in a circle stand in the order given. */
function inOrder(tables: readonly LegacyTable[]): LegacyTable[] {
  const ordered: LegacyTable[] = [];
  const byOid = new Map(tables.map((table) => [table.oid, table]));
  const seen = new Set<number>();
  const visit = (table: LegacyTable): void => {
    if (seen.has(table.oid)) return;
    seen.add(table.oid);
    for (const parent of table.parents) {
      const of = byOid.get(parent);
      if (of !== undefined) visit(of);
    }
    ordered.push(table);
  };
  for (const table of tables) visit(table);
  return ordered;
}

/** The table's name without ONLY, which INSERT does not know. */
export function insertTarget(table: LegacyTable): string {
  return table.target.replace(/^ONLY /, "");
}
