import { rulesOf, writtenRule, type LawStream, type LawTable } from "./law-tables.ts";
import type { StreamPlan } from "../mapping/compile.ts";
import type { CompiledRule } from "../mapping/compiled-rule.ts";
import type { ColumnCondition, Rule } from "../mapping/rules.ts";

/** What a mapping makes of one kind of change of one table. */
export interface Explanation {
  readonly stream: string;
  /** The table's name within the stream. */
  readonly role: string;
  readonly table: string;
  readonly operation: "insert" | "update" | "delete";
  /** In the order in which they are tried. */
  readonly rules: readonly ExplainedRule[];
  readonly fallback: {
    readonly event: string;
    /** Columns that come to it whatever happens, because no rule names them. */
    readonly always: readonly string[];
    /** Columns that come to it when none of the rules that name them fires. */
    readonly sometimes: readonly string[];
  };
  /** Columns whose change is told as a delete and an insert. */
  readonly moves: readonly string[];
}

export interface ExplainedRule {
  readonly rule: string;
  /** When it fires, in words. */
  readonly when: string;
  readonly claims: readonly string[];
  /** Child roles whose rows the event takes with it. */
  readonly takes: readonly string[];
}

/** Says for each table and operation which rule claims which column, and what is left to the fallback. */
export function explain(streams: readonly LawStream[]): readonly Explanation[] {
  return streams.flatMap(({ plan, tables }) =>
    tables.flatMap((about) =>
      (["insert", "update", "delete"] as const).map((operation) =>
        explainOperation(plan, about, operation),
      ),
    ),
  );
}

function explainOperation(plan: StreamPlan, about: LawTable, operation: Rule["on"]): Explanation {
  const { table, mapper, fixed } = about;
  const rules = rulesOf(about, operation);
  const all = table.columns.map(({ name }) => name);
  const nameOf = (column: number): string => all[column]!;
  const isWhole = operation !== "update";
  const movable = [...fixed].sort((a, b) => a - b).map(nameOf);
  const told = isWhole ? all : all.filter((_, column) => !fixed.has(column));
  const claims = (rule: CompiledRule): readonly string[] =>
    isWhole ? all : rule.claims.filter((column) => !fixed.has(column)).map(nameOf);
  const named = new Set(rules.flatMap(claims));
  const certain = rules.some(
    ({ conditions, where }) => isWhole && conditions.length === 0 && where === undefined,
  );
  return {
    stream: plan.type,
    role: mapper.role,
    table: table.name,
    operation,
    rules: rules.map((rule) => ({
      rule: rule.type,
      when: whenOf(rule, writtenRule(plan, rule), nameOf),
      claims: claims(rule),
      takes: rule.with,
    })),
    fallback: {
      event: plan.fallback.type,
      always: told.filter((name) => !named.has(name)),
      sometimes: certain ? [] : told.filter((name) => named.has(name)),
    },
    moves: isWhole ? [] : movable,
  };
}

function whenOf(rule: CompiledRule, written: Rule, nameOf: (column: number) => string): string {
  const conditions = Object.entries(written.conditions).map(([name, condition]) =>
    conditionText(name, condition, written.on),
  );
  if (rule.anyOf.length > 0) conditions.push(`${rule.anyOf.map(nameOf).join(" or ")} changes`);
  if (rule.where !== undefined) conditions.push("where(…) says so");
  if (conditions.length === 0) return "always";
  return conditions.join(" and ");
}

function conditionText(
  name: string,
  condition: ColumnCondition | undefined,
  on: Rule["on"],
): string {
  if (condition === undefined || condition.kind === "changes") return `${name} changes`;
  const values = condition.values.map((value) => JSON.stringify(value)).join(" or ");
  return `${name} ${on === "update" ? condition.kind : "is"} ${values}`;
}
