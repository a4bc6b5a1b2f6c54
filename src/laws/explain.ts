import { rulesOf, writtenRule, type LawStream, type LawTable } from "./law-tables.ts";
import type { StreamPlan } from "../mapping/stream-plan.ts";
import type { CompiledRule } from "../mapping/compiled-rule.ts";
import { whenText } from "../mapping/rule-text.ts";
import type { Rule } from "../mapping/rules.ts";

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
      when: whenText(writtenRule(plan, rule)),
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
