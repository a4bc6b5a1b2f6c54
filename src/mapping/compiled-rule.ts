import type { RowJson } from "./row-json.ts";
import type { ColumnCondition, Rule, Transform } from "./rules.ts";
import type { Cell } from "../model/cell.ts";
import type { Cells, SourceTable } from "../model/table.ts";

/** A column condition over cells; the columns are indexes of one table shape. */
export interface CompiledCondition {
  readonly column: number;
  readonly kind: "becomes" | "is" | "was" | "changes";
  readonly values: readonly Cell[];
}

export interface CompiledRule {
  readonly type: string;
  /** Number of the rule among all of the mapping; part of its events' ids. */
  readonly slot: number;
  readonly conditions: readonly CompiledCondition[];
  readonly anyOf: readonly number[];
  /** Columns that the rule claims when they changed. */
  readonly claims: readonly number[];
  /** Columns in the event's data: the key, then the claimed ones. */
  readonly emits: readonly number[];
  readonly where: ((now: never, was: never) => boolean) | undefined;
  readonly transform: Transform<never> | undefined;
  readonly transformColumns: readonly number[];
  /** Role names of the child tables that an insert takes with it. */
  readonly with: readonly string[];
}

/** Compiles a rule for one table shape. `problem` is told of everything wrong; the result is then not used. */
export function compileRule(
  type: string,
  slot: number,
  rule: Rule,
  table: SourceTable,
  json: RowJson,
  withRoles: readonly string[],
  problem: (message: string) => void,
): CompiledRule {
  const indexOf = (name: string): number => {
    const index = table.columns.findIndex((column) => column.name === name);
    if (index < 0) problem(`rule ${type} uses column "${name}", which ${table.name} does not have`);
    return Math.max(index, 0);
  };
  const conditions = Object.entries(rule.conditions).map(([name, condition]) =>
    compileCondition(type, indexOf(name), name, condition, json, problem),
  );
  const anyOf = rule.on === "update" ? rule.anyOf.map(indexOf) : [];
  const data = rule.on === "update" ? rule.data.map(indexOf) : [];
  const transform = rule.on === "update" ? rule.transform : undefined;
  const transformColumns = transform === undefined ? [] : transform.columns.map(indexOf);
  const claims = unique([
    ...conditions.map((c) => c.column),
    ...anyOf,
    ...data,
    ...transformColumns,
  ]);
  if (rule.on === "update" && claims.length === 0) {
    problem(`rule ${type} names no column, so it could never fire`);
  }
  const copied = claims.filter((column) => !transformColumns.includes(column));
  return {
    type,
    slot,
    conditions,
    anyOf,
    claims,
    emits: unique([...table.key, ...copied]),
    where: rule.where as CompiledRule["where"],
    transform,
    transformColumns,
    with: withRoles,
  };
}

function compileCondition(
  type: string,
  column: number,
  name: string,
  condition: ColumnCondition | undefined,
  json: RowJson,
  problem: (message: string) => void,
): CompiledCondition {
  if (condition === undefined || typeof condition !== "object" || !("kind" in condition)) {
    problem(
      `rule ${type}: the condition on "${name}" is not one; use becomes(), is(), was(), changes()`,
    );
    return { column, kind: "changes", values: [] };
  }
  if (condition.kind === "changes") return { column, kind: "changes", values: [] };
  if (condition.values.length === 0)
    problem(`rule ${type}: ${condition.kind}() on "${name}" names no value`);
  return {
    column,
    kind: condition.kind,
    values: condition.values.map((value) => json.cell(column, value)),
  };
}

/** Whether the conditions on one row hold, for inserts and deletes. */
export function rowMatches(rule: CompiledRule, cells: Cells, json: RowJson): boolean {
  for (const condition of rule.conditions) {
    if (condition.kind !== "changes" && !condition.values.includes(cells[condition.column])) {
      return false;
    }
  }
  return rule.where === undefined || rule.where(json.object(cells) as never, undefined as never);
}

/**
 * Whether an update rule fires: its conditions hold, and at least one column that it would claim
 * changed and is not claimed yet.
 *
 * @param changed by column, 1 = changed and unclaimed, 2 = changed and claimed by an earlier rule
 */
export function updateMatches(
  rule: CompiledRule,
  before: Cells,
  after: Cells,
  changed: Uint8Array,
  json: RowJson,
): boolean {
  for (const condition of rule.conditions) {
    const { column, kind } = condition;
    if (kind === "is") {
      if (!condition.values.includes(after[column])) return false;
    } else if (kind === "was") {
      if (!condition.values.includes(before[column])) return false;
    } else {
      if (changed[column] !== 1) return false;
      if (kind === "becomes" && !condition.values.includes(after[column])) return false;
    }
  }
  if (rule.anyOf.length > 0 && !rule.anyOf.some((column) => changed[column] === 1)) return false;
  if (!rule.claims.some((column) => changed[column] === 1)) return false;
  return (
    rule.where === undefined ||
    rule.where(json.object(after) as never, json.object(before) as never)
  );
}

export function unique<T>(items: readonly T[]): readonly T[] {
  return [...new Set(items)];
}
