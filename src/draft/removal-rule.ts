import type { RuleParts } from "./draft-aggregate.ts";
import type { RuleSketch } from "./drafted-rule.ts";

/** How a row goes; where a column marks rows as deleted, to be gone for good is something else. */
export function removalRule({ facts, readings, isRoot }: RuleParts): RuleSketch {
  const { name } = facts.table;
  const marks = readings.find(({ role }) => role === "soft-delete");
  const phrases =
    marks !== undefined
      ? (["Purged", "Erased"] as const)
      : (["Deleted", "Purged", "Erased"] as const);
  return {
    id: `${name} delete`,
    phrases: isRoot ? phrases : marks === undefined ? ["Removed", "Purged"] : phrases,
    on: "delete",
    when: [],
    why:
      marks === undefined
        ? "The row is deleted."
        : `The row itself is deleted; ${marks.column} only marks it.`,
    ...(marks === undefined ? {} : { note: `The row itself goes; ${marks.column} only marks it.` }),
  };
}
