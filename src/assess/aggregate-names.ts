import { mappingName, singular, singularWords, wordsOf } from "./identifier-words.ts";
import type { TableFacts } from "../source/database-facts.ts";

/** Names for streams: the root in the singular, with its schema only where two would have one name. */
export function streamNames(roots: readonly TableFacts[]): ReadonlyMap<string, string> {
  const plain = new Map<string, TableFacts[]>();
  for (const root of roots) {
    const name = mappingName(singularWords(root.table.relation));
    plain.set(name, [...(plain.get(name) ?? []), root]);
  }
  const names = new Map<string, string>();
  const taken = new Set(
    [...plain].filter(([, tables]) => tables.length === 1).map(([name]) => name),
  );
  for (const [name, tables] of plain) {
    for (const { table } of tables) {
      const words = [...wordsOf(table.schema), ...singularWords(table.relation)];
      const wanted = tables.length === 1 ? name : mappingName(words);
      names.set(table.name, tables.length === 1 ? name : unused(wanted, taken));
    }
  }
  return names;
}

/**
 * Name of a child in its stream: `order_lines` of `orders` is `lines`. Not the name of the stream, of
 * one of the root's columns or of another child, which a mapping refuses.
 */
export function childName(
  child: TableFacts,
  root: TableFacts,
  stream: string,
  taken: Set<string>,
): string {
  const words = wordsOf(child.table.relation);
  const prefix = singularWords(root.table.relation);
  const begins = prefix.every(
    (word, index) => words[index] !== undefined && singular(words[index]) === word,
  );
  const own = begins && words.length > prefix.length ? words.slice(prefix.length) : words;
  const refused = new Set([...root.table.columns.map(({ name }) => name), stream]);
  for (const candidate of [mappingName(own), mappingName(words), `${mappingName(words)}Rows`]) {
    if (refused.has(candidate) || taken.has(candidate)) continue;
    taken.add(candidate);
    return candidate;
  }
  for (const name of refused) taken.add(name);
  return unused(`${mappingName(words)}Rows`, taken);
}

function unused(wanted: string, taken: Set<string>): string {
  let name = wanted;
  for (let n = 2; taken.has(name); n++) name = `${wanted}${n}`;
  taken.add(name);
  return name;
}
