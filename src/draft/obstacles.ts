import { list, tableBlockers } from "../assess/table-notes.ts";
import { keyOf } from "../assess/row-key.ts";
import type { TableFacts } from "../source/database-facts.ts";

/** What keeps a table out of any mapping. */
export interface Obstacle {
  readonly reasons: readonly string[];
  readonly sql: readonly string[];
}

/** @param link of a child the columns that name its root */
export function obstacleTo(facts: TableFacts, link: readonly string[] = []): Obstacle | undefined {
  if (facts.kind === "foreign")
    return { reasons: ["its rows live in another database: draft that one"], sql: [] };
  const reasons: string[] = [];
  const sql: string[] = [];
  if (facts.kind === "unlogged" || facts.loggedMend !== undefined) {
    reasons.push("unlogged: the log has no changes of it");
    if (facts.loggedMend !== undefined) sql.push(facts.loggedMend);
  }
  for (const blocker of tableBlockers(facts)) {
    reasons.push(blocker.text);
    if (blocker.sql !== undefined) sql.push(blocker.sql);
  }
  const carried = new Set(facts.table.columns.map(({ name }) => name));
  const notCarried = [...new Set([...keyOf(facts), ...link])].filter((name) => !carried.has(name));
  if (notCarried.length > 0)
    reasons.push(
      `the log does not carry ${list(notCarried)}, because it is generated, and its rows are told apart by that`,
    );
  const refused = facts.table.columns
    .map(({ name }) => name)
    .filter((name) => name.startsWith("$") || name === "__proto__");
  if (refused.length > 0)
    reasons.push(
      `a mapping cannot hold a column of that name: ${list(refused)}. Rename it, and say so to the application`,
    );
  return reasons.length === 0 ? undefined : { reasons, sql };
}
