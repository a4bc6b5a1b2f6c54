import type { TableFacts } from "../source/database-facts.ts";

/** What identifies a row: the primary key, else the first unique one. */
export function keyOf({ primaryKey, uniqueKeys }: TableFacts): readonly string[] {
  return primaryKey.length > 0 ? primaryKey : (uniqueKeys[0] ?? []);
}
