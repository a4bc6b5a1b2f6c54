import type { ToldRow } from "../model/column-definition.ts";

/**
 * Writes rows into the legacy database, never over what somebody else has written there.
 *
 * One session at a time writes for a pipeline. How far each stream is in its rows stands beside the rows
 * (`banyan_reverse.applied`) and changes in the same transaction, so that it is right whatever crashes.
 * Every implementation passes test/contract/legacy-writer.contract.ts.
 */
export interface LegacyWriter {
  /**
   * Sees whether the database can be reached, and whether these tables may be written to, in nobody's way.
   *
   * @param tables qualified names
   * @throws BanyanError `SOURCE_UNREACHABLE`, `SOURCE_REFUSED`, and what `open` throws for good
   */
  examine(tables: readonly string[]): Promise<void>;

  /**
   * Takes the place of the one that writes, waiting some seconds for whoever has it, makes the table
   * above when it may, and learns what the tables look like. May be called again, with others.
   *
   * @param tables qualified names
   * @throws BanyanError `REVERSE_NOT_READY` with the SQL that is to be run, `TABLE_MISSING`,
   *   `SOURCE_UNREACHABLE` (also when the place is not free yet)
   */
  open(tables: readonly string[]): Promise<void>;

  /** Version of the last event that is in the rows of each stream; none for one that was never written. */
  applied(streams: readonly string[]): Promise<ReadonlyMap<string, number>>;

  /**
   * Writes streams in one transaction, those in conflict left out. Each is written wholly or not at all.
   *
   * A row is changed or deleted only while every column of `before` is as it says, and inserted only where
   * there is none. A row that is as it should be already is fine, too.
   */
  write(batch: readonly StreamWrite[]): Promise<WriteOutcome>;

  close(): Promise<void>;
}

/** What brings the rows of one aggregate from one version to another. */
export interface StreamWrite {
  readonly stream: string;
  /** What `applied` said of it. */
  readonly applied: number | undefined;
  /** Of the last event that the rows hold afterwards. */
  readonly version: number;
  readonly rows: readonly RowWrite[];
}

/** One row, in canonical text by column name. Columns that the table does not have, or computes, are left out. */
export interface RowWrite {
  /** Qualified name. */
  readonly table: string;
  /** Names of the key's columns. They are in `before`, else in `after`. */
  readonly key: readonly string[];
  /** All that is known of the row; undefined for one to be inserted. */
  readonly before: ToldRow | undefined;
  /** The columns that change; all of a row to be inserted; undefined for one to be deleted. */
  readonly after: ToldRow | undefined;
}

/**
 * - `written`: committed, but for the streams in conflict.
 * - `refused`: nothing was written, the database does not take a row (a constraint, a value, a trigger).
 * - `busy`: nothing was written, somebody holds a lock; worth another try.
 */
export type WriteOutcome =
  | { readonly kind: "written"; readonly conflicts: readonly RowConflict[] }
  | {
      readonly kind: "refused";
      readonly table: string;
      /** Of the row, as in {@link RowConflict}; "" where it is not known, as of many streams at once. */
      readonly key: string;
      readonly reason: string;
    }
  | { readonly kind: "busy"; readonly reason: string };

export interface RowConflict {
  readonly stream: string;
  readonly table: string;
  /** Key columns' text, joined by commas. */
  readonly key: string;
  readonly columns: readonly string[];
  readonly reason: string;
}

/** A row's key for people. */
export function rowKeyText({ key, before, after }: RowWrite): string {
  const row = before ?? after ?? {};
  return key.map((name) => row[name] ?? "NULL").join(",");
}
