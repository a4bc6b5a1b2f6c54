import type { ForeignKey, ReferentialAction } from "../../src/source/database-facts.ts";
import { qualifiedName } from "../../src/model/table.ts";
import type { Ask } from "./catalogue.ts";

/**
 * Constraints that the server itself derives for partitions are left out. Of one that was put on a
 * partition by hand, the partition's root is meant, on either side.
 */
const FOREIGN_KEYS = `
  WITH RECURSIVE up AS (
    SELECT i.inhrelid AS relid, i.inhparent AS root FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE c.relispartition
    UNION ALL
    SELECT up.relid, i.inhparent FROM up JOIN pg_inherits i ON i.inhrelid = up.root JOIN pg_class c ON c.oid = up.root AND c.relispartition
  ),
  whole AS (SELECT up.relid, up.root FROM up JOIN pg_class c ON c.oid = up.root WHERE NOT c.relispartition)
  SELECT k.conname AS name, cn.nspname AS schema, c.relname AS relation, rn.nspname AS "referencedSchema", r.relname AS "referencedRelation",
         k.confdeltype AS "onDelete", k.confupdtype AS "onUpdate",
         (SELECT json_agg(json_build_array(a.attname, b.attname) ORDER BY p.place)
            FROM unnest(k.conkey, k.confkey) WITH ORDINALITY p (own, referenced, place)
            JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = p.own
            JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = p.referenced) AS columns
    FROM pg_constraint k
    LEFT JOIN whole w ON w.relid = k.conrelid LEFT JOIN whole v ON v.relid = k.confrelid
    JOIN pg_class c ON c.oid = coalesce(w.root, k.conrelid) JOIN pg_namespace cn ON cn.oid = c.relnamespace
    JOIN pg_class r ON r.oid = coalesce(v.root, k.confrelid) JOIN pg_namespace rn ON rn.oid = r.relnamespace
   WHERE k.contype = 'f' AND k.conparentid = 0 AND c.oid = ANY ($1::int8[]::oid[])
   ORDER BY cn.nspname COLLATE "C", c.relname COLLATE "C", k.conname COLLATE "C"`;

interface ForeignKeyRow {
  readonly name: string;
  readonly schema: string;
  readonly relation: string;
  readonly referencedSchema: string;
  readonly referencedRelation: string;
  readonly onDelete: string;
  readonly onUpdate: string;
  readonly columns: readonly (readonly [own: string, referenced: string])[];
}

export async function readForeignKeys(
  ask: Ask,
  oids: readonly number[],
): Promise<readonly ForeignKey[]> {
  const rows = await ask<ForeignKeyRow>("reading the foreign keys", FOREIGN_KEYS, [oids]);
  return withoutRepeats(rows.map(foreignKeyOf));
}

function foreignKeyOf(row: ForeignKeyRow): ForeignKey {
  return {
    name: row.name,
    table: qualifiedName(row.schema, row.relation),
    columns: row.columns.map(([own]) => own),
    references: qualifiedName(row.referencedSchema, row.referencedRelation),
    referencedColumns: row.columns.map(([, referenced]) => referenced),
    onDelete: ACTIONS[row.onDelete] ?? "no action",
    onUpdate: ACTIONS[row.onUpdate] ?? "no action",
  };
}

/** Put on each partition by hand, one constraint comes once per partition. */
function withoutRepeats(keys: readonly ForeignKey[]): readonly ForeignKey[] {
  const seen = new Set<string>();
  return keys.filter(({ table, columns, references, referencedColumns }) => {
    const text = JSON.stringify([table, columns, references, referencedColumns]);
    return seen.size < seen.add(text).size;
  });
}

const ACTIONS: Readonly<Record<string, ReferentialAction>> = {
  a: "no action",
  r: "restrict",
  c: "cascade",
  n: "set null",
  d: "set default",
};
