import type { ReportProblem } from "./mapping-problem.ts";
import type { ColumnCondition, Rule } from "./rules.ts";
import type { SourceColumn } from "../model/table.ts";

/** What the compiler of TypeScript sees to for a typed config, and nobody for one in JavaScript. */
export function checkFunctions(type: string, rule: Rule, problem: ReportProblem): void {
  if (rule.where !== undefined && typeof rule.where !== "function") {
    problem({
      code: "where-not-a-function",
      message: `rule ${type}: "where" is not a function`,
      next: "Give it a function of the row that says true or false, or leave it out",
    });
  }
  const transform = rule.on === "update" ? rule.transform : undefined;
  if (transform === undefined) return;
  if (typeof transform.to !== "function") {
    problem({
      code: "transform-incomplete",
      message: `rule ${type}: "transform" has no function "to", which makes the event's data`,
      next: `Give it a "to", or leave "transform" out and name the columns as data`,
    });
  }
  if (typeof transform.from !== "function") {
    problem({
      code: "inverse-missing",
      message: `rule ${type} makes its data by a function and has no inverse "from", so its events could not be folded back`,
      next: `Give "transform" a "from" that makes the columns of the data again`,
    });
  }
  if (!Array.isArray(transform.columns) || transform.columns.length === 0) {
    problem({
      code: "transform-incomplete",
      message: `rule ${type}: "transform" names no columns, so nothing says what its data stands for`,
      next: `Name in "columns" what "to" makes its data of and "from" gives back`,
    });
  }
}

/** Whether a condition's values can be compared with the column's at all. */
export function checkCondition(
  type: string,
  { name, codec }: SourceColumn,
  condition: Exclude<ColumnCondition, { readonly kind: "changes" }>,
  problem: ReportProblem,
): void {
  const { kind, values } = condition;
  if (values.length === 0) {
    problem({
      code: "condition-without-value",
      column: name,
      message: `rule ${type}: ${kind}() on "${name}" names no value`,
      next: `Name at least one value, or use changes()`,
    });
  }
  // As text every other value would be taken for false.
  const wrong = values.filter(
    (value) => codec === "bool" && value !== null && typeof value !== "boolean",
  );
  for (const value of wrong) {
    problem({
      code: "condition-value-type",
      column: name,
      message: `rule ${type}: ${kind}() on "${name}" names ${JSON.stringify(value)}, and the column holds true or false`,
      next: "Write true or false, without quotes",
    });
  }
}
