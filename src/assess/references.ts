import { singularWords, wordsOf } from "./identifier-words.ts";
import type {
  ColumnFacts,
  DatabaseFacts,
  ReferentialAction,
  TableFacts,
} from "../source/database-facts.ts";

/** That rows of one table name rows of another, by a foreign key or only by a column's name. */
export interface Reference {
  readonly table: string;
  readonly columns: readonly string[];
  readonly references: string;
  readonly referencedColumns: readonly string[];
  readonly onDelete: ReferentialAction;
  /** Whether a row may refer to nothing. */
  readonly nullable: boolean;
  /** False when no foreign key says so: taken from the column's name and type. */
  readonly enforced: boolean;
}

/** All references from the tables surveyed, the enforced ones first. */
export function referencesOf(facts: DatabaseFacts): readonly Reference[] {
  const tables = new Map(facts.tables.map((table) => [table.table.name, table]));
  const enforced = facts.foreignKeys.map((key): Reference => {
    const columns = tables.get(key.table)?.columns ?? [];
    const nullable = columns.some(({ name, nullable }) => nullable && key.columns.includes(name));
    const { table, references, referencedColumns, onDelete } = key;
    return {
      table,
      columns: key.columns,
      references,
      referencedColumns,
      onDelete,
      nullable,
      enforced: true,
    };
  });
  const covered = new Set(
    enforced.flatMap(({ table, columns }) => columns.map((name) => `${table}\0${name}`)),
  );
  const byWords = tablesByWords(facts.tables);
  const inferred = facts.tables.flatMap((table) =>
    table.columns
      .filter(({ name }) => !covered.has(`${table.table.name}\0${name}`))
      .flatMap((column) => inferReference(table, column, byWords) ?? []),
  );
  return [...enforced, ...inferred];
}

/** Columns of a table that refer to others. */
export function referringColumns(
  table: string,
  references: readonly Reference[],
): ReadonlySet<string> {
  return new Set(
    references.filter((reference) => reference.table === table).flatMap(({ columns }) => columns),
  );
}

/**
 * Pairs of columns of which one names a table and the other a row in it (`item_type` and `item_id`,
 * `content_type_id` and `object_id`), so that a row may belong to any table.
 */
export function anyTableReference({ columns }: TableFacts): string | undefined {
  const names = new Set(columns.map(({ name }) => name));
  if (names.has("content_type_id") && names.has("object_id"))
    return "content_type_id and object_id";
  for (const name of names) {
    const type = /^(.+)(_type|Type)$/.exec(name);
    const id = type === null ? undefined : `${type[1]}${type[2] === "_type" ? "_id" : "Id"}`;
    if (id !== undefined && names.has(id)) return `${name} and ${id}`;
  }
  return undefined;
}

function tablesByWords(tables: readonly TableFacts[]): ReadonlyMap<string, readonly TableFacts[]> {
  const byWords = new Map<string, TableFacts[]>();
  for (const table of tables) {
    const words = singularWords(table.table.relation);
    // The last words too: one framework writes `billing_invoice` for what is referred to as invoice_id.
    for (let from = 0; from < words.length; from++) {
      const text = words.slice(from).join(" ");
      byWords.set(text, [...(byWords.get(text) ?? []), table]);
    }
  }
  return byWords;
}

/** `order_id` refers to `orders` when that has a key of one column of the same kind of type. */
function inferReference(
  table: TableFacts,
  column: ColumnFacts,
  byWords: ReadonlyMap<string, readonly TableFacts[]>,
): Reference | undefined {
  const words = wordsOf(column.name);
  if (words.length < 2 || words.at(-1) !== "id") return undefined;
  if (anyTableReference(table)?.split(" and ").includes(column.name) === true) return undefined;
  const subject = words.slice(0, -1);
  const self = subject.join(" ") === "parent" && !table.primaryKey.includes(column.name);
  const found = self
    ? [table]
    : (byWords.get(singularWords(subject.join(" ")).join(" ")) ?? []).filter(
        (other) => other !== table && other.kind !== "foreign",
      );
  const fitting = found.filter(({ columns, primaryKey }) => {
    const key = columns.find(({ name }) => name === primaryKey[0]);
    return primaryKey.length === 1 && key !== undefined && family(key.type) === family(column.type);
  });
  const sameSchema = fitting.filter((other) => other.table.schema === table.table.schema);
  const exact = (sameSchema.length > 0 ? sameSchema : fitting).toSorted(
    (a, b) => wordsOf(a.table.relation).length - wordsOf(b.table.relation).length,
  );
  const [best, next] = exact;
  if (best === undefined) return undefined;
  // Two tables that would fit equally well say nothing.
  const length = (of: TableFacts): number => wordsOf(of.table.relation).length;
  if (next !== undefined && length(next) === length(best)) return undefined;
  return {
    table: table.table.name,
    columns: [column.name],
    references: best.table.name,
    referencedColumns: best.primaryKey,
    onDelete: "no action",
    nullable: column.nullable,
    enforced: false,
  };
}

function family(type: string): string {
  const bare = type.replace(/\(.*\)/, "");
  if (/^int[248]$/.test(bare)) return "whole";
  return /^(text|varchar|bpchar|.*\.?citext)$/.test(bare) ? "text" : bare;
}
