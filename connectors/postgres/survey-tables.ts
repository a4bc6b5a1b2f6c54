import { qualifiedName } from "../../src/model/table.ts";
import type { UniqueRule } from "../../src/source/database-facts.ts";
import type { Ask } from "./catalogue.ts";
import { NOT_NULL } from "./not-null.ts";

/** What the survey reads of one table of the application, with what its leaves say. */
export interface SurveyedTable {
  readonly oid: number;
  readonly name: string;
  readonly schema: string;
  readonly relation: string;
  /** `pg_class.relkind`: r, p or f. */
  readonly kind: string;
  readonly comment: string | null;
  readonly rowSecurity: boolean;
  readonly rowsHidden: boolean;
  readonly readable: boolean;
  readonly inherits: readonly string[];
  readonly triggers: readonly string[];
  readonly uniqueRules: readonly UniqueRule[];
  /** Constraint of a primary key that is checked only at commit, as far as the log is concerned none. */
  readonly deferrableKey: string | null;
  /** Columns that any level of a partitioned table is divided by; null when one is divided by an expression. */
  readonly partitionColumns: readonly string[] | null;
  readonly leaves: readonly SurveyedLeaf[];
}

/** A relation that holds rows: the table itself, or one partition of it. */
export interface SurveyedLeaf {
  readonly oid: number;
  readonly schema: string;
  readonly relation: string;
  readonly persistence: string;
  /** `pg_class.reltuples` and `relpages`, as of the last VACUUM or ANALYZE. */
  readonly tuples: number;
  readonly pages: number;
  readonly outOfLinePages: number;
  readonly indexPages: number;
  readonly inserted: number;
  readonly updated: number;
  readonly deleted: number;
  /** Unique keys over NOT NULL columns and all rows, checked at once; the primary key first. */
  readonly keys: readonly {
    readonly index: string;
    readonly columns: readonly string[];
    readonly primary: boolean;
  }[];
}

/** Of the relation `c`. A constraint that excludes has operators of its own, of which only = makes rows alike. */
const UNIQUE_RULES = `
  (SELECT coalesce(json_agg(json_build_object('columns', k.columns, 'text',
             CASE WHEN i.indisexclusion THEN pg_get_constraintdef(x.oid)
                  ELSE k.text || coalesce(' WHERE ' || pg_get_expr(i.indpred, i.indrelid, true), '') END) ORDER BY n.relname), '[]')
     FROM pg_index i JOIN pg_class n ON n.oid = i.indexrelid
     LEFT JOIN pg_constraint x ON x.conindid = i.indexrelid AND x.contype = 'x'
     JOIN LATERAL (SELECT string_agg(pg_get_indexdef(i.indexrelid, p.place::int, true), ', ' ORDER BY p.place) AS text,
                          coalesce(json_agg(a.attname ORDER BY p.place) FILTER (WHERE a.attname IS NOT NULL AND coalesce(o.oprname, '=') = '='), '[]') AS columns
                     FROM unnest(i.indkey) WITH ORDINALITY p (number, place)
                     LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = p.number AND p.number <> 0
                     LEFT JOIN pg_operator o ON o.oid = x.conexclop[p.place]
                    WHERE p.place <= i.indnkeyatts) k ON true
    WHERE i.indrelid = c.oid AND (i.indisunique OR i.indisexclusion) AND NOT i.indisprimary AND i.indisvalid)`;

/**
 * Schemas of the application: not the server's, not of other sessions, not those of an extension, and
 * not an event store of our own.
 */
const SCHEMAS = `
  SELECT n.oid, n.nspname FROM pg_namespace n
   WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
     AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e')
     AND NOT (n.nspname = 'banyan' AND (SELECT count(*) = 3 FROM pg_class s
               WHERE s.relnamespace = n.oid AND s.relname IN ('events', 'pipelines', 'row_images')))`;

/**
 * Walks pg_inherits instead of calling pg_partition_tree, which would lock what it finds.
 * The functions on single relations look at the catalogue and the statistics only.
 */
const TABLES = `
  WITH RECURSIVE schema AS (${SCHEMAS}),
  root AS (
    SELECT c.* FROM pg_class c JOIN schema n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition AND c.relpersistence <> 't'
       AND ($1::text[] IS NULL OR n.nspname = ANY ($1))
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  ),
  tree AS (
    SELECT oid AS root, oid AS relid, relkind FROM root
    UNION ALL
    SELECT t.root, i.inhrelid, c.relkind
      FROM tree t JOIN pg_inherits i ON i.inhparent = t.relid AND t.relkind = 'p' JOIN pg_class c ON c.oid = i.inhrelid
  ),
  leaf AS (
    SELECT t.root, json_agg(json_build_object(
             'oid', l.oid::int8, 'schema', ln.nspname, 'relation', l.relname, 'persistence', l.relpersistence,
             'tuples', l.reltuples, 'pages', l.relpages,
             'outOfLinePages', coalesce((SELECT o.relpages FROM pg_class o WHERE o.oid = l.reltoastrelid), 0),
             'indexPages', (SELECT coalesce(sum(x.relpages), 0) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = l.oid),
             'inserted', pg_stat_get_tuples_inserted(l.oid), 'updated', pg_stat_get_tuples_updated(l.oid),
             'deleted', pg_stat_get_tuples_deleted(l.oid),
             'keys', (SELECT coalesce(json_agg(json_build_object('index', x.relname, 'primary', i.indisprimary, 'columns', k.columns)
                                               ORDER BY i.indisprimary DESC, cardinality(k.columns), x.relname), '[]')
                        FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
                        JOIN LATERAL (SELECT array_agg(a.attname::text ORDER BY p.place) AS columns, bool_and(${NOT_NULL}) AS filled
                                        FROM unnest(i.indkey) WITH ORDINALITY p (number, place)
                                        JOIN pg_attribute a ON a.attrelid = l.oid AND a.attnum = p.number
                                       WHERE p.place <= i.indnkeyatts) k ON true
                       WHERE i.indrelid = l.oid AND i.indisunique AND i.indisvalid AND i.indimmediate
                         AND i.indpred IS NULL AND i.indexprs IS NULL AND k.filled)) ORDER BY l.relname, l.oid) AS leaves
      FROM tree t JOIN pg_class l ON l.oid = t.relid JOIN pg_namespace ln ON ln.oid = l.relnamespace
     WHERE t.relkind <> 'p' GROUP BY t.root
  )
  SELECT c.oid::int8::text AS oid, n.nspname AS schema, c.relname AS relation, c.relkind AS kind,
         obj_description(c.oid, 'pg_class') AS comment, c.relrowsecurity AS "rowSecurity",
         row_security_active(c.oid) AS "rowsHidden",
         has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS readable,
         (SELECT coalesce(json_agg(json_build_array(pn.nspname, p.relname) ORDER BY i.inhseqno), '[]')
            FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace
           WHERE i.inhrelid = c.oid) AS inherits,
         (SELECT coalesce(json_agg(t.tgname ORDER BY t.tgname), '[]') FROM pg_trigger t
           WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D') AS triggers,
         ${UNIQUE_RULES} AS "uniqueRules",
         (SELECT k.conname FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p' AND k.condeferrable) AS "deferrableKey",
         (SELECT CASE WHEN bool_and(a.attname IS NOT NULL) THEN json_agg(DISTINCT a.attname) END
            FROM tree t JOIN pg_partitioned_table p ON p.partrelid = t.relid
            CROSS JOIN unnest(p.partattrs::int2[]) number
            LEFT JOIN pg_attribute a ON a.attrelid = t.relid AND a.attnum = number AND number > 0
           WHERE t.root = c.oid) AS "partitionColumns",
         coalesce(leaf.leaves, '[]') AS leaves
    FROM root c JOIN schema n ON n.oid = c.relnamespace LEFT JOIN leaf ON leaf.root = c.oid
   ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`;

const SCHEMA_NAMES = `SELECT nspname AS name FROM (${SCHEMAS}) s ORDER BY nspname COLLATE "C"`;

interface TableRow extends Omit<SurveyedTable, "oid" | "name" | "inherits"> {
  readonly oid: string;
  readonly inherits: readonly (readonly [schema: string, relation: string])[];
}

export async function readSchemas(ask: Ask): Promise<readonly string[]> {
  const rows = await ask<{ name: string }>("reading the schemas", SCHEMA_NAMES, []);
  return rows.map(({ name }) => name);
}

/** @param schemas undefined for all of the application's */
export async function readSurveyedTables(
  ask: Ask,
  schemas: readonly string[] | undefined,
): Promise<readonly SurveyedTable[]> {
  const rows = await ask<TableRow>("reading the tables", TABLES, [schemas ?? null]);
  return rows.map((row) => ({
    ...row,
    oid: Number(row.oid),
    name: qualifiedName(row.schema, row.relation),
    inherits: row.inherits.map(([schema, relation]) => qualifiedName(schema, relation)),
  }));
}
