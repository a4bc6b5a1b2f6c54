import type { Cell } from "../model/cell.ts";
import type { Intent, RowChange, SourceTransaction } from "../model/change.ts";
import type { Cells, SourceTable } from "../model/table.ts";

/** A change as it lies in quarantine: everything needed to map it later, by column name. */
export interface ParkedPayload {
  readonly kind: RowChange["kind"];
  readonly table: string;
  readonly ordinal: number;
  readonly half: RowChange["half"];
  readonly before: Readonly<Record<string, Cell>> | undefined;
  readonly after: Readonly<Record<string, Cell>> | undefined;
  readonly transaction: SourceTransaction;
  readonly intent: Intent | undefined;
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

/** The change again, for the shape its table has now. A column that it lacks is null. */
export function unparkChange(payload: ParkedPayload, table: SourceTable): RowChange {
  const cells = (row: Readonly<Record<string, Cell>> | undefined): Cells | undefined =>
    row === undefined ? undefined : table.columns.map((column) => row[column.name] ?? null);
  return {
    kind: payload.kind,
    table,
    ordinal: payload.ordinal,
    before: cells(payload.before),
    after: cells(payload.after),
    ...(payload.half === undefined ? {} : { half: payload.half }),
  };
}

function byName(
  table: SourceTable,
  cells: Cells | undefined,
): Readonly<Record<string, Cell>> | undefined {
  if (cells === undefined) return undefined;
  return Object.fromEntries(table.columns.map((column, i) => [column.name, cells[i]]));
}
