import type { Cell } from "./cell.ts";

/** How a table tells the log which row an update or delete touched. */
export type ReplicaIdentity = "full" | "default" | "index" | "nothing";

export interface SourceColumn {
  readonly name: string;
  /** The source's own type name, e.g. `int8`, `numeric(12,2)`, `shop.order_status`. */
  readonly type: string;
  readonly codec: CodecName;
  readonly nullable: boolean;
  /**
   * The source's own number of the column, which a renaming leaves as it is and a new column never
   * gets again. Like the two below known from the catalogue only, never from the log.
   */
  readonly number?: number;
  /** What the rows hold that were there before this column was added, where that is not NULL. */
  readonly filled?: string;
  /** True when such rows may each have got a value of their own, which nothing tells any more. */
  readonly computed?: boolean;
}

/** How a column's canonical text is written as JSON and read back. See `codec.ts`. */
export type CodecName = "text" | "int" | "bool" | "bytea" | "timestamp" | "timestamptz";

/**
 * A table as it stood at one place in the log. Immutable: a changed schema is a new object, so a
 * compiled mapping can be cached on the identity of this one.
 */
export interface SourceTable {
  /** Qualified and unquoted, `schema.table`; a dot inside a part is escaped as `\.`. */
  readonly name: string;
  readonly schema: string;
  readonly relation: string;
  readonly columns: readonly SourceColumn[];
  /** Indexes into `columns` of the primary key (or of the key the config names), in key order. */
  readonly key: readonly number[];
  readonly replicaIdentity: ReplicaIdentity;
  /** What the source promises of the key. From the catalogue only; absent when that is not known. */
  readonly keyUniqueness?: KeyUniqueness;
}

/** `at-commit`: two rows may have one key within a transaction. `nowhere`: for good. */
export type KeyUniqueness = "always" | "at-commit" | "nowhere";

/** The values of one row, by column index of its `SourceTable`. */
export type Cells = readonly Cell[];

/** Whether values of a type may have equal ones of another text: 1.0 and 1.00. */
export function isDecimal(type: string): boolean {
  return type === "numeric" || (type.startsWith("numeric(") && !type.endsWith("[]"));
}

/** A decimal number without the trailing zeros that say nothing of its value: `1.50` and `1.5` are one key. */
export function trimScale(cell: string): string {
  return cell.includes(".") ? cell.replace(/\.?0+$/, "") : cell;
}

export function qualifiedName(schema: string, relation: string): string {
  return `${escapePart(schema)}.${escapePart(relation)}`;
}

/** Splits `schema.table` (or a bare `table`, in `public`) at its one unescaped dot. */
export function parseQualifiedName(name: string): { schema: string; relation: string } {
  const parts = name.split(/(?<!\\)\./).map((part) => part.replaceAll("\\.", "."));
  if (parts.length === 1) return { schema: "public", relation: parts[0]! };
  return { schema: parts[0]!, relation: parts.slice(1).join(".") };
}

function escapePart(part: string): string {
  return part.replaceAll(".", "\\.");
}
