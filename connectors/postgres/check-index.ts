import { parseQualifiedName, qualifiedName } from "../../src/model/table.ts";
import type { CapturePlan, Finding } from "../../src/source/change-source.ts";
import { isCapturable } from "./check-tables.ts";
import type { Ask, CatalogueEntry } from "./catalogue.ts";
import { quoteIdentifier, quoteTable } from "./identifiers.ts";

/** Smaller ones are passed in some hundredths of a second. */
const BYTES_MIN = 16 * 1024 * 1024;

/** Tables of $1 that hold rows, or their partitions, without an index by which a value of the columns $2 is found. */
const UNINDEXED = `
  SELECT leaf.oid::int8 AS oid
    FROM (SELECT relid AS oid FROM pg_partition_tree($1::int8::oid) WHERE isleaf
          UNION SELECT $1::int8::oid WHERE NOT EXISTS (SELECT FROM pg_partition_tree($1::int8::oid))) leaf
   WHERE pg_relation_size(leaf.oid) >= ${BYTES_MIN} AND NOT EXISTS (
     SELECT FROM pg_index i
       JOIN pg_class ic ON ic.oid = i.indexrelid
       JOIN pg_am am ON am.oid = ic.relam AND am.amname IN ('btree', 'hash')
      WHERE i.indrelid = leaf.oid AND i.indisvalid AND i.indnkeyatts >= cardinality($2::text[])
        AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', ($2::text[])[1]))
        AND NOT EXISTS (
          SELECT FROM generate_series(0, cardinality($2::text[]) - 1) place
           WHERE NOT EXISTS (SELECT FROM pg_attribute a
                              WHERE a.attrelid = leaf.oid AND a.attnum = i.indkey[place] AND a.attname = ANY ($2::text[]))))
   LIMIT 1`;

/**
 * Large child tables whose rows no index finds by their root's key: each time that a few aggregates are read,
 * all of the table is.
 */
export async function checkParentIndexes(
  ask: Ask,
  plan: CapturePlan,
  entries: readonly CatalogueEntry[],
): Promise<ReadonlyMap<string, Finding>> {
  const found = new Map<string, Finding>();
  for (const entry of entries) {
    const { table, kind, oid } = entry;
    const parent = plan.tables.find(({ name }) => nameOf(name) === table.name)?.parent ?? [];
    const known = new Set(table.columns.map(({ name }) => name));
    if (parent.length === 0 || !isCapturable(entry) || !parent.every((one) => known.has(one)))
      continue;
    const unindexed = await ask("looking for indexes", UNINDEXED, [String(oid), [...parent]]);
    if (unindexed.length === 0) continue;
    const list = parent.map(quoteIdentifier).join(", ");
    found.set(table.name, {
      severity: "warning",
      code: "parent-unindexed",
      table: table.name,
      message: `${table.name} has no index on ${parent.join(", ")}: whenever the rows of some aggregates are read (verify --watch, a move, reading anew, a baseline in chunks), all of it is`,
      // A partitioned one would be locked for as long as all of them are read.
      ...(kind === "r"
        ? { mend: `CREATE INDEX CONCURRENTLY ON ${quoteTable(table)} (${list});` }
        : {}),
    });
  }
  return found;
}

function nameOf(name: string): string {
  const { schema, relation } = parseQualifiedName(name);
  return qualifiedName(schema, relation);
}
