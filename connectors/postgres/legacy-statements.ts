import { quoteIdentifier, quoteLiteral } from "./identifiers.ts";
import { insertTarget, type LegacyColumn, type LegacyTable } from "./legacy-tables.ts";

/** A statement about several rows at once, with the columns whose texts are its parameters, in order. */
export interface RowsStatement {
  readonly sql: string;
  /** Parameter 1 is the rows' numbers; then one array of texts per entry. */
  readonly before: readonly string[];
  readonly after: readonly string[];
}

/** Rows of one table that are written alike. Names of columns that the table has. */
export interface RowShape {
  readonly table: LegacyTable;
  readonly key: readonly string[];
  readonly before: readonly string[];
  readonly after: readonly string[];
}

/** @returns the numbers of the rows that were changed */
export function updateRows({ table, key, before, after }: RowShape): RowsStatement {
  const sets = after.map((name, i) => {
    const column = columnOf(table, name);
    return `${quoteIdentifier(name)} = x.a${i}::${column.type}`;
  });
  const where = [...keyTerms(table, key, before, "b"), ...matches(table, before, "b")];
  const sql = `UPDATE ${table.target} AS t SET ${sets.join(", ")} FROM ${given(before, after)}
                WHERE ${where.join(" AND ")} RETURNING x.n`;
  return { sql, before, after };
}

/** @returns the numbers of the rows that were deleted */
export function deleteRows({ table, key, before }: RowShape): RowsStatement {
  const where = [...keyTerms(table, key, before, "b"), ...matches(table, before, "b")];
  const sql = `DELETE FROM ${table.target} AS t USING ${given(before, [])}
                WHERE ${where.join(" AND ")} RETURNING x.n`;
  return { sql, before, after: [] };
}

/**
 * Inserts those for which there is place.
 *
 * @param taken whether a row that shares a unique value with another is left out or fails; where the table
 *   has deferrable constraints it always fails, and one whose key is there is left out
 * @returns a row for each that was inserted
 */
export function insertRows(
  { table, key, after }: RowShape,
  taken: "left out" | "fails" = "left out",
): RowsStatement {
  const names = after.map(quoteIdentifier).join(", ");
  const values = after.map((name, i) => `x.a${i}::${columnOf(table, name).type}`).join(", ");
  const hasIdentity = after.some((name) => columnOf(table, name).isAlwaysGenerated);
  const overriding = hasIdentity ? " OVERRIDING SYSTEM VALUE" : "";
  const isThere = `SELECT FROM ${table.target} AS t WHERE ${keyTerms(table, key, after, "a").join(" AND ")}`;
  const where = table.hasDeferrable ? `WHERE NOT EXISTS (${isThere})` : "";
  const leaveOut = taken === "fails" || table.hasDeferrable ? "" : "ON CONFLICT DO NOTHING";
  const sql = `INSERT INTO ${insertTarget(table)} (${names})${overriding}
               SELECT ${values} FROM ${given([], after)} ${where} ORDER BY x.n ${leaveOut} RETURNING 1`;
  return { sql, before: [], after };
}

/**
 * How rows stand against what they should hold.
 *
 * @returns by number: whether there is a row of that key, and the columns that hold something else
 */
export function compareRows({ table, key, before }: RowShape): RowsStatement {
  const differing = before.map(
    (name, i) =>
      `CASE WHEN NOT (${match(columnOf(table, name), `x.b${i}`)}) THEN ${quoteLiteral(name)} END`,
  );
  const sql = `SELECT x.n, t.tableoid IS NOT NULL AS "isThere", array_remove(ARRAY[${differing.join(", ")}]::text[], NULL) AS columns
                 FROM ${given(before, [])} LEFT JOIN ${table.target} AS t ON ${keyTerms(table, key, before, "b").join(" AND ")}`;
  return { sql, before, after: [] };
}

/** Rows of texts: `x.n`, then `x.b0…` and `x.a0…`. */
function given(before: readonly string[], after: readonly string[]): string {
  const names = ["n", ...before.map((_, i) => `b${i}`), ...after.map((_, i) => `a${i}`)];
  const arrays = names.map((_, i) => (i === 0 ? "$1::int[]" : `$${i + 1}::text[]`));
  return `unnest(${arrays.join(", ")}) AS x (${names.join(", ")})`;
}

/** Finds the row by an index. What it must hold is asked beside, so `=` may be generous. */
function keyTerms(
  table: LegacyTable,
  key: readonly string[],
  given: readonly string[],
  prefix: string,
): string[] {
  return key.map((name) => {
    const column = columnOf(table, name);
    const cell = `t.${quoteIdentifier(name)}`;
    const text = `x.${prefix}${given.indexOf(name)}`;
    const isEqual = column.isComparable
      ? `${cell} = ${text}::${column.type}`
      : `concat(${cell}) COLLATE "C" = ${text}`;
    return column.isNullable
      ? `(${isEqual} OR num_nulls(${cell}) = 1 AND ${text} IS NULL)`
      : isEqual;
  });
}

function matches(table: LegacyTable, columns: readonly string[], prefix: string): string[] {
  return columns.map((name, i) => match(columnOf(table, name), `x.${prefix}${i}`));
}

/**
 * Whether a column holds what a text says. `concat` gives a value's canonical text, as the log does; the
 * text itself may have been written by a service, and so is read once as the column would have it.
 */
function match(column: LegacyColumn, text: string): string {
  const cell = `t.${quoteIdentifier(column.name)}`;
  return `CASE WHEN ${text} IS NULL THEN num_nulls(${cell}) = 1
               WHEN num_nulls(${cell}) = 1 THEN false
               WHEN concat(${cell}) COLLATE "C" = ${text} THEN true
               ELSE concat(${cell}) COLLATE "C" = concat(${text}::${column.exactType}) END`;
}

function columnOf(table: LegacyTable, name: string): LegacyColumn {
  return table.columns.get(name)!;
}
