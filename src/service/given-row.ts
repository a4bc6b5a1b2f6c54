import { columnText } from "./column-value.ts";
import type { StreamRole } from "./stream-mapping.ts";
import { keyOfStream } from "../mapping/stream-id.ts";
import { cellOf } from "../model/column-definition.ts";
import { BanyanError } from "../model/errors.ts";
import type { FoldedRow, StreamState } from "../projection/fold.ts";

/** Canonical text by column index; undefined where nothing was said. */
export type GivenCells = (string | null | undefined)[];

/** A row by column index, whole. */
export type RowCells = (string | null)[];

export function eventRefused(message: string, hint?: string): BanyanError {
  return new BanyanError("EVENT_REFUSED", message, hint === undefined ? {} : { hint });
}

/**
 * What a service said of a row, with the columns that name its aggregate.
 *
 * @param what for messages, e.g. `OrderPaid of order-7`
 * @param data columns by name; names of `except` are something else
 * @throws BanyanError `EVENT_REFUSED` for a column that there is not, a value of another type, and a
 *   row of another aggregate
 */
export function givenRow(
  { definition, table, mapper }: StreamRole,
  stream: string,
  what: string,
  data: Readonly<Record<string, unknown>>,
  except: readonly string[] = [],
): GivenCells {
  const cells: GivenCells = table.columns.map(() => undefined);
  for (const [name, value] of Object.entries(data)) {
    if (value === undefined || except.includes(name)) continue;
    const column = definition.columns.findIndex((candidate) => candidate.name === name);
    if (column < 0) {
      const known = definition.columns.map((one) => one.name).join(", ");
      throw eventRefused(
        `${what}: ${definition.table} has no column "${name}"`,
        `It has: ${known}`,
      );
    }
    try {
      cells[column] = columnText(definition.columns[column]!, value);
    } catch (error) {
      throw eventRefused(`${what}: "${name}" must be ${(error as Error).message}`);
    }
  }
  const key = keyOfStream(stream);
  mapper.parts.streamColumns.forEach((column, i) => {
    const text = key[i] ?? null;
    if (cells[column] === undefined) cells[column] = text;
    else if (cells[column] !== text) {
      throw eventRefused(`${what}: "${table.columns[column]!.name}" names another aggregate`);
    }
  });
  for (const column of table.key) {
    if (cells[column] === undefined || cells[column] === null) {
      throw eventRefused(
        `${what}: "${table.columns[column]!.name}" is part of the key and missing`,
      );
    }
  }
  return cells;
}

/** The row of the state that has the same key, if there is one. */
export function rowBefore(
  role: StreamRole,
  state: StreamState,
  cells: GivenCells,
): RowCells | undefined {
  const key = role.mapper.keyOf(cells);
  return rowsOf(role, state).find((row) => role.mapper.keyOf(row) === key);
}

/** All rows of a role. */
export function rowsOf(role: StreamRole, state: StreamState): RowCells[] {
  return [...(state.get(role.role)?.values() ?? [])].map((row) => cellsOf(role, row));
}

function cellsOf({ definition }: StreamRole, row: FoldedRow): RowCells {
  return definition.columns.map((column) => cellOf(row, column));
}

export function wholeRow(cells: GivenCells): RowCells {
  return cells.map((cell) => cell ?? null);
}
