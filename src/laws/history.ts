import type { LawStream, LawTable } from "./law-tables.ts";
import type { RowChange } from "../model/change.ts";
import { isDecimal, trimScale, type Cells } from "../model/table.ts";

type Row = readonly (string | null)[];

/**
 * One thing that is done to the rows of a stream. Plain data, so that a history can be made smaller
 * piece by piece. Numbers pick among the rows that there are when the step is taken; a step that is not
 * possible then, as a key that is taken, does nothing. -1 is the last one.
 */
export type Step =
  | {
      readonly do: "insert";
      readonly table: number;
      readonly cells: Row;
      /** The root that a child is given; its own cells say so when absent. */
      readonly parent?: number;
    }
  | {
      readonly do: "update";
      readonly table: number;
      readonly row: number;
      readonly set: Assignments;
    }
  | { readonly do: "delete"; readonly table: number; readonly row: number }
  /** Deleted and inserted anew, perhaps under another root. */
  | {
      readonly do: "again";
      readonly table: number;
      readonly row: number;
      readonly parent?: number;
    }
  | { readonly do: "adopt"; readonly table: number; readonly row: number; readonly parent: number };

/** New cells by column; those of the key move the row. */
export type Assignments = readonly (readonly [column: number, cell: string | null])[];

/** Transactions of steps. */
export type History = readonly (readonly Step[])[];

export interface PlayedTransaction {
  /** Which of the history's transactions it is. */
  readonly number: number;
  readonly changes: readonly RowChange[];
  /** By table, in the stream's order: what there is after it. */
  readonly rows: readonly (readonly Cells[])[];
}

/** Carries a history out on rows in memory, as a database would. Transactions that change nothing are left out. */
export function play(stream: LawStream, history: History): readonly PlayedTransaction[] {
  const rows = stream.tables.map((): Row[] => []);
  return history.flatMap((steps, number) => {
    const changes: RowChange[] = [];
    for (const step of steps) take(stream, rows, step, changes);
    return changes.length === 0 ? [] : [{ number, changes, rows: rows.map((list) => [...list]) }];
  });
}

function take(
  { tables }: LawStream,
  rows: readonly Row[][],
  step: Step,
  changes: RowChange[],
): void {
  const about = tables[step.table]!;
  const list = rows[step.table]!;
  const record = (
    kind: RowChange["kind"],
    before: Row | undefined,
    after: Row | undefined,
  ): void => {
    changes.push({ kind, table: about.table, ordinal: changes.length + 1, before, after });
  };
  const under = (cells: Row, parent: number | undefined): Row => {
    const root = parent === undefined ? undefined : pick(rows[0]!, parent);
    return root === undefined || about.mapper.isRoot
      ? cells
      : linked(about, cells, tables[0]!, root);
  };
  if (step.do === "insert") {
    const cells = under(step.cells, step.parent);
    if (!isFree(about, list, cells)) return;
    list.push(cells);
    return record("insert", undefined, cells);
  }
  const before = pick(list, step.row);
  if (before === undefined) return;
  const at = list.indexOf(before);
  if (step.do === "delete" || step.do === "again") {
    const cells = step.do === "again" ? under(before, step.parent) : undefined;
    if (cells !== undefined && !isFree(about, list, cells, before)) return;
    list.splice(at, 1);
    record("delete", before, undefined);
    if (cells === undefined) return;
    list.push(cells);
    return record("insert", undefined, cells);
  }
  const after = step.do === "adopt" ? under(before, step.parent) : assigned(before, step.set);
  if (step.do === "adopt" && after === before) return;
  if (!isFree(about, list, after, before)) return;
  list[at] = after;
  record("update", before, after);
}

function pick(rows: readonly Row[], number: number): Row | undefined {
  return number < 0 ? rows.at(-1) : rows[number % Math.max(rows.length, 1)];
}

function assigned(row: Row, set: Assignments): Row {
  const next = [...row];
  for (const [column, cell] of set) next[column] = cell;
  return next;
}

/** A child's row that refers to a root. */
function linked(child: LawTable, cells: Row, root: LawTable, parent: Row): Row {
  const next = [...cells];
  child.mapper.parts.streamColumns.forEach((column, i) => {
    next[column] = parent[root.table.key[i]!]!;
  });
  return next;
}

/** Whether no other row has the key; 1.0 and 1.00 are one. */
function isFree({ table }: LawTable, rows: readonly Row[], cells: Row, but?: Row): boolean {
  const keyOf = (row: Row): string =>
    JSON.stringify(
      table.key.map((column) => {
        const cell = row[column]!;
        return cell !== null && isDecimal(table.columns[column]!.type) ? trimScale(cell) : cell;
      }),
    );
  const key = keyOf(cells);
  return !rows.some((row) => row !== but && keyOf(row) === key);
}
