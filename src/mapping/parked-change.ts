import type { Intent, RowChange, SourceTransaction } from "../model/change.ts";
import { cellOf, type ColumnDefinition, type ToldRow } from "../model/column-definition.ts";
import type { Cells, SourceTable } from "../model/table.ts";

/** A change as it lies in quarantine: everything needed to map it later, by column name. */
export interface ParkedPayload {
  readonly kind: RowChange["kind"];
  readonly table: string;
  readonly ordinal: number;
  readonly half: RowChange["half"];
  readonly before: ParkedCells | undefined;
  readonly after: ParkedCells | undefined;
  readonly transaction: SourceTransaction;
  readonly intent: Intent | undefined;
}

/** Cells by column name. What is not known is named, because JSON has no word for it. */
interface ParkedCells {
  readonly cells: ToldRow;
  readonly unknown: readonly string[];
}

export function parkChange(
  change: RowChange,
  transaction: SourceTransaction,
  intent: Intent | undefined,
): ParkedPayload {
  return {
    kind: change.kind,
    table: change.table.name,
    ordinal: change.ordinal,
    half: change.half,
    before: byName(change.table, change.before),
    after: byName(change.table, change.after),
    transaction,
    intent,
  };
}

/**
 * The change again, for the shape its table has now.
 *
 * @param columns of that shape, see `Mapping.columnsOf`: some may have had another name then, or none
 */
export function unparkChange(
  payload: ParkedPayload,
  table: SourceTable,
  columns: readonly ColumnDefinition[],
): RowChange {
  const cells = (row: ParkedCells | undefined): Cells | undefined => {
    if (row === undefined) return undefined;
    const unknown = new Set(row.unknown);
    return columns.map((column) => {
      const names = [column.name, ...(column.formerly ?? [])];
      return names.some((name) => unknown.has(name)) ? undefined : cellOf(row.cells, column);
    });
  };
  return {
    kind: payload.kind,
    table,
    ordinal: payload.ordinal,
    before: cells(payload.before),
    after: cells(payload.after),
    ...(payload.half === undefined ? {} : { half: payload.half }),
  };
}

function byName(table: SourceTable, cells: Cells | undefined): ParkedCells | undefined {
  if (cells === undefined) return undefined;
  const known: [string, string | null][] = [];
  const unknown: string[] = [];
  table.columns.forEach(({ name }, i) => {
    const cell = cells[i];
    if (cell === undefined) unknown.push(name);
    else known.push([name, cell]);
  });
  return { cells: Object.fromEntries(known), unknown };
}
