import type { Normaliser } from "./settings.ts";
import { cellOf, type ColumnDefinition } from "../../model/column-definition.ts";
import type { RoleDefinition, StreamDefinition } from "../../model/mapping-definition.ts";
import type { FoldedRow, StreamState } from "../../projection/fold.ts";

/** Where the rows of two sides part. Values are canonical text, null for NULL. */
export interface RowDifference {
  readonly role: string;
  /** Of the row, without what a side made up. */
  readonly key: string;
  /** `missing`: only legacy has the row. `extra`: only the service has. */
  readonly verdict: "missing" | "extra" | "different";
  readonly columns: readonly {
    readonly column: string;
    readonly legacy: string | null;
    readonly proposed: string | null;
  }[];
}

export interface Sides {
  /** What both decided on. */
  readonly before: StreamState;
  readonly legacy: StreamState;
  readonly proposed: StreamState;
  /** True when each side gave the aggregate an id of its own. */
  readonly hasOwnIds: boolean;
}

/**
 * Compares what became of an aggregate on both sides, row by row.
 *
 * A row that was there before is the same row where its key is. A new one whose key a side made up is
 * matched by the rest of its key, and where nothing is left by its whole content.
 */
export function compareStates(
  definition: StreamDefinition,
  sides: Sides,
  normaliser: Normaliser,
): readonly RowDifference[] {
  return Object.entries(definition.roles).flatMap(([role, table]) => {
    const comparison = comparisonOf(role, table, definition.root, sides.hasOwnIds, normaliser);
    const known = sides.before.get(role);
    const legacy = rowsOf(sides.legacy, role, known, comparison);
    const proposed = rowsOf(sides.proposed, role, known, comparison);
    return [...new Set([...legacy.keys(), ...proposed.keys()])].flatMap((identity) =>
      compareGroup(comparison, identity, legacy.get(identity) ?? [], proposed.get(identity) ?? []),
    );
  });
}

/** How the rows of one role are compared. */
interface RoleComparison {
  readonly role: string;
  readonly columns: readonly ColumnDefinition[];
  /** Key columns that say which row it is; undefined when a side makes up none of them. */
  readonly ownKey: readonly ColumnDefinition[] | undefined;
  readonly withinMs: number;
}

function comparisonOf(
  role: string,
  table: RoleDefinition,
  root: string,
  hasOwnIds: boolean,
  { ignore, generated, timestampsWithinMs }: Normaliser,
): RoleComparison {
  const assigned = role === root ? table.key : Object.keys(table.parent ?? {});
  const made = new Set([...(generated[role] ?? []), ...(hasOwnIds ? assigned : [])]);
  const isIgnored = ({ name }: ColumnDefinition): boolean =>
    ignore.includes(name) || ignore.includes(`${role}.${name}`);
  const isMade = ({ name }: ColumnDefinition): boolean => made.has(name);
  const inKey = table.columns.filter(({ name }) => table.key.includes(name));
  return {
    role,
    columns: table.columns.filter((column) => !isIgnored(column) && !isMade(column)),
    ownKey: inKey.some(isMade) ? inKey.filter((column) => !isMade(column)) : undefined,
    withinMs: timestampsWithinMs,
  };
}

/** By what identifies a row, in an order in which rows that are alike stand alike. */
function rowsOf(
  state: StreamState,
  role: string,
  known: ReadonlyMap<string, FoldedRow> | undefined,
  { ownKey, columns }: RoleComparison,
): Map<string, FoldedRow[]> {
  const rows = new Map<string, FoldedRow[]>();
  for (const [key, row] of state.get(role) ?? []) {
    const isNew = known?.has(key) !== true;
    const identity = isNew && ownKey !== undefined ? contentOf(row, ownKey) : key;
    const group = rows.get(identity);
    if (group === undefined) rows.set(identity, [row]);
    else group.push(row);
  }
  for (const group of rows.values()) {
    if (group.length < 2) continue;
    const sorted = group.map((row) => [contentOf(row, columns), row] as const);
    sorted.sort(([a], [b]) => (a < b ? -1 : 1));
    group.splice(0, group.length, ...sorted.map(([, row]) => row));
  }
  return rows;
}

function contentOf(row: FoldedRow, columns: readonly ColumnDefinition[]): string {
  return JSON.stringify(columns.map((column) => cellOf(row, column)));
}

function compareGroup(
  comparison: RoleComparison,
  key: string,
  legacy: readonly FoldedRow[],
  proposed: readonly FoldedRow[],
): readonly RowDifference[] {
  const left = [...proposed];
  const unmatched = legacy.filter((row) => {
    const at = left.findIndex((other) => differingColumns(comparison, row, other).length === 0);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
  const { role } = comparison;
  const found: RowDifference[] = [];
  for (let i = 0; i < Math.max(unmatched.length, left.length); i++) {
    const [row, other] = [unmatched[i], left[i]];
    if (row === undefined) found.push({ role, key, verdict: "extra", columns: [] });
    else if (other === undefined) found.push({ role, key, verdict: "missing", columns: [] });
    else {
      const columns = differingColumns(comparison, row, other);
      found.push({ role, key, verdict: "different", columns });
    }
  }
  return found;
}

function differingColumns(
  { columns, withinMs }: RoleComparison,
  row: FoldedRow,
  other: FoldedRow,
): RowDifference["columns"] {
  return columns.flatMap((column) => {
    const [legacy, proposed] = [cellOf(row, column), cellOf(other, column)];
    if (legacy === proposed || isWithin(column, legacy, proposed, withinMs)) return [];
    return [{ column: column.name, legacy, proposed }];
  });
}

function isWithin(
  { codec }: ColumnDefinition,
  a: string | null,
  b: string | null,
  withinMs: number,
): boolean {
  if (withinMs === 0 || a === null || b === null) return false;
  if (codec !== "timestamp" && codec !== "timestamptz") return false;
  return Math.abs(millisOf(a) - millisOf(b)) <= withinMs;
}

/** Of canonical text in UTC; not a number for infinity and what else has no place in a calendar. */
function millisOf(text: string): number {
  return Date.parse(`${text.replace(" ", "T").replace(/\+00$/, "")}Z`);
}
