import { BanyanError } from "../model/errors.ts";
import { parseQualifiedName, qualifiedName } from "../model/table.ts";
import type { DatabaseFacts } from "../source/database-facts.ts";

/**
 * Qualified names of the tables that somebody named: `schema.table`, or a bare name that only one
 * schema has, or that is in public. Several may stand in one text, with commas between them.
 *
 * @throws BanyanError `USAGE` naming all that there are not
 */
export function resolveTables(named: readonly string[], facts: DatabaseFacts): readonly string[] {
  const problems: string[] = [];
  const find = (name: string): string | undefined => {
    const { schema, relation } = parseQualifiedName(name);
    const exact = facts.tables.find(({ table }) => table.name === qualifiedName(schema, relation));
    if (exact !== undefined) return exact.table.name;
    const bare = name.replaceAll("\\.", ".");
    const alike = facts.tables.filter(({ table }) => table.relation === bare);
    if (alike.length === 1) return alike[0]!.table.name;
    if (alike.length > 1)
      problems.push(`${name} may be any of ${alike.map(({ table }) => table.name).join(", ")}`);
    return undefined;
  };
  const found = named.flatMap((text) => {
    // A name may have a comma itself.
    const whole = find(text);
    if (whole !== undefined) return [whole];
    const names = text.split(",").map((name) => name.trim());
    return names.flatMap((name) => {
      if (name === "") return [];
      const before = problems.length;
      const one = find(name);
      if (one === undefined && problems.length === before)
        problems.push(`there is no table ${name}`);
      return one ?? [];
    });
  });
  const all = [...new Set(problems)];
  if (all.length === 0 && found.length > 0) return found;
  throw new BanyanError("USAGE", `--tables: ${all.join("; ") || "no table is named"}`, {
    hint: "Name tables as schema.table, as the database spells them; banyan assess lists them all",
  });
}
