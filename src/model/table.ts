import type { Cell } from "./cell.ts";

/** How a table tells the log which row an update or delete touched. */
export type ReplicaIdentity = "full" | "default" | "index" | "nothing";

export interface SourceColumn {
  readonly name: string;
  /** The source's own type name, e.g. `int8`, `numeric(12,2)`, `shop.order_status`. */
  readonly type: string;
  readonly codec: CodecName;
  readonly nullable: boolean;
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
}

/** The values of one row, by column index of its `SourceTable`. */
export type Cells = readonly Cell[];

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
