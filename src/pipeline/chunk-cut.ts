import type { MergedAggregate } from "./merge-children.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import type { ChunkKey } from "../source/change-source.ts";

/**
 * Ends a chunk before the end that was meant for it: behind the last whole aggregate that was read when
 * it has taken long enough. What one aggregate takes cannot be divided, nor what the rows take whose key
 * has a NULL.
 */
export class ChunkCut {
  readonly #nowMs: () => number;
  readonly #msMax: number;
  #aggregates = 0;
  #key: ChunkKey | undefined;

  /**
   * @param nowMs how long the chunk has been read
   * @param msMax when that is enough; 0 for one aggregate alone
   */
  constructor(nowMs: () => number, msMax: number) {
    this.#nowMs = nowMs;
    this.#msMax = msMax;
  }

  /** Root's key of the last aggregate, where the chunk was cut; undefined where it was read to its end. */
  get key(): ChunkKey | undefined {
    return this.#key;
  }

  /** Aggregates that were read whole. */
  get aggregates(): number {
    return this.#aggregates;
  }

  /** The aggregates up to where the chunk is cut. Whatever is behind is not read. */
  async *upTo(
    groups: AsyncIterable<readonly MergedAggregate[]>,
    mappers: readonly TableMapper[],
  ): AsyncGenerator<readonly MergedAggregate[], void, void> {
    let lastKey: ChunkKey | undefined;
    // Such rows lie behind all others, and may come in between: where they do, nothing lies behind.
    let hasNull = false;
    // A group was read at once: to leave out a part of the first would be to read it again and again.
    let isBetween = false;
    for await (const group of groups) {
      for (const [i, aggregate] of group.entries()) {
        if (!aggregate.continues) {
          const mayEnd = lastKey !== undefined && (isBetween || this.#msMax === 0);
          if (mayEnd && this.#isDue()) {
            this.#key = lastKey;
            if (i > 0) yield group.slice(0, i);
            return;
          }
          isBetween = false;
          this.#aggregates += 1;
          const key = keyOf(mappers, aggregate);
          hasNull ||= key.includes(null);
          lastKey = hasNull ? undefined : (key as ChunkKey);
        }
      }
      yield group;
      isBetween = true;
    }
  }

  #isDue(): boolean {
    return this.#nowMs() > this.#msMax;
  }
}

/** By a row of its root, or of one that belongs to it. */
function keyOf(
  mappers: readonly TableMapper[],
  { root, children }: MergedAggregate,
): readonly (string | null)[] {
  const child = children.findIndex(({ length }) => length > 0);
  const cells = root ?? children[child]![0]!;
  const { streamColumns } = mappers[root === undefined ? child + 1 : 0]!.parts;
  return streamColumns.map((column) => cells[column] ?? null);
}
