import type { TableMapper } from "../mapping/table-mapper.ts";
import { invariant } from "../model/errors.ts";
import type { Cells } from "../model/table.ts";
import type { OrderColumn, RowSnapshot } from "../source/change-source.ts";
import { compareKeyTexts, orderOf } from "../source/key-order.ts";

/** The rows of one aggregate. `children` has an entry per child table, in the order of the mappers. */
export interface MergedAggregate {
  /** Absent when child rows refer to a root row that does not exist. */
  readonly root: Cells | undefined;
  readonly children: readonly (readonly Cells[])[];
}

const GROUP_SIZE = 500;

/**
 * Reads a root table and its child tables, each in the order of the root's key, and merges them by
 * that key: whole aggregates, in memory only the one at hand.
 *
 * @param mappers of the root, then of the children
 */
export async function* mergeChildren(
  snapshot: RowSnapshot,
  mappers: readonly TableMapper[],
  signal: AbortSignal,
): AsyncGenerator<readonly MergedAggregate[], void, void> {
  const [root, ...children] = mappers;
  if (children.length === 0) {
    for await (const rows of snapshot.readRows(root!.table, [], signal)) {
      yield rows.map((row) => ({ root: row, children: [] }));
    }
    return;
  }
  const orders = orderPerColumn(mappers);
  const cursors = mappers.map((mapper) => new Cursor(snapshot, mapper, orders, signal));
  try {
    await Promise.all(cursors.map((cursor) => cursor.advance()));
    let group: MergedAggregate[] = [];
    for (;;) {
      const key = smallestKey(cursors, orders);
      if (key === undefined) break;
      const taken: Cells[][] = [];
      for (const cursor of cursors) taken.push(await cursor.takeEqual(key, orders));
      const [roots, ...rest] = taken;
      invariant(roots!.length <= 1, `two rows of ${root!.table.name} have one key`);
      group.push({ root: roots![0], children: rest });
      if (group.length < GROUP_SIZE) continue;
      yield group;
      group = [];
    }
    if (group.length > 0) yield group;
  } finally {
    await Promise.all(cursors.map((cursor) => cursor.close()));
  }
}

type Order = OrderColumn["as"];

/** One order per key column that all tables can follow: numbers as such only where they are numbers everywhere. */
function orderPerColumn(mappers: readonly TableMapper[]): readonly Order[] {
  return mappers[0]!.parts.streamColumns.map((_, i) => {
    const types = mappers.map(({ table, parts }) => table.columns[parts.streamColumns[i]!]!.type);
    const orders = new Set(types.map(orderOf));
    if (orders.has("bytes")) return "bytes";
    return orders.has("decimal") ? "decimal" : "integer";
  });
}

function smallestKey(
  cursors: readonly Cursor[],
  orders: readonly Order[],
): readonly (string | null)[] | undefined {
  let smallest: readonly (string | null)[] | undefined;
  for (const { key } of cursors) {
    if (key === undefined) continue;
    if (smallest === undefined || compareKeyTexts(key, smallest, orders) < 0) smallest = key;
  }
  return smallest;
}

/** Reads one table in key order, a group at a time. */
class Cursor {
  /** Key of the row at hand; undefined at the end. */
  key: readonly (string | null)[] | undefined;
  readonly #columns: readonly number[];
  readonly #groups: AsyncIterator<readonly Cells[]>;
  #rows: readonly Cells[] = [];
  #index = 0;

  constructor(
    snapshot: RowSnapshot,
    mapper: TableMapper,
    orders: readonly Order[],
    signal: AbortSignal,
  ) {
    this.#columns = mapper.parts.streamColumns;
    const orderBy = this.#columns.map((column, i) => ({ column, as: orders[i]! }));
    this.#groups = snapshot.readRows(mapper.table, orderBy, signal)[Symbol.asyncIterator]();
  }

  /** Fetches the next group when the present one is used up. */
  async advance(): Promise<void> {
    while (this.#index >= this.#rows.length) {
      const next = await this.#groups.next();
      if (next.done === true) {
        this.key = undefined;
        return;
      }
      this.#rows = next.value;
      this.#index = 0;
    }
    this.#setKey();
  }

  /** Takes all rows that have this key. */
  async takeEqual(key: readonly (string | null)[], orders: readonly Order[]): Promise<Cells[]> {
    const rows: Cells[] = [];
    while (this.key !== undefined && compareKeyTexts(this.key, key, orders) === 0) {
      rows.push(this.#rows[this.#index]!);
      this.#index += 1;
      if (this.#index < this.#rows.length) this.#setKey();
      else await this.advance();
    }
    return rows;
  }

  async close(): Promise<void> {
    await this.#groups.return?.();
  }

  #setKey(): void {
    const row = this.#rows[this.#index]!;
    this.key = this.#columns.map((column) => row[column] ?? null);
  }
}
