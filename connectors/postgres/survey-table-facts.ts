import type {
  ChangeCounts,
  ColumnFacts,
  TableFacts,
  TableKind,
} from "../../src/source/database-facts.ts";
import { qualifiedName, type SourceColumn } from "../../src/model/table.ts";
import type { CatalogueEntry } from "./catalogue.ts";
import { allowedValues, type SurveyedColumn } from "./survey-columns.ts";
import { identityMend, keyMend, loggedMend } from "./survey-mends.ts";
import type { LeafSize, Sizes } from "./survey-sizes.ts";
import type { SurveyedLeaf, SurveyedTable } from "./survey-tables.ts";

export interface TableParts {
  readonly table: SurveyedTable;
  readonly entry: CatalogueEntry;
  readonly columns: ReadonlyMap<string, SurveyedColumn>;
  readonly sizes: Sizes;
  /** Whether this server counts changes. */
  readonly counts: boolean;
}

/** One table's facts, those of its leaves added up. */
export function tableFacts({ table, entry, columns, sizes, counts }: TableParts): TableFacts {
  const { leaves } = table;
  const sized = leaves.map((leaf) => ({ leaf, size: sizes.leaves.get(leaf.oid)! }));
  const total = (of: (size: LeafSize) => number): number =>
    sized.reduce((sum, { size }) => sum + of(size), 0);
  const rows = sumOf(sized.map(({ leaf, size }) => rowsOf(leaf, size)));
  const largest = largestLeaf(table);
  const leafRows = sized.find(({ leaf }) => leaf === largest);
  const rowsOfLargest = leafRows === undefined ? undefined : rowsOf(leafRows.leaf, leafRows.size);
  const keys = commonKeys(leaves);
  const primaryKey = entry.table.key.map((index) => entry.table.columns[index]!.name);
  const isForeign = table.kind === "f";
  const needsKey = table.deferrableKey !== null || (primaryKey.length === 0 && keys.length === 0);
  return {
    table: entry.table,
    kind: kindOf(table),
    inherits: table.inherits,
    partitions:
      table.kind === "p"
        ? leaves.map(({ schema, relation }) => qualifiedName(schema, relation))
        : [],
    comment: table.comment ?? undefined,
    readable: table.readable,
    rows,
    bytes: isForeign ? 0 : total((size) => size.bytes),
    indexBytes: total((size) => size.indexBytes),
    outOfLineBytes: total((size) => size.outOfLineBytes),
    bytesAreOld: !isForeign && sized.some(({ size }) => size.isOld),
    changes: counts && !isForeign ? changesOf(leaves) : undefined,
    columns: entry.table.columns.map((column) => {
      const known = columns.get(column.name);
      const of = known?.whole === false ? rowsOfLargest : rows;
      return columnFacts(column, known, sizes.defaults.get(table.oid)?.get(column.name), of);
    }),
    primaryKey,
    uniqueKeys: keys.filter((key) => !isSame(key, primaryKey)),
    uniqueRules: table.uniqueRules,
    triggers: table.triggers,
    rowSecurity: table.rowSecurity,
    rowsHidden: table.rowsHidden,
    generatedLeftOut: entry.generatedLeftOut,
    identityMend: isForeign ? undefined : identityMend(table, entry, keys[0]),
    keyMend: needsKey ? keyMend(table, entry) : undefined,
    loggedMend: loggedMend(leaves),
  };
}

/** Statistics of a partitioned table that nobody analysed as a whole are taken from this one. */
export function largestLeaf({ leaves }: SurveyedTable): SurveyedLeaf | undefined {
  return leaves.reduce<SurveyedLeaf | undefined>(
    (largest, leaf) => (largest === undefined || leaf.pages > largest.pages ? leaf : largest),
    undefined,
  );
}

/**
 * As the planner estimates them: the density of the last look, at today's size. Before version 14 a
 * table that nobody looked at says 0 rows in 0 pages.
 */
function rowsOf(
  { tuples, pages }: SurveyedLeaf,
  { mainPages, isOld }: LeafSize,
): number | undefined {
  if (mainPages === 0 && !isOld) return 0;
  if (tuples < 0 || pages === 0) return undefined;
  return Math.round((tuples / pages) * mainPages);
}

function columnFacts(
  { name, type, nullable }: SourceColumn,
  known: SurveyedColumn | undefined,
  defaultText: string | undefined,
  rows: number | undefined,
): ColumnFacts {
  return {
    name,
    type,
    nullable,
    comment: known?.comment ?? undefined,
    allowed: known === undefined ? undefined : allowedValues(known),
    default: known?.identity === true ? "identity" : defaultText,
    distinct: distinctOf(known?.distinct ?? undefined, rows),
    common: known?.common ?? [],
    nullShare: known?.nullShare ?? undefined,
    averageBytes: known?.averageBytes ?? undefined,
    mayBeOutOfLine: known?.mayBeOutOfLine ?? false,
  };
}

function distinctOf(distinct: number | undefined, rows: number | undefined): number | undefined {
  if (distinct === undefined || distinct >= 0) return distinct;
  return rows === undefined ? undefined : Math.round(-distinct * rows);
}

/** Unique keys that every leaf has. */
function commonKeys(leaves: readonly SurveyedLeaf[]): readonly (readonly string[])[] {
  const [first, ...others] = leaves;
  if (first === undefined) return [];
  return first.keys
    .map(({ columns }) => columns)
    .filter((key, index, all) => all.findIndex((other) => isSame(other, key)) === index)
    .filter((key) => others.every(({ keys }) => keys.some(({ columns }) => isSame(columns, key))));
}

function changesOf(leaves: readonly SurveyedLeaf[]): ChangeCounts {
  const counts = { inserted: 0, updated: 0, deleted: 0 };
  for (const { inserted, updated, deleted } of leaves) {
    counts.inserted += inserted;
    counts.updated += updated;
    counts.deleted += deleted;
  }
  return counts;
}

function kindOf({ kind, leaves }: SurveyedTable): TableKind {
  if (kind === "f") return "foreign";
  if (leaves.some(({ persistence }) => persistence === "u")) return "unlogged";
  return kind === "p" ? "partitioned" : "table";
}

/** Undefined when one of them is. */
function sumOf(values: readonly (number | undefined)[]): number | undefined {
  let sum = 0;
  for (const value of values) {
    if (value === undefined) return undefined;
    sum += value;
  }
  return sum;
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name) => b.includes(name));
}
