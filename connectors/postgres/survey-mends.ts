import { hasUsableIdentity, type CatalogueEntry, type Leaf } from "./catalogue.ts";
import { quoteIdentifier, quoteTable } from "./identifiers.ts";
import type { SurveyedLeaf, SurveyedTable } from "./survey-tables.ts";

/**
 * SQL after which the log names the row of each update and delete; undefined when it does so already.
 *
 * An index of its own costs nothing; REPLICA IDENTITY FULL writes the whole old row into the log. It
 * does not descend from a partitioned table to its leaves, so each leaf gets its own statement.
 *
 * @param key unique columns that all leaves have, where there are such
 */
export function identityMend(
  table: SurveyedTable,
  entry: CatalogueEntry,
  key: readonly string[] | undefined,
): string | undefined {
  const primaryKey = entry.table.key.map((index) => entry.table.columns[index]!.name);
  const needed = primaryKey.length > 0 ? primaryKey : (key ?? []);
  const tells = ({ identityColumns }: Leaf): boolean =>
    identityColumns.length > 0 && needed.every((name) => identityColumns.includes(name));
  if (hasUsableIdentity(entry) && entry.leaves.every(tells)) return undefined;
  const statements = entry.leaves
    .filter((leaf) => !tells(leaf))
    .map(
      (leaf) =>
        `ALTER TABLE ${quoteTable(leaf)} REPLICA IDENTITY ${identityOf(leaf, table, needed)};`,
    );
  return statements.length === 0 ? undefined : statements.join(" ");
}

function identityOf(leaf: Leaf, { leaves }: SurveyedTable, needed: readonly string[]): string {
  const own = leaves.find(
    ({ schema, relation }) => schema === leaf.schema && relation === leaf.relation,
  );
  const fitting = own?.keys.find(
    ({ columns }) =>
      columns.length === needed.length && columns.every((name) => needed.includes(name)),
  );
  if (fitting === undefined) return "FULL";
  return fitting.primary ? "DEFAULT" : `USING INDEX ${quoteIdentifier(fitting.index)}`;
}

const NEW_KEY = "row_id";

/**
 * SQL after which a primary key tells the rows apart; undefined when only a person can say how.
 *
 * A new column rewrites the table under an exclusive lock. A partitioned table takes a key only
 * together with the columns it is partitioned by, and before version 17 no identity column. Nothing
 * can refer to a deferrable key, so it can be made anew.
 */
export function keyMend(table: SurveyedTable, entry: CatalogueEntry): string | undefined {
  const name = quoteTable(entry.table);
  if (table.deferrableKey !== null) {
    const columns = entry.table.key.map((index) =>
      quoteIdentifier(entry.table.columns[index]!.name),
    );
    const constraint = quoteIdentifier(table.deferrableKey);
    return `ALTER TABLE ${name} DROP CONSTRAINT ${constraint}, ADD CONSTRAINT ${constraint} PRIMARY KEY (${columns.join(", ")});`;
  }
  const taken = new Set([
    ...entry.table.columns.map((column) => column.name),
    ...entry.generatedLeftOut,
  ]);
  let column = NEW_KEY;
  while (taken.has(column)) column = `${column}_`;
  if (table.kind === "r")
    return `ALTER TABLE ${name} ADD COLUMN ${quoteIdentifier(column)} bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY;`;
  if (table.kind !== "p" || table.partitionColumns === null) return undefined;
  const key = [...table.partitionColumns, column].map(quoteIdentifier).join(", ");
  return `ALTER TABLE ${name} ADD COLUMN ${quoteIdentifier(column)} uuid NOT NULL DEFAULT gen_random_uuid(), ADD PRIMARY KEY (${key});`;
}

export function loggedMend(leaves: readonly SurveyedLeaf[]): string | undefined {
  const unlogged = leaves.filter(({ persistence }) => persistence === "u");
  if (unlogged.length === 0) return undefined;
  return unlogged.map((leaf) => `ALTER TABLE ${quoteTable(leaf)} SET LOGGED;`).join(" ");
}
