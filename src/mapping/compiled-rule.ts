import { checkCondition, checkFunctions } from "./check-rule.ts";
import { columnHint, type ReportProblem } from "./mapping-problem.ts";
import type { RowJson } from "./row-json.ts";
import type { ColumnCondition, Rule, Transform } from "./rules.ts";
import type { Cell } from "../model/cell.ts";
import { BanyanError } from "../model/errors.ts";
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
  report: ReportProblem,
): CompiledRule {
  const problem: ReportProblem = (found) => report({ rule: type, table: table.name, ...found });
  const indexOf = (name: string): number => {
    const index = table.columns.findIndex((column) => column.name === name);
    if (index < 0) {
      problem({
        code: "column-missing",
        column: name,
        message: `rule ${type} uses column "${name}", which ${table.name} does not have`,
        next: columnHint(table, name),
      });
    }
    return Math.max(index, 0);
  };
  checkFunctions(type, rule, problem);
  const conditions = Object.entries(rule.conditions).map(([name, condition]) =>
    compileCondition(type, table, indexOf(name), name, condition, json, problem),
  );
  const anyOf = rule.on === "update" ? rule.anyOf.map(indexOf) : [];
  const data = rule.on === "update" ? rule.data.map(indexOf) : [];
  const transform = rule.on === "update" ? rule.transform : undefined;
  const transformColumns = (transform?.columns ?? []).map(indexOf);
  const claims = unique([
    ...conditions.map((c) => c.column),
    ...anyOf,
    ...data,
    ...transformColumns,
  ]);
  if (rule.on === "update" && claims.length === 0) {
    problem({
      code: "rule-without-column",
      message: `rule ${type} names no column, so it could never fire`,
      next: "Name the columns that it is about: a condition, changed(…), or data",
    });
  }
  const copied = claims.filter((column) => !transformColumns.includes(column));
  return {
    type,
    slot,
    conditions,
    anyOf,
    claims,
    emits: unique([...table.key, ...copied]),
    where: naming(type, "where", rule.where) as CompiledRule["where"],
    transform: transform && {
      ...transform,
      to: naming(type, "to", transform.to),
      from: naming(type, "from", transform.from),
    },
    transformColumns,
    with: withRoles,
  };
}

/** A function of the config whose failure names it and its rule, because nothing else would. */
function naming<Run>(type: string, name: string, run: Run): Run {
  if (typeof run !== "function") return run;
  const call = run as (...given: readonly unknown[]) => unknown;
  const named = (...given: readonly unknown[]): unknown => {
    try {
      return call(...given);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new BanyanError("VALUE_UNMAPPABLE", `"${name}" of rule ${type} threw: ${reason}`, {
        cause,
        hint: `Correct "${name}" of rule ${type} and run: banyan quarantine retry`,
      });
    }
  };
  return named as Run;
}

function compileCondition(
  type: string,
  table: SourceTable,
  column: number,
  name: string,
  condition: ColumnCondition | undefined,
  json: RowJson,
  problem: ReportProblem,
): CompiledCondition {
  if (
    condition === undefined ||
    condition === null ||
    typeof condition !== "object" ||
    !("kind" in condition)
  ) {
    problem({
      code: "condition-unknown",
      column: name,
      message: `rule ${type}: the condition on "${name}" is not one; use becomes(), is(), was(), changes()`,
      next: `Write { ${name}: becomes(…) }, or is(…), was(…), changes()`,
    });
    return { column, kind: "changes", values: [] };
  }
  if (condition.kind === "changes") return { column, kind: "changes", values: [] };
  // Of a column that there is not nothing more can be said.
  if (table.columns[column]!.name === name) {
    checkCondition(type, table.columns[column]!, condition, problem);
  }
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
