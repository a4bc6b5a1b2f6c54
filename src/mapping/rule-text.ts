import { createHash } from "node:crypto";
import type { ColumnCondition, Rule } from "./rules.ts";

/** When a rule fires, in words. */
export function whenText(rule: Rule): string {
  const conditions = Object.entries(rule.conditions).map(([name, condition]) =>
    conditionText(name, condition, rule.on),
  );
  if (rule.on === "update" && rule.anyOf.length > 0)
    conditions.push(`${rule.anyOf.join(" or ")} changes`);
  if (rule.where !== undefined) conditions.push("where(…) says so");
  return conditions.length === 0 ? "always" : conditions.join(" and ");
}

/**
 * A rule in one line, the same for the same rule: it is kept with the mapping, so that people can see
 * what became of it. A function shows as a digest of its text.
 */
export function ruleText(rule: Rule): string {
  const parts = [`${rule.on} of ${rule.table.name}: ${whenText(rule)}`];
  if (rule.where !== undefined) parts.push(`where is ${digest(rule.where)}`);
  if (rule.on === "insert" && rule.with.length > 0)
    parts.push(`with ${rule.with.map(({ name }) => name).join(", ")}`);
  if (rule.on === "update") {
    if (rule.data.length > 0) parts.push(`data ${rule.data.join(", ")}`);
    if (rule.transform !== undefined) {
      const { columns, to, from } = rule.transform;
      parts.push(`${columns.join(", ")} by functions ${digest(to)} and ${digest(from)}`);
    }
  }
  return parts.join("; ");
}

function conditionText(
  name: string,
  condition: ColumnCondition | undefined,
  on: Rule["on"],
): string {
  if (condition === undefined || condition.kind === "changes") return `${name} changes`;
  const values = condition.values.map(valueText).join(" or ");
  return `${name} ${on === "update" ? condition.kind : "is"} ${values}`;
}

function valueText(value: unknown): string {
  return typeof value === "bigint" ? `${value}` : JSON.stringify(value);
}

function digest(run: unknown): string {
  return createHash("sha256").update(String(run)).digest("hex").slice(0, 8);
}
