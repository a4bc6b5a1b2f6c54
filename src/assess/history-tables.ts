import { singularWords } from "./identifier-words.ts";
import type { TableFacts } from "../source/database-facts.ts";

const HISTORY_WORDS = new Set(
  "history hist audit version revision log archive historical changelog aud".split(" "),
);
/** Columns in which a general audit table says what was changed, how and by whom. */
const GENERAL: readonly (readonly RegExp[])[] = [
  [
    /^(item_type|auditable_type|object_type|table_name|tablename|relation|entity(_type|_name)?|content_type_id)$/i,
  ],
  [
    /^(object|object_changes|audited_changes|old_(row|data|values?|record)|new_(row|data|values?|record)|changes|before|after|diff|row_data|changed_fields)$/i,
  ],
];

/**
 * Tables that already hold what others were: table → the table whose history it is, `""` for one that
 * holds that of many.
 */
export function historyTables(tables: readonly TableFacts[]): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const table of tables) {
    const names = table.columns.map(({ name }) => name);
    if (
      GENERAL.every((patterns) =>
        patterns.some((pattern) => names.some((name) => pattern.test(name))),
      )
    ) {
      found.set(table.table.name, "");
      continue;
    }
    const subject = subjectOf(table, tables);
    if (subject !== undefined) found.set(table.table.name, subject.table.name);
  }
  return found;
}

/** `orders_history`, `OrderAudit` and `historical_order` hold orders when they repeat half of their columns. */
function subjectOf(table: TableFacts, tables: readonly TableFacts[]): TableFacts | undefined {
  const words = singularWords(table.table.relation);
  const bare = words.filter((word) => !HISTORY_WORDS.has(word)).join(" ");
  if (bare === "" || bare === words.join(" ")) return undefined;
  const names = new Set(table.columns.map(({ name }) => name.toLowerCase()));
  return tables.find((other) => {
    if (other === table || singularWords(other.table.relation).join(" ") !== bare) return false;
    const repeated = other.columns.filter(({ name }) => names.has(name.toLowerCase()));
    return repeated.length * 2 >= other.columns.length;
  });
}
