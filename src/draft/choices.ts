import type { DraftAnswers } from "./answers.ts";
import { obstacleTo } from "./obstacles.ts";
import { assess } from "../assess/assess.ts";
import { proposeAggregates } from "../assess/propose-aggregates.ts";
import type { Verdict } from "../assess/assessment.ts";
import type { DatabaseFacts, LogSample } from "../source/database-facts.ts";

/** What a person may decide about a draft. */
export interface Choices {
  readonly aggregates: readonly AggregateChoice[];
  /** Tables that refer to others, which may own them. */
  readonly parts: readonly PartChoice[];
}

export interface AggregateChoice {
  readonly name: string;
  readonly root: string;
  readonly children: readonly string[];
  readonly verdict: Verdict;
  readonly reason: string;
  /** Why it cannot be drafted; undefined when it can. */
  readonly blocked: string | undefined;
  /** Whether it is drafted as things stand. */
  readonly chosen: boolean;
}

export interface PartChoice {
  readonly table: string;
  /** The root that it is a part of now; itself when it stands on its own. */
  readonly root: string;
  readonly owners: readonly string[];
  readonly reasons: readonly string[];
}

export function choicesOf(
  facts: DatabaseFacts,
  sample: LogSample | undefined,
  answers: DraftAnswers,
): Choices {
  const owners = new Map(Object.entries(answers.owners ?? {}));
  const { aggregates, references } = proposeAggregates(facts, { owners });
  const assessed = new Map(
    assess(facts, { owners, ...(sample === undefined ? {} : { sample }) }).aggregates.map((one) => [
      one.root,
      one,
    ]),
  );
  const known = new Map(facts.tables.map((table) => [table.table.name, table]));
  const parts = aggregates.flatMap(({ root, reasons, children }) => [
    { table: root, root, reasons },
    ...children.map((child) => ({ table: child.table, root, reasons: child.reasons })),
  ]);
  return {
    aggregates: aggregates.map(({ name, root, children }) => {
      const { verdict, reasons } = assessed.get(root)!;
      const chosen = answers.aggregates?.includes(root) ?? verdict !== "leave";
      const blocked = obstacleTo(known.get(root)!)?.reasons[0];
      const tables = children.map(({ table }) => table);
      return { name, root, children: tables, verdict, reason: reasons[0]!, blocked, chosen };
    }),
    parts: parts
      .map((part) => ({
        ...part,
        owners: [
          ...new Set(
            references
              .filter(
                ({ table, references: to }) =>
                  table === part.table && to !== table && known.has(to),
              )
              .map(({ references: to }) => to),
          ),
        ],
      }))
      .filter((part) => part.owners.length > 0)
      .toSorted((a, b) => (a.table < b.table ? -1 : 1)),
  };
}
