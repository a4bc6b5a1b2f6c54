import type { TableMapper } from "../mapping/table-mapper.ts";
import { invariant } from "../model/errors.ts";
import type { Cells } from "../model/table.ts";
import type { OrderColumn, RowSnapshot } from "../source/change-source.ts";
import { commonOrder, compareKeyTexts } from "../source/key-order.ts";

/** The rows of one aggregate. `children` has an entry per child table, in the order of the mappers. */
export interface MergedAggregate {
  /** Absent when child rows refer to a root row that does not exist, and in a further part. */
  readonly root: Cells | undefined;
  readonly children: readonly (readonly Cells[])[];
  /** True for more rows of the aggregate before, which is too large to be in memory at once. */
  readonly continues: boolean;
}

/** Aggregates per group, and the length of their text at which a group is full before that. */
const GROUP_SIZE = 500;
const GROUP_LENGTH_MAX = 4 * 1024 * 1024;
/** Length of an aggregate's text at which it goes on in a further part. */
const PART_LENGTH_MAX = 1024 * 1024;

/**
 * Reads a root table and its child tables, each in the order of the root's key, and merges them by
 * that key: whole aggregates, in memory only those of a group, and of a large one only a part.
 *
 * @param mappers of the root, then of the children
 */
export async function* mergeChildren(
  snapshot: Pick<RowSnapshot, "readRows">,
  mappers: readonly TableMapper[],
  signal: AbortSignal,
): AsyncGenerator<readonly MergedAggregate[], void, void> {
  const [root, ...children] = mappers;
  if (children.length === 0) {
    for await (const rows of snapshot.readRows(root!.table, [], signal)) {
      yield rows.map((row) => ({ root: row, children: [], continues: false }));
    }
    return;
  }
  const orders = orderPerColumn(mappers);
  const cursors = mappers.map((mapper) => new Cursor(snapshot, mapper, orders, signal));
  try {
    await Promise.all(cursors.map((cursor) => cursor.advance()));
    let group: MergedAggregate[] = [];
    let groupLength = 0;
    let last: readonly (string | null)[] | undefined;
    for (;;) {
      const key = smallestKey(cursors, orders);
      if (key === undefined) break;
      const room = { length: PART_LENGTH_MAX };
      const taken: Cells[][] = [];
      for (const cursor of cursors) taken.push(await cursor.takeEqual(key, orders, room));
      const [roots, ...rest] = taken;
      invariant(roots!.length <= 1, `two rows of ${root!.table.name} have one key`);
      const continues = last !== undefined && compareKeyTexts(last, key, orders) === 0;
      group.push({ root: roots![0], children: rest, continues });
      last = key;
      groupLength += PART_LENGTH_MAX - room.length;
      if (group.length < GROUP_SIZE && groupLength < GROUP_LENGTH_MAX) continue;
      yield group;
      group = [];
      groupLength = 0;
    }
    if (group.length > 0) yield group;
  } finally {
    await Promise.all(cursors.map((cursor) => cursor.close()));
  }
}

/** The stream of an aggregate: as the root names it, else as the child rows name the root that is not there. */
export function streamOfAggregate(
  mappers: readonly TableMapper[],
  { root, children }: Pick<MergedAggregate, "root" | "children">,
): string {
  if (root !== undefined) return mappers[0]!.streamOf(root);
  const child = children.findIndex(({ length }) => length > 0);
  return mappers[child + 1]!.streamOf(children[child]![0]!);
}

type Order = OrderColumn["as"];

/** One order per key column that all tables can follow. */
function orderPerColumn(mappers: readonly TableMapper[]): readonly Order[] {
  return mappers[0]!.parts.streamColumns.map((_, i) =>
    commonOrder(mappers.map(({ table, parts }) => table.columns[parts.streamColumns[i]!]!.type)),
  );
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
    snapshot: Pick<RowSnapshot, "readRows">,
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

  /** Takes the rows that have this key, as long as there is room. */
  async takeEqual(
    key: readonly (string | null)[],
    orders: readonly Order[],
    room: { length: number },
  ): Promise<Cells[]> {
    const rows: Cells[] = [];
    while (
      room.length > 0 &&
      this.key !== undefined &&
      compareKeyTexts(this.key, key, orders) === 0
    ) {
      const row = this.#rows[this.#index]!;
      rows.push(row);
      room.length -= lengthOf(row);
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

/** At least 1, so that rows of nothing take room too. */
function lengthOf(cells: Cells): number {
  let length = 1;
  for (const cell of cells) length += cell?.length ?? 0;
  return length;
}
