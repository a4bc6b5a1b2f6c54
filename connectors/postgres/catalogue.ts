import { BanyanError } from "../../src/model/errors.ts";
import {
  parseQualifiedName,
  qualifiedName,
  type ReplicaIdentity,
  type SourceColumn,
  type SourceTable,
} from "../../src/model/table.ts";
import { NOT_NULL } from "./not-null.ts";
import { codecOf, type Catalogue, type CatalogueTable } from "./relations.ts";
import { UNIQUE_INDEXES, uniquenessOf, type UniqueIndex } from "./unique-indexes.ts";

/** Asks one question; of a control session, or of a client inside a snapshot. */
export type Ask = <Row>(doing: string, sql: string, params: readonly unknown[]) => Promise<Row[]>;

/** What the catalogue says of a table, a view or anything else that has rows. */
export interface CatalogueEntry {
  readonly table: SourceTable;
  readonly oid: number;
  /** `pg_class.relkind`: r, p (partitioned), v, m, f … */
  readonly kind: string;
  /** `pg_class.relpersistence`: p, u (unlogged), t (temporary). */
  readonly persistence: string;
  readonly rowSecurity: boolean;
  readonly hasPrimaryKey: boolean;
  /** The tables that hold the rows: the leaves of a partitioned table; of another table just itself. */
  readonly leaves: readonly Leaf[];
  /** Generated columns that the log does not carry, and so nothing reads. */
  readonly generatedLeftOut: readonly string[];
  /** Of them those that are computed when they are read, which no publication sends. */
  readonly virtualColumns: readonly string[];
  readonly types: readonly {
    readonly oid: number;
    readonly modifier: number;
    readonly text: string;
  }[];
}

export interface Leaf {
  readonly schema: string;
  readonly relation: string;
  readonly identity: ReplicaIdentity;
  /** What the log tells of the old row: the primary key's columns, those of an index, or all; none when unusable. */
  readonly identityColumns: readonly string[];
  /**
   * Generated columns of its replica identity, or of one that is to be FULL, that the publication does
   * not send. Since version 18 they make UPDATE and DELETE fail once the table is published; none before.
   */
  readonly identityUnsent: readonly string[];
  readonly persistence: string;
}

interface Row {
  readonly asked: string;
  readonly oid: string;
  readonly kind: string;
  readonly persistence: string;
  readonly row_security: boolean;
  readonly columns: readonly ColumnRow[] | null;
  readonly key: readonly string[] | null;
  readonly unique_indexes: readonly UniqueIndex[] | null;
  readonly leaves:
    | readonly {
        readonly schema: string;
        readonly relation: string;
        readonly identity: string;
        readonly identity_columns: readonly string[] | null;
        readonly persistence: string;
      }[]
    | null;
}

interface ColumnRow {
  readonly name: string;
  readonly oid: number;
  readonly modifier: number;
  readonly type: string;
  readonly modifier_text: string;
  readonly not_null: boolean;
  readonly generated: string;
  readonly number: number;
  readonly filled: string | null;
  readonly computed: boolean;
}

/**
 * Names a type as in `SourceColumn.type`: its own name, with the schema when that is not pg_catalog,
 * and `[]` for an array. `%M` is the modifier's text.
 */
const TYPE_NAME = `
  CASE WHEN t.typcategory = 'A' AND e.oid IS NOT NULL
       THEN concat(nullif(en.nspname, 'pg_catalog') || '.', e.typname, %M, '[]')
       ELSE concat(nullif(tn.nspname, 'pg_catalog') || '.', t.typname, %M) END`;

const TYPE_JOINS = `
  JOIN pg_namespace tn ON tn.oid = t.typnamespace
  LEFT JOIN pg_type e ON e.oid = t.typelem
  LEFT JOIN pg_namespace en ON en.oid = e.typnamespace`;

const MODIFIER = `CASE WHEN a.atttypmod >= 0 THEN coalesce(substring(format_type(a.atttypid, a.atttypmod) from '\\(.*\\)'), '') ELSE '' END`;

/**
 * A column that is added with a constant default fills no row: the server keeps the value beside the
 * table, and as an array, whose one element is taken out here. Rows of a partitioned table get it from
 * their partition.
 */
const KEPT_DEFAULTS = `
  (SELECT array_agg(DISTINCT m.attmissingval::text)
     FROM (SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf AND c.relkind = 'p'
           UNION ALL SELECT c.oid WHERE c.relkind <> 'p') leaf
     JOIN pg_attribute m ON m.attrelid = leaf.relid AND m.attname = a.attname
    WHERE m.atthasmissing)`;

const TABLES = `
  SELECT asked.name AS asked, c.oid::int8 AS oid, c.relkind AS kind, c.relpersistence AS persistence,
         c.relrowsecurity AS row_security,
         (SELECT json_agg(json_build_object(
                   'name', a.attname, 'oid', a.atttypid::int8, 'modifier', a.atttypmod,
                   'type', ${TYPE_NAME.replaceAll("%M", MODIFIER)}, 'modifier_text', ${MODIFIER},
                   'not_null', ${NOT_NULL}, 'generated', a.attgenerated, 'number', a.attnum,
                   'filled', CASE WHEN cardinality(kept.defaults) = 1 AND t.typdelim = ',' THEN (kept.defaults[1]::text[])[1] END,
                   'computed', CASE WHEN kept.defaults IS NULL
                                    THEN a.atthasdef OR a.attidentity <> '' OR a.attgenerated <> '' OR t.typdefault IS NOT NULL
                                    ELSE cardinality(kept.defaults) > 1 OR t.typdelim <> ',' END)
                   ORDER BY a.attnum)
            FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid ${TYPE_JOINS}
            CROSS JOIN LATERAL (SELECT CASE WHEN a.atthasmissing OR c.relkind = 'p' THEN ${KEPT_DEFAULTS} END AS defaults) kept
           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
         (SELECT json_agg(a.attname ORDER BY k.place)
            FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k (number, place), pg_attribute a
           WHERE i.indrelid = c.oid AND i.indisprimary AND k.place <= i.indnkeyatts
             AND a.attrelid = c.oid AND a.attnum = k.number) AS key,
         ${UNIQUE_INDEXES} AS unique_indexes,
         (SELECT json_agg(json_build_object(
                   'schema', ln.nspname, 'relation', l.relname, 'identity', l.relreplident, 'persistence', l.relpersistence,
                   'identity_columns',
                   (SELECT json_agg(a.attname) FROM pg_attribute a
                     WHERE a.attrelid = l.oid AND a.attnum > 0 AND NOT a.attisdropped
                       AND (l.relreplident = 'f' OR EXISTS (
                             SELECT FROM pg_index i
                              WHERE i.indrelid = l.oid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])
                                AND CASE l.relreplident WHEN 'd' THEN i.indisprimary AND i.indimmediate
                                                        WHEN 'i' THEN i.indisreplident ELSE false END)))) ORDER BY l.oid)
            FROM (SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf AND c.relkind = 'p'
                  UNION ALL SELECT c.oid WHERE c.relkind <> 'p') leaf
            JOIN pg_class l ON l.oid = leaf.relid JOIN pg_namespace ln ON ln.oid = l.relnamespace) AS leaves
    FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY asked (name, schema, relation, place)
    JOIN pg_namespace n ON n.nspname = asked.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = asked.relation AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
   ORDER BY asked.place`;

/** The version since which a publication may send stored generated columns, and must those of a replica identity. */
const GENERATED_VERSION = 180_000;
/** Asked so that older versions answer too. */
const PUBLISHES_GENERATED = `
  SELECT current_setting('server_version_num')::int AS version,
         (SELECT to_jsonb(p) ->> 'pubgencols' FROM pg_publication p WHERE p.pubname = $1) AS generated`;

const ALL_TYPES = `
  SELECT t.oid::int8 AS oid, ${TYPE_NAME.replaceAll("%M", "''")} AS name
    FROM pg_type t ${TYPE_JOINS}
    LEFT JOIN pg_class c ON c.oid = t.typrelid
    LEFT JOIN pg_class ec ON ec.oid = e.typrelid
   WHERE coalesce(c.relkind, 'c') = 'c' AND (t.typcategory <> 'A' OR coalesce(ec.relkind, 'c') = 'c')`;

const PUBLISHED = `SELECT schemaname AS schema, tablename AS relation FROM pg_publication_tables WHERE pubname = $1`;

/** Keys that the config names for tables without primary key, by qualified name. */
export type PlannedKeys = ReadonlyMap<string, readonly string[]>;

/**
 * The named tables as the catalogue shows them, in the order asked; those that do not exist are left out.
 *
 * Columns are those that the log carries, in its order, so that a row read and a row streamed agree.
 */
export async function readTables(
  ask: Ask,
  names: readonly string[],
  publication: string,
  keys: PlannedKeys,
): Promise<CatalogueEntry[]> {
  const parsed = names.map(parseQualifiedName);
  const [server] = await ask<{ version: number; generated: string | null }>(
    "reading the catalogue",
    PUBLISHES_GENERATED,
    [publication],
  );
  const rows = await ask<Row>("reading the catalogue", TABLES, [
    parsed.map(({ schema, relation }) => qualifiedName(schema, relation)),
    parsed.map(({ schema }) => schema),
    parsed.map(({ relation }) => relation),
  ]);
  const { version, generated } = server!;
  const isStrict = version >= GENERATED_VERSION;
  return rows.map((row) => entryOf(row, { isStrict, isSent: generated === "s" }, keys));
}

/** @throws BanyanError `TABLE_MISSING` naming all that do not exist */
export function requireAll(names: readonly string[], found: readonly CatalogueEntry[]): void {
  const missing = missingOf(names, found);
  if (missing.length === 0) return;
  throw new BanyanError("TABLE_MISSING", `no such table in the source: ${missing.join(", ")}`, {
    hint: "Check the names in the config (schema.table, as the database spells them) and the database in the URL.",
    detail: { tables: missing.join(", ") },
  });
}

export function missingOf(
  names: readonly string[],
  found: readonly CatalogueEntry[],
): readonly string[] {
  const known = new Set(found.map(({ table }) => table.name));
  return names.filter((name) => {
    const { schema, relation } = parseQualifiedName(name);
    return !known.has(qualifiedName(schema, relation));
  });
}

/**
 * A table without primary key and without a replica identity of its own has no identity columns. A
 * deferrable primary key is none in this sense: the server refuses an UPDATE that relies on it.
 */
export function hasUsableIdentity({ leaves }: CatalogueEntry): boolean {
  return leaves.every(({ identityColumns }) => identityColumns.length > 0);
}

/** What the decoder needs beside the log: the publication's tables and all types. */
export async function readCatalogue(
  ask: Ask,
  publication: string,
  keys: PlannedKeys,
): Promise<Catalogue> {
  const published = await ask<{ schema: string; relation: string }>(
    "reading the publication",
    PUBLISHED,
    [publication],
  );
  const names = published.map(({ schema, relation }) => qualifiedName(schema, relation));
  const entries = await readTables(ask, names, publication, keys);
  const types = await ask<{ oid: string; name: string }>("reading the types", ALL_TYPES, []);
  const modifiers = new Map<string, string>();
  for (const entry of entries) {
    for (const { oid, modifier, text } of entry.types) modifiers.set(`${oid}:${modifier}`, text);
  }
  return {
    tables: new Map(entries.map((entry) => [entry.oid, factsOf(entry)])),
    types: new Map(types.map(({ oid, name }) => [Number(oid), name])),
    modifiers,
  };
}

function factsOf({ oid, table, kind }: CatalogueEntry): CatalogueTable {
  return {
    oid,
    schema: table.schema,
    relation: table.relation,
    key: table.key.map((index) => table.columns[index]!.name),
    notNull: new Set(
      table.columns.filter((column) => !column.nullable).map((column) => column.name),
    ),
    identity: table.replicaIdentity,
    partitioned: kind === "p",
  };
}

/** How the server and the publication deal with generated columns. */
interface Generated {
  readonly isStrict: boolean;
  readonly isSent: boolean;
}

function entryOf(row: Row, { isStrict, isSent }: Generated, keys: PlannedKeys): CatalogueEntry {
  const { schema, relation } = parseQualifiedName(row.asked);
  const all = row.columns ?? [];
  const carried = all.filter(({ generated }) => generated === "" || (generated === "s" && isSent));
  const leftOut = all.filter((column) => !carried.includes(column));
  const generatedLeftOut = leftOut.map(({ name }) => name);
  const key = keys.get(row.asked) ?? row.key ?? [];
  const leaves = (row.leaves ?? []).map((leaf) => {
    const identityColumns = leaf.identity_columns ?? [];
    const willBeFull =
      identityColumns.length === 0 || key.some((name) => !identityColumns.includes(name));
    return {
      schema: leaf.schema,
      relation: leaf.relation,
      identity: identityOf(leaf.identity),
      identityColumns,
      identityUnsent: isStrict
        ? generatedLeftOut.filter((name) => willBeFull || identityColumns.includes(name))
        : [],
      persistence: leaf.persistence,
    };
  });
  const nullable = new Set(all.filter((column) => !column.not_null).map(({ name }) => name));
  return {
    table: Object.freeze({
      name: row.asked,
      schema,
      relation,
      columns: carried.map(columnOf),
      key: key
        .map((name) => carried.findIndex((column) => column.name === name))
        .filter((i) => i >= 0),
      replicaIdentity: weakest(leaves.map(({ identity }) => identity)),
      keyUniqueness: uniquenessOf(key, nullable, row.unique_indexes ?? []),
    }),
    oid: Number(row.oid),
    kind: row.kind,
    persistence: row.persistence,
    rowSecurity: row.row_security,
    hasPrimaryKey: row.key !== null,
    leaves,
    generatedLeftOut,
    virtualColumns: leftOut.filter(({ generated }) => generated === "v").map(({ name }) => name),
    types: carried
      .filter(({ modifier }) => modifier >= 0)
      .map(({ oid, modifier, modifier_text }) => ({ oid, modifier, text: modifier_text })),
  };
}

function columnOf({ name, type, oid, not_null, ...row }: ColumnRow): SourceColumn {
  return Object.freeze({
    name,
    type,
    codec: codecOf(oid),
    nullable: !not_null,
    number: row.number,
    ...(row.filled === null ? {} : { filled: row.filled }),
    ...(row.computed ? { computed: true } : {}),
  });
}

/** Of several partitions the one that tells least decides what can be relied on. */
function weakest(identities: readonly ReplicaIdentity[]): ReplicaIdentity {
  for (const identity of ["nothing", "index", "default"] as const) {
    if (identities.includes(identity)) return identity;
  }
  return identities.length === 0 ? "default" : "full";
}

function identityOf(code: string): ReplicaIdentity {
  switch (code) {
    case "f":
      return "full";
    case "i":
      return "index";
    case "n":
      return "nothing";
    default:
      return "default";
  }
}
