import type { FoldSums } from "../store/parity-store.ts";

/** Folds that take the place of those that are kept. */
export class Overlay {
  readonly folded = new Set<string>();
  replaced: readonly FoldSums[] = [];
  readonly #pages: FoldSums[] = [];

  add(page: FoldSums): void {
    for (const stream of page.folded) this.folded.add(stream);
    this.#pages.push(page);
  }

  /** What changes by it in one role. */
  apply(role: number, change: (key: bigint, count: number, sum: bigint) => void): void {
    for (const { roles, keys, counts, sums } of this.replaced) {
      for (let i = 0; i < roles.length; i++)
        if (roles[i] === role) change(keys[i]!, -counts[i]!, -sums[i]!);
    }
    this.each(role, (_stream, key, count, sum) => change(key, count, sum));
  }

  each(
    role: number,
    visit: (stream: string, key: bigint, count: number, sum: bigint) => void,
  ): void {
    for (const { streams, roles, keys, counts, sums } of this.#pages) {
      for (let i = 0; i < roles.length; i++)
        if (roles[i] === role) visit(streams[i]!, keys[i]!, counts[i]!, sums[i]!);
    }
  }
}
