import { changeRate, copyRemark } from "./change-rate.ts";
import { columnRoles } from "./column-roles.ts";
import { historyTables } from "./history-tables.ts";
import type { TableReading } from "./judge-aggregate.ts";
import { referringColumns, type Reference } from "./references.ts";
import { storeCost } from "./store-cost.ts";
import { tableNature, type TableNature } from "./table-nature.ts";
import { tableBlockers, tableNotes } from "./table-notes.ts";
import type { DatabaseFacts, LogSample } from "../source/database-facts.ts";

/** Reads every table by itself, before aggregates are judged; by its name. */
export function readTables(
  facts: DatabaseFacts,
  references: readonly Reference[],
  sample: LogSample | undefined,
): ReadonlyMap<string, TableReading> {
  const histories = historyTables(facts.tables);
  const copy = copyRemark(facts);
  const known = new Map(facts.tables.map((table) => [table.table.name, table]));
  const natures = new Map<string, TableNature>();
  const underWay = new Set<string>();
  const prepared = new Map(
    facts.tables.map((table) => {
      const { name } = table.table;
      const sampled = sample?.tables.get(name);
      const roles = columnRoles(table, referringColumns(name, references), sampled);
      const rate = changeRate(table, facts.countedSeconds, copy, sample);
      return [name, { table, sampled, roles, rate }] as const;
    }),
  );
  // A lookup may refer to another one; a circle of them is none.
  const natureOf = (name: string): TableNature => {
    const done = natures.get(name);
    if (done !== undefined) return done;
    const { table, roles, rate } = prepared.get(name)!;
    underWay.add(name);
    const isLookup = (other: string): boolean =>
      known.has(other) && !underWay.has(other) && natureOf(other).nature === "lookup";
    const nature = tableNature({
      facts,
      table,
      readings: roles,
      rate,
      references,
      historyOf: histories.get(name),
      isLookup,
    });
    underWay.delete(name);
    natures.set(name, nature);
    return nature;
  };
  return new Map(
    [...prepared].map(([name, { table, sampled, roles, rate }]) => [
      name,
      {
        facts: table,
        roles,
        nature: natureOf(name),
        rate,
        cost: storeCost(table, rate, sampled),
        sampled,
        historyIn: [...histories].filter(([, of]) => of === name).map(([history]) => history),
        notes: [...tableNotes(table, roles, references, sampled)],
        blockers: tableBlockers(table),
      },
    ]),
  );
}
