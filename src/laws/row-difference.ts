import type { LawStream, LawTable } from "./law-tables.ts";
import type { Cells } from "../model/table.ts";
import type { FoldedRow, StreamState } from "../projection/fold.ts";

/** A row that the fold has otherwise, or not at all, or alone. */
export interface RowDifference {
  readonly kind: "missing" | "extra" | "different";
  readonly table: string;
  readonly stream: string;
  readonly row: Cells | undefined;
  readonly fold: FoldedRow | undefined;
  /** Columns that part; none when one of the two is not there. */
  readonly columns: readonly {
    readonly column: string;
    readonly row: string | null;
    readonly fold: string | null;
  }[];
}

/**
 * Compares the rows that belong to a stream with the fold of its events.
 *
 * @param rows all rows there are, by table in the stream's order
 */
export function differenceOf(
  { tables }: LawStream,
  stream: string,
  rows: readonly (readonly Cells[])[],
  state: StreamState | undefined,
): RowDifference | undefined {
  for (const [i, about] of tables.entries()) {
    const own = rows[i]!.filter((cells) => about.mapper.streamIdOf(cells) === stream);
    const folded = [...(state?.get(about.mapper.role)?.values() ?? [])];
    const found = compare(about, stream, own, folded);
    if (found !== undefined) return found;
  }
  return undefined;
}

function compare(
  { table, mapper }: LawTable,
  stream: string,
  rows: readonly Cells[],
  folded: readonly FoldedRow[],
): RowDifference | undefined {
  const of = { table: table.name, stream, columns: [] };
  const cellsOf = (fold: FoldedRow): Cells =>
    table.columns.map(({ name }) => (Object.hasOwn(fold, name) ? fold[name]! : null));
  const byKey = new Map(folded.map((fold) => [mapper.keyOf(cellsOf(fold)), fold]));
  for (const row of rows) {
    const key = mapper.keyOf(row);
    const fold = byKey.get(key);
    if (fold === undefined) return { ...of, kind: "missing", row, fold: undefined };
    byKey.delete(key);
    const cells = cellsOf(fold);
    const columns = table.columns.flatMap(({ name }, column) =>
      cells[column] === row[column]
        ? []
        : [{ column: name, row: row[column] ?? null, fold: cells[column] ?? null }],
    );
    if (columns.length > 0) return { ...of, kind: "different", row, fold, columns };
  }
  const [extra] = byKey.values();
  return extra === undefined ? undefined : { ...of, kind: "extra", row: undefined, fold: extra };
}
