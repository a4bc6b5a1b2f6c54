import type { SomeBuckets } from "../model/buckets.ts";
import type { Cell } from "../model/cell.ts";
import { isDecimal, trimScale, type Cells, type SourceTable } from "../model/table.ts";
import { joinHalves, TextHash } from "../model/text-hash.ts";

/** How the rows of a table are summed up. */
export interface RowHashPlan {
  /** Columns that say which aggregate a row belongs to: the root's key, or the child's foreign key. */
  readonly key: readonly number[];
  /** A power of two. Aggregates are spread over so many buckets by the hash of their key. */
  readonly buckets: number;
}

/** By bucket: how many rows, and the sum of their hashes, of which the lowest 64 bits count. */
export interface BucketSums {
  readonly counts: Float64Array;
  readonly sums: BigInt64Array;
}

export interface AggregateSum {
  /** By the columns of `plan.key`. */
  readonly key: readonly Cell[];
  readonly count: number;
  readonly sum: bigint;
}

/** Between the columns of a row; a control character that stands for just that. */
export const SEPARATOR = "\x1f";

/** Columns beyond so many are put together in groups of so many: a server takes only so many at once. */
export const COLUMNS_PER_GROUP = 80;
/** Columns per number that tells which are NULL. */
export const NULLS_PER_MASK = 30;

/**
 * Hashes rows as a source does in SQL, for what is not in the source and for sources that cannot.
 *
 * A row's text is the canonical text of its columns that are not NULL, then numbers that tell which of
 * those that may be NULL are, all with {@link SEPARATOR} between. An aggregate's key is its columns' text
 * with separators between; NULL is empty there, because it need only find its bucket.
 */
export class RowHash {
  readonly #hash = new TextHash();
  readonly #nullable: readonly number[];
  readonly #key: readonly number[];
  readonly #decimals: ReadonlySet<number>;

  constructor(table: SourceTable, key: readonly number[]) {
    this.#nullable = nullableColumns(table);
    this.#key = key;
    this.#decimals = new Set(key.filter((column) => isDecimal(table.columns[column]!.type)));
  }

  row(cells: Cells): TextHash {
    let text = "";
    if (cells.length <= COLUMNS_PER_GROUP) {
      for (const cell of cells) if (cell !== null && cell !== undefined) text += cell + SEPARATOR;
    } else {
      for (let at = 0; at < cells.length; at += COLUMNS_PER_GROUP) {
        const group = cells.slice(at, at + COLUMNS_PER_GROUP);
        text +=
          group.filter((cell) => cell !== null && cell !== undefined).join(SEPARATOR) + SEPARATOR;
      }
    }
    return this.#hash.of(text + this.#masks(cells));
  }

  #masks(cells: Cells): string {
    const nullable = this.#nullable;
    let text = "";
    let mask = 0;
    for (let i = 0; i < nullable.length; i++) {
      if (i > 0 && i % NULLS_PER_MASK === 0) {
        text += mask + SEPARATOR;
        mask = 0;
      }
      if ((cells[nullable[i]!] ?? null) === null) mask |= 1 << (i % NULLS_PER_MASK);
    }
    return text + mask;
  }

  /** Only the columns of the key are looked at. */
  key(cells: Cells): TextHash {
    let text = this.#keyPart(cells, 0);
    for (let i = 1; i < this.#key.length; i++) text += SEPARATOR + this.#keyPart(cells, i);
    return this.#hash.of(text);
  }

  #keyPart(cells: Cells, i: number): string {
    const column = this.#key[i]!;
    const cell = cells[column] ?? "";
    return this.#decimals.has(column) ? trimScale(cell) : cell;
  }
}

/** Columns that may be NULL, which is told behind the row's text. */
export function nullableColumns({ columns }: SourceTable): readonly number[] {
  return columns.flatMap(({ nullable }, i) => (nullable ? [i] : []));
}

export function emptySums(buckets: number): BucketSums {
  return { counts: new Float64Array(buckets), sums: new BigInt64Array(buckets) };
}

type Rows = AsyncIterable<readonly Cells[]>;

/** Sums up rows that were read. */
export async function sumHere(
  rows: Rows,
  table: SourceTable,
  plan: RowHashPlan,
  within?: SomeBuckets,
): Promise<BucketSums> {
  const sums = emptySums(plan.buckets);
  const hash = new RowHash(table, plan.key);
  const wanted = within && new Set(within.wanted);
  for await (const group of rows) {
    for (const cells of group) {
      const key = hash.key(cells).low;
      if (wanted?.has(key & (within!.buckets - 1)) === false) continue;
      const bucket = key & (plan.buckets - 1);
      sums.counts[bucket]! += 1;
      const { high, low } = hash.row(cells);
      sums.sums[bucket]! += joinHalves(high, low);
    }
  }
  return sums;
}

/** The same by aggregate, for the rows of some of the buckets. */
export async function aggregatesHere(
  rows: Rows,
  table: SourceTable,
  plan: RowHashPlan,
  buckets: readonly number[],
): Promise<readonly AggregateSum[]> {
  const wanted = new Set(buckets);
  const hash = new RowHash(table, plan.key);
  const found = new Map<string, { key: readonly Cell[]; count: number; sum: bigint }>();
  for await (const group of rows) {
    for (const cells of group) {
      if (!wanted.has(hash.key(cells).low & (plan.buckets - 1))) continue;
      const key = plan.key.map((column) => cells[column]);
      const id = JSON.stringify(key);
      let aggregate = found.get(id);
      if (aggregate === undefined) found.set(id, (aggregate = { key, count: 0, sum: 0n }));
      const { high, low } = hash.row(cells);
      aggregate.count += 1;
      aggregate.sum = BigInt.asIntN(64, aggregate.sum + joinHalves(high, low));
    }
  }
  return [...found.values()];
}
