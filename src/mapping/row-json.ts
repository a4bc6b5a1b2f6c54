import { CODECS, cellFromJson, cellToJson, type Codec } from "../model/codec.ts";
import type { Cells, SourceTable } from "../model/table.ts";

/** Writes the cells of one table shape as JSON members, from fragments prepared once. */
export class RowJson {
  readonly #prefixes: readonly string[];
  readonly #codecs: readonly Codec[];
  readonly #names: readonly string[];

  constructor(table: SourceTable) {
    this.#names = table.columns.map((column) => column.name);
    this.#prefixes = this.#names.map((name) => `${JSON.stringify(name)}:`);
    this.#codecs = table.columns.map((column) => CODECS[column.codec]);
  }

  /** `"id":"1","status":"paid"`: the given columns, without braces. */
  members(cells: Cells, columns: readonly number[]): string {
    let json = "";
    for (let i = 0; i < columns.length; i++) {
      const column = columns[i]!;
      if (i > 0) json += ",";
      const cell = cells[column];
      json += this.#prefixes[column]!;
      json += cell === null || cell === undefined ? "null" : this.#codecs[column]!.toJson(cell);
    }
    return json;
  }

  /** `"status":"paid"`: one column. */
  member(cells: Cells, column: number): string {
    return this.#prefixes[column]! + cellToJson(this.#codecs[column]!, cells[column]);
  }

  /** The row as a user's function sees it: JSON values by column name. */
  object(cells: Cells): Record<string, unknown> {
    const row: Record<string, unknown> = {};
    for (let i = 0; i < this.#names.length; i++) {
      row[this.#names[i]!] = JSON.parse(cellToJson(this.#codecs[i]!, cells[i])) as unknown;
    }
    return row;
  }

  /** A JSON value as canonical text of that column. */
  cell(column: number, value: unknown): string | null {
    return cellFromJson(this.#codecs[column]!, value);
  }
}
