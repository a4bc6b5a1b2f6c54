import type { StreamPlan } from "./stream-plan.ts";
import type { ReportProblem } from "./mapping-problem.ts";

/** Whether a stream's names and rules agree with each other, before any table is known. */
export function checkPlan(plan: StreamPlan, report: ReportProblem): void {
  const { type, rootRole, ref } = plan;
  const problem: ReportProblem = (found) => report({ stream: type, ...found });
  if (!/^[a-zA-Z][a-zA-Z0-9_]*$/.test(type)) {
    problem({
      code: "stream-name",
      message: `stream "${type}": a stream's name is a letter followed by letters, digits and underscores`,
      next: "Give the stream such a name",
    });
  }
  for (const [role, child] of Object.entries(ref.children)) {
    const another = `Give the child of ${child.table.name} another name`;
    if (role === rootRole) {
      const message = `stream ${type}: the child "${role}" has the name of its stream`;
      problem({ code: "child-name", message, next: another });
    }
    if (role === "" || role === "__proto__" || role.startsWith("$")) {
      const message = `stream ${type}: a child cannot be called "${role}"`;
      problem({ code: "child-name", message, next: another });
    }
  }
  checkEventNames(plan, problem);
  checkRuleTables(plan, problem);
}

function checkEventNames(plan: StreamPlan, problem: ReportProblem): void {
  const { type, ref, baselineType, gapType, rules } = plan;
  const names = [ref.otherwise, baselineType, gapType];
  if (ref.otherwise === gapType || baselineType === gapType) {
    problem({
      code: "event-name",
      message: `stream ${type}: ${gapType} is the event of an aggregate that is read anew after a gap`,
      next: `Give "otherwise" or "baseline" another name`,
    });
  }
  if (ref.otherwise === baselineType) {
    problem({
      code: "event-name",
      message: `stream ${type}: fallback and baseline are both ${ref.otherwise}`,
      next: `Give "otherwise" or "baseline" another name`,
    });
  }
  for (const name of [...names, ...rules.map((rule) => rule.type)]) {
    if (name === "" || name === "__proto__") {
      const message = `stream ${type}: an event cannot be called "${name}"`;
      problem({ code: "event-name", message, next: "Give the event another name" });
    }
  }
  for (const { type: name } of rules) {
    if (!names.includes(name)) continue;
    problem({
      code: "event-name",
      rule: name,
      message: `stream ${type}: rule ${name} has the name of the fallback or baseline event`,
      next: "Give the rule another name",
    });
  }
}

function checkRuleTables({ type, ref, roles, rules }: StreamPlan, problem: ReportProblem): void {
  const tables = roles.map((role) => role.tableRef.name);
  for (const { type: name, rule } of rules) {
    if (!tables.includes(rule.table.name)) {
      problem({
        code: "rule-table",
        rule: name,
        table: rule.table.name,
        message: `rule ${name} is about ${rule.table.name}, which is not a table of stream ${type}`,
        next: "Add the table as a child of the stream, or move the rule to the stream that has it",
      });
    }
    if (rule.on !== "insert") continue;
    for (const taken of rule.with) {
      if (rule.table.name === ref.root.name && tables.slice(1).includes(taken.name)) continue;
      problem({
        code: "rule-with",
        rule: name,
        table: taken.name,
        message: `rule ${name}: "with" names ${taken.name}; only children of the root's own insert can be taken with it`,
        next: `Leave it out of "with"`,
      });
    }
  }
}
