import type { Cells, SourceTable } from "../model/table.ts";

/**
 * A few real rows, and what the database says of the values that a column can have: what a mapping is
 * tried on before anything is captured.
 *
 * Every adapter passes test/contract/row-sampler.contract.ts.
 */
export interface RowSampler {
  /**
   * Some rows of each table, in the order asked; which ones is up to the source and may differ from
   * call to call. Changes nothing, waits for no lock, and ends within the budget: what could not be
   * read by then is left out and said to be.
   *
   * @throws BanyanError `SOURCE_UNREACHABLE`, `SOURCE_REFUSED`
   */
  sample(
    tables: readonly SourceTable[],
    options: SampleOptions,
    signal: AbortSignal,
  ): Promise<readonly TableSample[]>;

  /**
   * The constraint by which the database would refuse one of these rows; undefined when it would take
   * them all, or when that cannot be told. Looks at what is said of one row alone, not at keys.
   *
   * @throws BanyanError `SOURCE_UNREACHABLE`
   */
  refusedBy(table: SourceTable, rows: readonly Cells[]): Promise<string | undefined>;
  close(): Promise<void>;
}

export interface SampleOptions {
  /** Of each table; 0 reads no row and only asks the catalogue. */
  readonly rowsMax: number;
  /** For all tables together. */
  readonly budgetMs: number;
}

export interface TableSample {
  /** Qualified name. */
  readonly table: string;
  /** By the columns of the table that was asked for, as canonical text. */
  readonly rows: readonly Cells[];
  /** By column name; columns of which nothing special is known are absent. */
  readonly columns: ReadonlyMap<string, ColumnValues>;
  /** Why there may be fewer rows than there could be; absent when nothing was left out. */
  readonly leftOut?: string;
}

export interface ColumnValues {
  /** All that the column can hold beside NULL: an enum's labels, or what a CHECK constraint lists. */
  readonly allowed?: readonly string[];
  /** What a domain is made of, as in `SourceColumn.type`. */
  readonly baseType?: string;
}
