import type { CodecName } from "./table.ts";

/** A column as a fold needs it: also what a row holds in it of which no event has told. */
export interface ColumnDefinition {
  readonly name: string;
  readonly codec: CodecName;
  /** The source's own type name. */
  readonly type: string;
  /** See `SourceColumn.number`. */
  readonly number?: number;
  /** Names that the column had before, newest first: rows were told under them, and not again. */
  readonly formerly?: readonly string[];
  /** What the rows that were there before the column hold in it; NULL when absent. */
  readonly filled?: string;
  /** The schema change that gave rows of the table values which the log does not tell. */
  readonly untold?: UntoldReason;
}

/** `added`: with a computed default. `retyped`: given another type. `replaced`: dropped and added again. */
export type UntoldReason = "added" | "retyped" | "replaced";

/** A row as it was told, by the names its columns had then. */
export type ToldRow = Readonly<Record<string, string | null>>;

/** What a row holds in a column, though it may have been told under another name or not at all. */
export function cellOf(row: ToldRow, column: ColumnDefinition): string | null {
  if (Object.hasOwn(row, column.name)) return row[column.name]!;
  for (const name of column.formerly ?? []) if (Object.hasOwn(row, name)) return row[name]!;
  return column.filled ?? null;
}
