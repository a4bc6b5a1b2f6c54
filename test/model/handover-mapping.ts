import { isChunked, type Image, type Images } from "./handover-state.ts";
import { ROOT, type ModelChange, type Scenario } from "./handover-scenario.ts";
import { child, stream, table } from "../../src/mapping/rules.ts";
import { decodeImage, encodeImage } from "../../src/mapping/row-images.ts";
import type { RowChange } from "../../src/model/change.ts";
import type { Cells, SourceTable } from "../../src/model/table.ts";
import { change, compile, shape } from "../support/mapping-fixtures.ts";

export const STREAM_TYPE = "order";

/** The tables of a scenario, and a mapping for them as the product compiles one. */
export class ModelTables {
  readonly mapping;
  readonly #orders: SourceTable;
  readonly #lines: SourceTable;
  readonly #scenario: Scenario;

  constructor(scenario: Scenario) {
    const { identity } = scenario;
    this.#scenario = scenario;
    this.#orders = shape("public.orders", "*id:int4 value:int4", identity);
    this.#lines = shape("public.lines", "*id:int4 order_id:int4 value:int4", identity);
    const order = stream(table("orders"), {
      children: { lines: child(table("lines"), { order_id: "id" }) },
      otherwise: "OrderAmended",
    });
    this.mapping = compile({ [STREAM_TYPE]: order }, [this.#orders, this.#lines]);
  }

  /** Names of the tables that join; undefined where all is read. */
  get joining(): readonly string[] | undefined {
    return isChunked(ROOT, this.#scenario) ? undefined : [this.#lines.name];
  }

  /** What the log tells of a change. @param old value of the row before */
  logged({ row, from, to }: ModelChange, by: number, old: number): RowChange {
    const isRoot = row === ROOT;
    const shapeOf = isRoot ? this.#orders : this.#lines;
    const cells = (key: number, value: number): Cells =>
      isRoot ? [String(key), String(value)] : ["1", String(key), String(value)];
    const after = to === undefined ? undefined : cells(to, by + 1);
    if (from === undefined) return change("insert", shapeOf, 1, undefined, after);
    const kind = to === undefined ? "delete" : "update";
    const whole = cells(from, old);
    if (this.#scenario.identity === "full") return change(kind, shapeOf, 1, whole, after);
    // The old key, and only where it is not the new one.
    const isKeyTold = kind === "delete" || (isRoot && from !== to);
    const before = isKeyTold ? whole.map((cell, i) => (i === 0 ? cell : undefined)) : undefined;
    return change(kind, shapeOf, 1, before, after);
  }

  /** The row, its root and its value in an image. */
  rowOf(
    name: string,
    cells: Cells,
  ): { readonly row: string; readonly key: number; readonly value: number } {
    const isRoot = name === this.#orders.name;
    const [key, value] = (isRoot ? cells : cells.slice(1)).map(Number);
    return { row: isRoot ? ROOT : "line", key: key!, value: value! };
  }

  /** Name of a row's image in the model, by its name in the product. */
  imageName(name: string, key: string): string {
    return name === this.#orders.name ? `${ROOT} ${key}` : "line";
  }

  lookUp(images: Images, name: string, keys: readonly string[]): (string | undefined)[] {
    const isRoot = name === this.#orders.name;
    return keys.map((key) => {
      const image = images[this.imageName(name, key)];
      if (image === undefined) return undefined;
      const cells = [...(isRoot ? [] : ["1"]), ...image.map(String)];
      return encodeImage(isRoot ? this.#orders : this.#lines, cells);
    });
  }

  imageOf(name: string, image: string): Image {
    const isRoot = name === this.#orders.name;
    const columns = this.mapping.columnsOf(isRoot ? this.#orders : this.#lines);
    const { key, value } = this.rowOf(name, decodeImage(columns, image));
    return [key, value];
  }
}
