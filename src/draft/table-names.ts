import { capitalized, pascalCase } from "./happening.ts";
import { UniqueNames } from "./unique-names.ts";
import { latinWords, mappingName, singular } from "../assess/identifier-words.ts";
import type { TableFacts } from "../source/database-facts.ts";

/** What a table is called in the drafted files. */
export interface TableName {
  /** The constant that refers to it, e.g. `orderLines`. */
  readonly constant: string;
  /** The type of its rows, e.g. `OrderLineRow`. */
  readonly row: string;
}

/** Words of the language, and of the files that are drafted. */
const RESERVED = (
  "arguments await break case catch class const continue debugger default delete do else enum eval export extends false finally for " +
  "function if implements import in instanceof interface let new null package private protected public return static super switch " +
  "this throw true try typeof undefined var void while with yield process globalThis " +
  "becomes changed changes child defineMigration deleted env inserted is stream table updated was now"
).split(" ");

/**
 * Names by qualified table name. Those of schema public come first, so that a table which is added in
 * another schema does not change them.
 */
export function tableNames(tables: readonly TableFacts[]): ReadonlyMap<string, TableName> {
  const constants = new UniqueNames(RESERVED);
  const types = new UniqueNames();
  const first = tables.filter(({ table }) => table.schema === "public");
  const rest = tables.filter(({ table }) => table.schema !== "public");
  return new Map(
    [...first, ...rest].map(({ table: { name, schema, relation } }) => {
      const plain = mappingName(latinWords(relation));
      const qualified = mappingName([...latinWords(schema), ...latinWords(relation)]);
      const constant = constants.claim(
        plain,
        ...(qualified === plain ? [] : [qualified]),
        `${plain}Table`,
      );
      const noun = nounOf(relation);
      const row = types.claim(`${noun}Row`, `${pascalCase(latinWords(schema))}${noun}Row`);
      return [name, { constant, row: /^[A-Z]/i.test(row) ? row : `Table${row}` }];
    }),
  );
}

/** `customer_id` → `Customer`, `assignee` → `Assignee`: what a column that refers to something is about. */
export function referredName(column: string): string {
  const words = latinWords(column);
  const bare =
    words.length > 1 && /^(id|key|no|ref|code|fk)$/.test(words.at(-1)!)
      ? words.slice(0, -1)
      : words;
  return pascalCase(bare.length > 0 ? bare : ["column"]);
}

export function columnPhrase(column: string): string {
  const words = latinWords(column);
  return words.length === 0 ? "Column" : pascalCase(words);
}

/** `OrderLine` of the table `order_lines`. */
export function nounOf(relation: string): string {
  return capitalized(mappingName(latinWords(relation).map(singular)));
}
