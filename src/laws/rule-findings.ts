import { neverHolds } from "./canonical-value.ts";
import type { LawFinding } from "./finding.ts";
import { rulesOf, writtenRule, type LawStream, type LawTable } from "./law-tables.ts";
import { rowReach, updateReach, type Reach } from "./reachability.ts";
import type { CompiledRule } from "../mapping/compiled-rule.ts";
import type { ColumnCondition, Rule } from "../mapping/rules.ts";

/**
 * What can be said of the rules without trying them: those that can never fire, on their own or behind
 * the rules before them, conditions that mean nothing, columns that one rule names twice.
 */
export function ruleFindings(streams: readonly LawStream[]): readonly LawFinding[] {
  return streams.flatMap(({ plan, tables }) =>
    tables.flatMap((about) =>
      (["insert", "update", "delete"] as const).flatMap((operation) => {
        const rules = rulesOf(about, operation);
        return rules.flatMap((rule, at) => {
          const written = writtenRule(plan, rule);
          const of = { stream: plan.type, rule: rule.type, table: about.table.name };
          const dead = deadRule(rule, rules.slice(0, at), written, about);
          // A value that never is, in a rule that never fires, is part of the reason already.
          const found = dead === undefined ? impossibleValues(rule, written, about) : [dead];
          return [...found, ...meaningless(rule, written), ...namedTwice(rule, written)].map(
            (one) => ({
              ...of,
              ...one,
            }),
          );
        });
      }),
    ),
  );
}

type Found = Pick<LawFinding, "severity" | "code" | "message" | "next" | "column">;

function deadRule(
  rule: CompiledRule,
  earlier: readonly CompiledRule[],
  written: Rule,
  about: LawTable,
): Found | undefined {
  const reach = (others: readonly CompiledRule[]): Reach["verdict"] =>
    (written.on === "update" ? updateReach : rowReach)(rule, others, about).verdict;
  if (reach([]) === "never") {
    const reasons = whyNever(rule, written, about);
    return {
      severity: "error",
      code: "rule-never-fires",
      message: `rule ${rule.type} can never fire: ${reasons.join("; ")}`,
      next: "Correct its conditions, or take the rule out",
    };
  }
  if (reach(earlier) !== "never") return undefined;
  const { message, next } = shadow(rule, earlier, written, (others) => reach(others) !== "never");
  return { severity: "error", code: "rule-shadowed", message, next };
}

function shadow(
  rule: CompiledRule,
  earlier: readonly CompiledRule[],
  written: Rule,
  firesBehind: (others: readonly CompiledRule[]) => boolean,
): Pick<Found, "message" | "next"> {
  // As few as do it together.
  let named = earlier;
  for (const other of earlier.toReversed()) {
    const fewer = named.filter((one) => one !== other);
    if (!firesBehind(fewer)) named = fewer;
  }
  const names = named.map(({ type }) => type);
  const does =
    written.on === "update"
      ? `${names.length === 1 ? "claims" : "claim"} its columns first`
      : `${names.length === 1 ? "takes" : "take"} the whole row first`;
  return {
    message: `rule ${rule.type} can never fire: ${names.join(" and ")}, written before it, ${does} whenever it could`,
    next: `Write ${rule.type} before ${names[0]}, or narrow ${names.length === 1 ? names[0] : "those"} down`,
  };
}

/** Reasons that lie in the rule itself, condition by condition. */
function whyNever(rule: CompiledRule, written: Rule, about: LawTable): readonly string[] {
  const moves = rule.conditions.filter(
    ({ kind, column }) =>
      written.on === "update" &&
      (kind === "becomes" || kind === "changes") &&
      about.fixed.has(column),
  );
  const reasons = moves.map(({ column }) => movesRow(column, about));
  for (const { column, whys, alternatives } of impossibleOf(rule, written, about)) {
    if (alternatives === 0 && !moves.some((move) => move.column === column)) reasons.push(...whys);
  }
  if (reasons.length > 0) return [...new Set(reasons)];
  const fixed = rule.claims.filter((column) => about.fixed.has(column));
  if (fixed.length === rule.claims.length && fixed.length > 0) {
    return fixed.map((column) => movesRow(column, about));
  }
  return ["no column of it can change as its conditions say"];
}

function movesRow(column: number, { table }: LawTable): string {
  const name = table.columns[column]!.name;
  const part = table.key.includes(column) ? "the key" : "the link to its parent";
  return `${name} is part of ${part}, and a change of it is told as a removal and an insert`;
}

interface Impossible {
  readonly column: number;
  readonly whys: readonly string[];
  /** How many of the condition's values the column can have. */
  readonly alternatives: number;
}

function impossibleOf(
  rule: CompiledRule,
  written: Rule,
  { table, domains }: LawTable,
): readonly Impossible[] {
  return rule.conditions.map((condition) => {
    const { column } = condition;
    const shape = table.columns[column]!;
    const values = valuesOf(written.conditions[shape.name]);
    const whys = values.map((value, i) =>
      neverHolds(shape, domains[column]!, value, condition.values[i]),
    );
    const never = whys.filter((why) => why !== undefined);
    // A condition without values holds for all.
    return {
      column,
      whys: never,
      alternatives: values.length === 0 ? 1 : values.length - never.length,
    };
  });
}

function valuesOf(condition: ColumnCondition | undefined): readonly unknown[] {
  return condition === undefined || condition.kind === "changes" ? [] : condition.values;
}

function impossibleValues(rule: CompiledRule, written: Rule, about: LawTable): readonly Found[] {
  return impossibleOf(rule, written, about).flatMap(({ column, whys }) =>
    whys.map((why) => ({
      severity: "warning" as const,
      code: "value-never-there",
      column: about.table.columns[column]!.name,
      message: `rule ${rule.type} names a value that its column never has: ${why}`,
      next: "Correct the value, or take it out",
    })),
  );
}

/** An insert or a delete has one row, in which nothing changes. */
function meaningless({ type }: CompiledRule, written: Rule): readonly Found[] {
  if (written.on === "update") return [];
  return Object.entries(written.conditions).flatMap(([column, condition]) =>
    condition?.kind === "changes"
      ? [
          {
            severity: "warning" as const,
            code: "condition-meaningless",
            column,
            message: `rule ${type} has changes() on "${column}", which says nothing of ${written.on === "insert" ? "an insert" : "a delete"}: it has one row only`,
            next: "Use is(…), or take the condition out",
          },
        ]
      : [],
  );
}

function namedTwice({ type }: CompiledRule, written: Rule): readonly Found[] {
  if (written.on !== "update") return [];
  const { data, anyOf, transform } = written;
  const made = transform?.columns ?? [];
  const twice = (list: readonly string[]): string[] =>
    list.filter((name, i) => list.indexOf(name) !== i);
  const places = [
    ...twice(data).map((column) => ({ column, where: "twice in its data" })),
    ...twice(anyOf).map((column) => ({ column, where: "twice in changed(…)" })),
    ...data
      .filter((name) => made.includes(name))
      .map((column) => ({ column, where: "in its data and in its transform, which wins" })),
  ];
  return places.map(({ column, where }) => ({
    severity: "warning" as const,
    code: "column-claimed-twice",
    column,
    message: `rule ${type} names "${column}" ${where}; a column is told once`,
    next: "Name it in one place",
  }));
}
