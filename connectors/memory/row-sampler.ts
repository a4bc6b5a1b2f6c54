import type { Cells, SourceTable } from "../../src/model/table.ts";
import type {
  ColumnValues,
  RowSampler,
  SampleOptions,
  TableSample,
} from "../../src/source/row-sample.ts";

/** Rows and value lists in memory, by qualified table name. */
export interface SampledMemory {
  readonly rows: ReadonlyMap<string, readonly Cells[]>;
  readonly columns?: ReadonlyMap<string, ReadonlyMap<string, ColumnValues>>;
  /** The constraint that refuses a row, if one does. */
  readonly refuses?: (table: string, row: Cells) => string | undefined;
}

export function openMemoryRowSampler({ rows, columns, refuses }: SampledMemory): RowSampler {
  return {
    sample: (tables: readonly SourceTable[], { rowsMax }: SampleOptions, signal: AbortSignal) =>
      Promise.resolve(
        tables.map(({ name }): TableSample => {
          const known = columns?.get(name) ?? new Map<string, ColumnValues>();
          const found = rows.get(name);
          const of = { table: name, columns: known };
          if (rowsMax > 0 && found === undefined)
            return { ...of, rows: [], leftOut: "it is not there any more" };
          if (rowsMax > 0 && signal.aborted) return { ...of, rows: [], leftOut: "interrupted" };
          return { ...of, rows: (found ?? []).slice(0, rowsMax) };
        }),
      ),
    refusedBy: ({ name }, given) =>
      Promise.resolve(given.map((row) => refuses?.(name, row)).find((why) => why !== undefined)),
    close: () => Promise.resolve(),
  };
}
