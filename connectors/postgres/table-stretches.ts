import { setTimeout as sleep } from "node:timers/promises";
import { BanyanError } from "../../src/model/errors.ts";
import type { SourceTable } from "../../src/model/table.ts";
import type { SnapshotRows, TableFile } from "./snapshot-rows.ts";

/** How long a stretch should take. */
const STRETCH_MS = 500;
const PAGES_FIRST = 2_000;
const PAGES_MIN = 500;
const PAGES_MAX = 64_000;
/** Readers of a table while the server has nothing else to do. */
const READERS_MAX = 2;
/** While others are at work the one reader rests so many times as long as it read. */
const REST_WHILE_BUSY = 1.5;

/** Which rows to read: those of a table, or of one of its partitions, for which a condition holds. */
export interface Stretch {
  readonly from: string;
  readonly where: string;
}

/**
 * Reads a table in stretches of its file, of a partitioned one in those of its partitions: two at once
 * while nobody else is at work, else one at a time with rests, so that the application's own work is held
 * up little. A small table is read in one.
 *
 * @param isBusy whether others are at work in the server, or may be
 */
export async function eachStretch(
  rows: SnapshotRows,
  table: SourceTable,
  isBusy: () => Promise<boolean>,
  read: (stretch: Stretch) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const files = await rows.files(table);
  const pages = files?.reduce((sum, file) => sum + file.pages, 0) ?? 0;
  // The planner makes no parallel scan of it, because it takes every row for a group of its own.
  if (files === undefined || pages <= PAGES_FIRST)
    return await read({ from: rows.from(table), where: "true" });
  const stretches = new Stretches(files);
  let size = PAGES_FIRST;
  let busy = await isBusy();
  const reader = async (number: number): Promise<void> => {
    while (!stretches.isDone) {
      signal.throwIfAborted();
      if (number > 0 && busy) {
        await sleep(STRETCH_MS / 2, undefined, { signal });
        continue;
      }
      const stretch = stretches.take(size);
      const startedMs = performance.now();
      try {
        await read(stretch);
      } catch (error) {
        throw files.length > 1 ? partitionGone(error, table) : error;
      }
      const tookMs = performance.now() - startedMs;
      const wanted = Math.round((stretch.pages * STRETCH_MS) / Math.max(1, tookMs));
      // The end of a file, or a small one, says little.
      if (stretch.pages >= Math.min(size, PAGES_MIN))
        size = Math.min(PAGES_MAX, Math.max(PAGES_MIN, Math.min(wanted, size * 2)));
      if (stretches.isDone) return;
      busy = await isBusy();
      if (busy) await sleep(tookMs * REST_WHILE_BUSY, undefined, { signal });
    }
  };
  await Promise.all(Array.from({ length: READERS_MAX }, (_, number) => reader(number)));
}

/** Hands out one file after the other, from its first page on. */
class Stretches {
  readonly #files: readonly TableFile[];
  #file = 0;
  #page = 0;

  constructor(files: readonly TableFile[]) {
    this.#files = files;
  }

  get isDone(): boolean {
    return this.#file >= this.#files.length;
  }

  take(size: number): Stretch & { readonly pages: number } {
    const { from, pages } = this.#files[this.#file]!;
    const first = this.#page;
    const next = first + size;
    const begin = `ctid >= '(${first},0)'`;
    if (next < pages) {
      this.#page = next;
      return { from, where: `${begin} AND ctid < '(${next},0)'`, pages: size };
    }
    this.#file += 1;
    this.#page = 0;
    // To the end of the file, wherever that is by now.
    return { from, where: first === 0 ? "true" : begin, pages: pages - first };
  }
}

/** The next attempt finds the partitions that there are by then. */
function partitionGone(error: unknown, table: SourceTable): unknown {
  if (!(error instanceof BanyanError) || error.code !== "TABLE_MISSING") return error;
  const message = `a partition of ${table.name} was dropped or renamed while it was read`;
  const hint = "It is tried again.";
  return new BanyanError("SOURCE_UNREACHABLE", message, { cause: error, hint });
}
