import type { RandomSchema, RandomTable } from "./random-schema.ts";
import type { Step } from "./random-steps.ts";
import type { Cell } from "../../src/model/cell.ts";
import type { Change, RowChange } from "../../src/model/change.ts";
import { trimScale, type Cells, type SourceTable } from "../../src/model/table.ts";

/** A published table that no stream maps. */
const ELSEWHERE: SourceTable = {
  name: "public.elsewhere",
  schema: "public",
  relation: "elsewhere",
  columns: [{ name: "id", type: "int4", codec: "int", nullable: false }],
  key: [0],
  replicaIdentity: "default",
};

interface ModelRow {
  cells: readonly (string | null)[];
}

/** Rows in memory that behave as a database's do, and a log of what was done to them. */
export class ModelDatabase {
  readonly #tables: ReadonlyMap<RandomTable, ModelRow[]>;
  readonly #schema: RandomSchema;
  #log: Change[] = [];

  constructor(schema: RandomSchema) {
    this.#schema = schema;
    this.#tables = new Map(schema.tables.map((table) => [table, []]));
  }

  rows(): ReadonlyMap<RandomTable, readonly Cells[]> {
    return new Map(
      [...this.#tables].map(([table, rows]) => [table, rows.map(({ cells }) => cells)]),
    );
  }

  transaction(steps: readonly Step[]): readonly Change[] {
    this.#log = [];
    for (const step of steps) this.#take(step);
    return this.#log;
  }

  #take(step: Step): void {
    if (step.do === "elsewhere") return this.#elsewhere(step.truncate);
    const table = this.#schema.tables[step.table]!;
    const rows = this.#tables.get(table)!;
    if (step.do === "insert") {
      const cells = this.#linked(table, step.cells, step.parent);
      if (this.#free(table, cells)) this.#insert(table, { cells });
      return;
    }
    if (step.do === "truncate") {
      rows.length = 0;
      this.#log.push({ kind: "truncate", table: table.shape, ordinal: this.#log.length + 1 });
      return;
    }
    if (rows.length === 0) return;
    const row = rows[step.row % rows.length]!;
    switch (step.do) {
      case "update": {
        const next = [...row.cells];
        for (const number of step.columns) {
          const column = number % next.length;
          if (!table.shape.key.includes(column)) next[column] = step.cells[column]!;
        }
        return this.#update(table, row, next);
      }
      case "touch":
        return this.#update(table, row, row.cells);
      case "delete":
        return this.#delete(table, row);
      case "again":
        this.#delete(table, row);
        return this.#insert(table, { cells: row.cells });
      case "rekey":
        return this.#rekey(table, row, step.cells, step.cascade);
      case "adopt":
        this.#tryUpdate(table, row, this.#linked(table, row.cells, step.parent));
        return;
      case "swap":
        return this.#swap(table, row, rows[step.other % rows.length]!);
    }
  }

  #elsewhere(truncate: boolean): void {
    const ordinal = this.#log.length + 1;
    const row = { kind: "insert", before: undefined, after: [String(ordinal)] } as const;
    this.#log.push({ table: ELSEWHERE, ordinal, ...(truncate ? { kind: "truncate" } : row) });
  }

  /** Cells that refer to an existing root, where the table is a child and there is one. */
  #linked(
    table: RandomTable,
    cells: readonly (string | null)[],
    parent: number,
  ): (string | null)[] {
    const root = this.#schema.tables[0]!;
    const roots = this.#tables.get(root)!;
    const next = [...cells];
    // Now and then a row without parent.
    if (table.parent === undefined || roots.length === 0 || parent === 7) return next;
    const chosen = roots[parent % roots.length]!;
    for (const [own, key] of Object.entries(table.parent)) {
      const column = columnOf(table, own);
      const cell = chosen.cells[columnOf(root, key)]!;
      // A foreign key holds between equal numbers, however they are written.
      const otherwise = table.kinds[column] === "numeric" && parent % 2 === 1 && /^\d+$/.test(cell);
      next[column] = otherwise ? `${cell}.00` : cell;
    }
    return next;
  }

  #rekey(
    table: RandomTable,
    row: ModelRow,
    cells: readonly (string | null)[],
    cascade: boolean,
  ): void {
    const before = row.cells;
    const next = before.map((cell, i) => (table.shape.key.includes(i) ? cells[i]! : cell));
    if (!this.#tryUpdate(table, row, next) || !cascade || table.parent !== undefined) return;
    for (const [child, rows] of this.#tables) {
      if (child.parent === undefined) continue;
      for (const each of rows) {
        const follows = Object.entries(child.parent).every(
          ([own, key]) => each.cells[columnOf(child, own)] === before[columnOf(table, key)],
        );
        if (!follows) continue;
        const moved = [...each.cells];
        for (const [own, key] of Object.entries(child.parent))
          moved[columnOf(child, own)] = next[columnOf(table, key)]!;
        this.#tryUpdate(child, each, moved);
      }
    }
  }

  /** Two rows take each other's key, by way of a third that is free. */
  #swap(table: RandomTable, one: ModelRow, two: ModelRow): void {
    const last = table.shape.key.at(-1)!;
    const kind = table.kinds[last]!;
    if (one === two || (kind !== "int4" && kind !== "int8")) return;
    const withKeyOf = (row: ModelRow, cells: readonly (string | null)[]): (string | null)[] =>
      row.cells.map((cell, i) => (table.shape.key.includes(i) ? cells[i]! : cell));
    const [first, second] = [one.cells, two.cells];
    const aside = [...first];
    aside[last] = "-777";
    if (!this.#free(table, aside)) return;
    this.#update(table, one, aside);
    this.#update(table, two, withKeyOf(two, first));
    this.#update(table, one, withKeyOf(one, second));
  }

  #tryUpdate(table: RandomTable, row: ModelRow, next: readonly (string | null)[]): boolean {
    if (!this.#free(table, next, row)) return false;
    this.#update(table, row, next);
    return true;
  }

  #free(table: RandomTable, cells: readonly (string | null)[], but?: ModelRow): boolean {
    const text = (row: readonly (string | null)[], column: number): string | null =>
      table.kinds[column] === "numeric" ? trimScale(row[column]!) : row[column]!;
    return !this.#tables
      .get(table)!
      .some(
        (row) =>
          row !== but &&
          table.shape.key.every((column) => text(row.cells, column) === text(cells, column)),
      );
  }

  #insert(table: RandomTable, row: ModelRow): void {
    this.#tables.get(table)!.push(row);
    this.#record("insert", table, undefined, row.cells);
  }

  #delete(table: RandomTable, row: ModelRow): void {
    const rows = this.#tables.get(table)!;
    rows.splice(rows.indexOf(row), 1);
    const full = table.shape.replicaIdentity === "full";
    this.#record("delete", table, full ? row.cells : keyOnly(table, row.cells), undefined);
  }

  #update(table: RandomTable, row: ModelRow, next: readonly (string | null)[]): void {
    const before = row.cells;
    row.cells = next;
    const full = table.shape.replicaIdentity === "full";
    const moved = table.shape.key.some((column) => before[column] !== next[column]);
    const after = next.map((cell, i): Cell =>
      table.large[i] === true && cell !== null && cell === before[i] ? undefined : cell,
    );
    this.#record(
      "update",
      table,
      full ? before : moved ? keyOnly(table, before) : undefined,
      after,
    );
  }

  #record(
    kind: RowChange["kind"],
    table: RandomTable,
    before: Cells | undefined,
    after: Cells | undefined,
  ): void {
    const ordinal = this.#log.length + 1;
    this.#log.push({ kind, table: table.shape, ordinal, before, after });
  }
}

/** An old row as the log of a table with replica identity default has it. */
function keyOnly({ shape }: RandomTable, cells: readonly (string | null)[]): Cells {
  return cells.map((cell, i) => (shape.key.includes(i) ? cell : undefined));
}

function columnOf({ shape }: RandomTable, name: string): number {
  return shape.columns.findIndex((column) => column.name === name);
}
