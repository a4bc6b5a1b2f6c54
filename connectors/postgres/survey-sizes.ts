import type { Ask } from "./catalogue.ts";
import { sqlstateOf } from "./sqlstate.ts";
import type { SurveyedLeaf, SurveyedTable } from "./survey-tables.ts";

export interface LeafSize {
  /** Pages of rows alone, without what stands out of line: what the planner's density refers to. */
  readonly mainPages: number;
  readonly bytes: number;
  readonly outOfLineBytes: number;
  readonly indexBytes: number;
  /** True when it is what the last VACUUM or ANALYZE saw. */
  readonly isOld: boolean;
}

export interface Sizes {
  /** By the leaf's OID. */
  readonly leaves: ReadonlyMap<number, LeafSize>;
  /** Default expressions by the table's OID and the column's name. */
  readonly defaults: ReadonlyMap<number, ReadonlyMap<string, string>>;
}

/** `database` 0 are shared relations, of which none is asked for. */
const UNLOCKED = `NOT EXISTS (
  SELECT FROM pg_locks k WHERE k.locktype = 'relation' AND k.relation = c.oid AND k.mode = 'AccessExclusiveLock'
     AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database()))`;

const SIZES = `
  SELECT c.oid::int8::text AS oid, pg_relation_size(c.oid)::text AS main, pg_table_size(c.oid)::text AS whole,
         CASE WHEN pg_relation_size(nullif(c.reltoastrelid, 0)) > 0 THEN pg_table_size(c.reltoastrelid) ELSE 0 END::text AS "outOfLine", pg_indexes_size(c.oid)::text AS indexes
    FROM pg_class c WHERE c.oid = ANY ($1::int8[]::oid[]) AND c.relkind = 'r' AND ${UNLOCKED}`;

const DEFAULTS = `
  SELECT d.adrelid::int8::text AS oid, a.attname AS name, pg_get_expr(d.adbin, d.adrelid) AS expression
    FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid
    JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attgenerated = ''
   WHERE d.adrelid = ANY ($1::int8[]::oid[]) AND ${UNLOCKED}`;

const LOCK_NOT_AVAILABLE = "55P03";

/**
 * Sizes as of now, and default expressions: what the server tells only of a relation that nobody holds
 * a lock on, as ALTER TABLE does. Of a locked one the sizes are those of the last VACUUM or ANALYZE.
 *
 * @param ask of a session with a short lock_timeout
 */
export async function readSizes(
  ask: Ask,
  tables: readonly SurveyedTable[],
  blockBytes: number,
): Promise<Sizes> {
  const leaves = tables.flatMap((table) => table.leaves);
  const now = await unlessLocked(() =>
    ask<{
      oid: string;
      main: string | null;
      whole: string | null;
      outOfLine: string;
      indexes: string | null;
    }>("reading the sizes", SIZES, [leaves.map(({ oid }) => oid)]),
  );
  const sizes = new Map<number, LeafSize>();
  for (const { oid, main, whole, outOfLine, indexes } of now) {
    // Dropped in this moment.
    if (main === null || whole === null) continue;
    sizes.set(Number(oid), {
      mainPages: Number(main) / blockBytes,
      bytes: Number(whole),
      outOfLineBytes: Number(outOfLine),
      indexBytes: Number(indexes ?? 0),
      isOld: false,
    });
  }
  for (const leaf of leaves) {
    if (!sizes.has(leaf.oid)) sizes.set(leaf.oid, oldSize(leaf, blockBytes));
  }
  const defaults = new Map<number, Map<string, string>>();
  const expressions = await unlessLocked(() =>
    ask<{ oid: string; name: string; expression: string | null }>(
      "reading the defaults",
      DEFAULTS,
      [tables.map(({ oid }) => oid)],
    ),
  );
  for (const { oid, name, expression } of expressions) {
    const known = defaults.get(Number(oid)) ?? new Map<string, string>();
    if (expression !== null) known.set(name, expression);
    defaults.set(Number(oid), known);
  }
  return { leaves: sizes, defaults };
}

/** A lock may have come in between; then none of it is known. */
async function unlessLocked<Row>(read: () => Promise<Row[]>): Promise<Row[]> {
  try {
    return await read();
  } catch (error) {
    if (sqlstateOf(error) !== LOCK_NOT_AVAILABLE) throw error;
    return [];
  }
}

function oldSize(
  { pages, outOfLinePages, indexPages }: SurveyedLeaf,
  blockBytes: number,
): LeafSize {
  return {
    mainPages: pages,
    bytes: (pages + outOfLinePages) * blockBytes,
    outOfLineBytes: outOfLinePages * blockBytes,
    indexBytes: indexPages * blockBytes,
    isOld: true,
  };
}
