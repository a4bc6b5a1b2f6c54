import { setTimeout as sleep } from "node:timers/promises";
import type { SourceTable } from "../../src/model/table.ts";
import type { SnapshotRows } from "./snapshot-rows.ts";

/** How long a stretch should take. */
const STRETCH_MS = 500;
const PAGES_FIRST = 2_000;
const PAGES_MIN = 500;
const PAGES_MAX = 64_000;
/** Readers of a table while the server has nothing else to do. */
const READERS_MAX = 2;
/** While others are at work the one reader rests so many times as long as it read. */
const REST_WHILE_BUSY = 1.5;

/**
 * Reads a table in stretches of its file: two at once while nobody else is at work, else one at a time
 * with rests, so that the application's own work is held up little. A small table is read in one.
 *
 * @param isBusy whether others are at work in the server, or may be
 * @param read reads the rows for which a condition holds
 */
export async function eachStretch(
  rows: SnapshotRows,
  table: SourceTable,
  isBusy: () => Promise<boolean>,
  read: (where: string) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const pages = await rows.pages(table);
  // The planner makes no parallel scan of it, because it takes every row for a group of its own.
  if (pages === undefined || pages <= PAGES_FIRST) return await read("true");
  let next = 0;
  let size = PAGES_FIRST;
  let busy = await isBusy();
  const reader = async (number: number): Promise<void> => {
    while (next < pages) {
      signal.throwIfAborted();
      if (number > 0 && busy) {
        await sleep(STRETCH_MS / 2, undefined, { signal });
        continue;
      }
      const from = next;
      next += size;
      const where = `ctid >= '(${from},0)'`;
      const startedMs = performance.now();
      await read(next < pages ? `${where} AND ctid < '(${next},0)'` : where);
      const tookMs = performance.now() - startedMs;
      const wanted = Math.round((size * STRETCH_MS) / Math.max(1, tookMs));
      size = Math.min(PAGES_MAX, Math.max(PAGES_MIN, Math.min(wanted, size * 2)));
      if (next >= pages) return;
      busy = await isBusy();
      if (busy) await sleep(tookMs * REST_WHILE_BUSY, undefined, { signal });
    }
  };
  await Promise.all(Array.from({ length: READERS_MAX }, (_, number) => reader(number)));
}
