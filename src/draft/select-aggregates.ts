import type { DraftAnswers } from "./answers.ts";
import { obstacleTo, type Obstacle } from "./obstacles.ts";
import { resolveTables } from "./resolve-tables.ts";
import type { AssessedAggregate, Assessment, Verdict } from "../assess/assessment.ts";
import type { AggregateProposal, ChildProposal } from "../assess/propose-aggregates.ts";
import { BanyanError } from "../model/errors.ts";
import type { DatabaseFacts } from "../source/database-facts.ts";

/** An aggregate to draft, without the tables of it that stand in the way. */
export interface ChosenAggregate {
  readonly proposal: AggregateProposal;
  readonly assessed: AssessedAggregate;
  readonly children: readonly ChildProposal[];
}

/** A table that is not drafted, and why. */
export interface LeftOut {
  readonly table: string;
  readonly verdict: Verdict;
  /** `blocked`: it could not be captured. `part`: its root is not drafted. `unasked`: others were named. */
  readonly cause: "judged" | "blocked" | "part" | "unasked";
  readonly reasons: readonly string[];
  /** Statements after which it can be drafted. */
  readonly sql: readonly string[];
}

interface SelectionParts {
  readonly facts: DatabaseFacts;
  readonly assessment: Assessment;
  readonly proposals: readonly AggregateProposal[];
  readonly tables: readonly string[] | undefined;
  readonly answers: DraftAnswers | undefined;
}

/** Which aggregates are drafted: what is worth it, or what was named, as far as nothing stands in the way. */
export function selectAggregates({
  facts,
  assessment,
  proposals,
  tables,
  answers,
}: SelectionParts): {
  readonly chosen: readonly ChosenAggregate[];
  readonly leftOut: readonly LeftOut[];
} {
  const named = tables === undefined ? undefined : new Set(resolveTables(tables, facts));
  const assessed = new Map(assessment.aggregates.map((one) => [one.root, one]));
  const verdicts = new Map(assessment.tables.map(({ name, verdict }) => [name, verdict]));
  const obstacles = new Map<string, Obstacle>();
  const links = new Map(
    proposals.flatMap(({ children }) =>
      children.map(({ table, parent }) => [table, Object.keys(parent)] as const),
    ),
  );
  for (const table of facts.tables) {
    const obstacle = obstacleTo(table, links.get(table.table.name));
    if (obstacle !== undefined) obstacles.set(table.table.name, obstacle);
  }
  const leftOut: LeftOut[] = [];
  const leave = (
    table: string,
    cause: LeftOut["cause"],
    reasons: readonly string[],
    sql: readonly string[] = [],
  ): void => void leftOut.push({ table, verdict: verdicts.get(table)!, cause, reasons, sql });
  const leaveBlocked = (table: string): void => {
    const { reasons, sql } = obstacles.get(table)!;
    leave(table, "blocked", reasons, sql);
  };
  const chosen: ChosenAggregate[] = [];
  for (const proposal of proposals) {
    const one = assessed.get(proposal.root)!;
    const members = [proposal.root, ...proposal.children.map(({ table }) => table)];
    const wanted = isWanted(proposal, members, one, named, answers);
    if (wanted !== true) {
      for (const table of members)
        leave(
          table,
          wanted,
          wanted === "unasked"
            ? ["not asked for"]
            : table === proposal.root
              ? one.reasons
              : [`part of ${proposal.root}, which is left as it is`],
        );
      continue;
    }
    if (named !== undefined)
      refuseBlocked(
        members.filter((name) => named.has(name)),
        obstacles,
      );
    if (obstacles.has(proposal.root)) {
      if (named !== undefined) refuseBlocked([proposal.root], obstacles);
      leaveBlocked(proposal.root);
      for (const { table } of proposal.children) {
        if (obstacles.has(table)) leaveBlocked(table);
        else leave(table, "part", [`part of ${proposal.root}, which is blocked`]);
      }
      continue;
    }
    for (const { table } of proposal.children) if (obstacles.has(table)) leaveBlocked(table);
    const children = proposal.children
      .filter(({ table }) => !obstacles.has(table))
      // Parts of the root before parts of parts.
      .toSorted((a, b) => Number(a.through !== undefined) - Number(b.through !== undefined));
    chosen.push({ proposal, assessed: one, children });
  }
  return { chosen, leftOut: leftOut.toSorted((a, b) => (a.table < b.table ? -1 : 1)) };
}

/** True, or why it is not drafted. */
function isWanted(
  { root }: AggregateProposal,
  members: readonly string[],
  { verdict }: AssessedAggregate,
  named: ReadonlySet<string> | undefined,
  answers: DraftAnswers | undefined,
): true | "unasked" | "judged" {
  if (named !== undefined) return members.some((name) => named.has(name)) || "unasked";
  if (answers?.aggregates !== undefined) return answers.aggregates.includes(root) || "unasked";
  return verdict !== "leave" || "judged";
}

/** @throws BanyanError `SOURCE_NOT_READY` */
function refuseBlocked(names: readonly string[], obstacles: ReadonlyMap<string, Obstacle>): void {
  const blocked = names.filter((name) => obstacles.has(name));
  if (blocked.length === 0) return;
  const told = blocked.map((name) => `${name}: ${obstacles.get(name)!.reasons.join("; ")}`);
  const sql = blocked.flatMap((name) => obstacles.get(name)!.sql);
  throw new BanyanError("SOURCE_NOT_READY", `cannot be drafted: ${told.join("\n")}`, {
    hint:
      sql.length > 0
        ? `Run: ${sql.join(" ")} and draft again`
        : "Mend that in the database, or leave the table out of --tables",
    detail: { tables: blocked.join(", ") },
  });
}
