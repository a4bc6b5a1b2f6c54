import { invariant } from "../model/errors.ts";
import type { ChunkKey, OrderColumn } from "../source/change-source.ts";
import { compareKeyTexts } from "../source/key-order.ts";

/**
 * What becomes of one side of a change, by the aggregate that its row belongs to.
 *
 * - `told`: it is mapped.
 * - `held`: the baseline of the aggregate was read after the change, and holds it: left out.
 * - `unread`: the aggregate has yet to be read, by a snapshot that will see the change: left out, but
 *   not before the transaction is visible to new snapshots.
 * - `waits`: the aggregate is being read by a snapshot that does not see the change: neither told nor
 *   left out before that chunk is durable.
 */
export type Verdict = "told" | "held" | "unread" | "waits";

/** What a verdict depends on of a transaction. */
export interface Committed {
  readonly id: string;
  /** 16 hexadecimal digits, see `SourceTransaction.commit`. */
  readonly commit: string;
}

/** Aggregates that were read under one snapshot. */
export interface ReadChunk {
  /** Whether the snapshot sees a transaction. */
  readonly sees: (transaction: string) => boolean;
  /** Commits from here on are not seen by it. 16 hexadecimal digits. */
  readonly fence: string;
}

/** A chunk of a baseline; it begins where the one before ends. */
export interface RangeChunk extends ReadChunk {
  /** The last key in it; undefined for the last chunk, which has no end. */
  readonly end: ChunkKey | undefined;
}

type Key = readonly (string | null)[];
type Range = RangeChunk & { isDurable: boolean };
type Reading = "opening" | (ReadChunk & { end: ChunkKey | undefined; isBounded: boolean });
/**
 * How far the baseline of one stream type has come, and what that means for a change: the one place
 * that decides whether the log tells something that a chunk holds, or a chunk misses what the log told.
 *
 * Chunks are read in the order of the root's key, one after the other, so there is one place up to
 * which all is read. Decisions hold: whatever is decided of a change stays right when the baseline goes
 * on or an unfinished chunk is given up, as long as a transaction that is left out as `unread` was
 * visible before the next snapshot was asked for.
 */
export class ChunkFrontier {
  readonly #order: readonly OrderColumn["as"][];
  readonly #isImaged: (table: string) => boolean;
  /** Finished chunks whose fence the log has not passed, in key order. */
  readonly #chunks: Range[];
  /** Up to this key all is told; "none" and "all" are the two ends. */
  #told: ChunkKey | "none" | "all";
  #reading: Reading | undefined;
  /** What read a stream anew last, by stream, until the log has passed its fence. */
  readonly #refreshed = new Map<string, ReadChunk>();
  /** The same by snapshot, in the order of their fences. */
  readonly #refreshes: { readonly chunk: ReadChunk; readonly streams: readonly string[] }[] = [];

  /**
   * @param order of the root's key columns
   * @param told where a baseline stands that an earlier run began, before `chunks`
   * @param isImaged whether images of a table's rows were kept of all that was told
   */
  constructor(
    order: readonly OrderColumn["as"][],
    told: ChunkKey | "none" | "all",
    chunks: readonly RangeChunk[] = [],
    isImaged: (table: string) => boolean = () => false,
  ) {
    this.#order = order;
    this.#isImaged = isImaged;
    this.#told = told;
    this.#chunks = chunks.map((chunk) => ({ ...chunk, isDurable: true }));
  }

  /** Whether there is nothing left that a change could meet. */
  get isIdle(): boolean {
    return (
      this.#told === "all" &&
      this.#chunks.length === 0 &&
      this.#reading === undefined &&
      this.#refreshes.length === 0
    );
  }

  /** Whether a chunk is being read, or written and not yet durable. */
  get isBusy(): boolean {
    return this.#reading !== undefined || this.#chunks.some(({ isDurable }) => !isDurable);
  }

  /** Where the next chunk begins: behind this key; "none" for the first one, "all" when none is left. */
  get cursor(): ChunkKey | "none" | "all" {
    const last = this.#chunks.at(-1);
    return last === undefined ? this.#told : (last.end ?? "all");
  }

  /** Finished chunks that a change may still meet, to be kept beside the cursor. */
  get recent(): readonly RangeChunk[] {
    return this.#chunks;
  }

  /** Where all is told, before the chunks of {@link recent}. */
  get told(): ChunkKey | "none" | "all" {
    return this.#told;
  }

  /**
   * @param key of the root, by its key columns; one with a NULL lies behind all that have none
   * @param streamOf the stream of that key, asked for only where streams were read anew
   * @param isAdmitted that the transaction was judged before, and was visible if that mattered: whatever
   *   is opened since then sees it
   */
  verdict(transaction: Committed, key: Key, streamOf: () => string, isAdmitted = false): Verdict {
    const verdict = this.#ranged(transaction, key, isAdmitted);
    if (verdict !== "told" || this.#refreshed.size === 0) return verdict;
    const refresh = this.#refreshed.get(streamOf());
    return refresh !== undefined && isSeenBy(refresh, transaction) ? "held" : "told";
  }

  #ranged(transaction: Committed, key: Key, isAdmitted: boolean): Verdict {
    if (this.#told === "all") return "told";
    if (this.#told !== "none" && this.#isUpTo(key, this.#told)) return "told";
    for (const chunk of this.#chunks) {
      if (chunk.end !== undefined && !this.#isUpTo(key, chunk.end)) continue;
      if (isSeenBy(chunk, transaction)) return "held";
      return chunk.isDurable ? "told" : "waits";
    }
    const reading = this.#reading;
    if (reading === undefined) return "unread";
    if (reading === "opening") return isAdmitted ? "unread" : "waits";
    if (isSeenBy(reading, transaction)) return "unread";
    const isBeyond =
      reading.isBounded && reading.end !== undefined && !this.#isUpTo(key, reading.end);
    return isBeyond ? "unread" : "waits";
  }

  /**
   * Whether a change of the type must wait although the log does not say which aggregate it concerns:
   * that may be one which is being read.
   */
  mayWait(transaction: Committed): boolean {
    const reading = this.#reading;
    if (reading === "opening") return true;
    if (reading !== undefined && !isSeenBy(reading, transaction)) return true;
    return this.#chunks.some((chunk) => !chunk.isDurable && !isSeenBy(chunk, transaction));
  }

  /** Whether anything at all is told of a transaction: of a TRUNCATE, which concerns all aggregates. */
  tellsAnyOf(transaction: Committed): boolean {
    return this.#told !== "none" || this.#chunks.some((chunk) => !isSeenBy(chunk, transaction));
  }

  /**
   * Whether a row of a table that has no image may be told all the same: that of a table whose images
   * were not kept from the first chunk on, unless nothing at all is told of the transaction.
   */
  mayBeTold(transaction: Committed, table: string): boolean {
    return !this.#isImaged(table) && this.tellsAnyOf(transaction);
  }

  /** Called before a snapshot is asked for: what it will see is not known until {@link opened}. */
  opening(): void {
    invariant(this.#reading === undefined, "one chunk of a stream type is read at a time");
    invariant(this.cursor !== "all", "there is nothing left to be read");
    this.#reading = "opening";
  }

  opened(chunk: ReadChunk): void {
    invariant(this.#reading === "opening", "a chunk is opened once");
    this.#reading = { ...chunk, end: undefined, isBounded: false };
  }

  /**
   * Said again, it lowers the end: what is behind it is yet to be read then, as if the end had not been
   * known before.
   *
   * @param end undefined for the last chunk
   */
  bounded(end: ChunkKey | undefined): void {
    const reading = this.#reading;
    invariant(reading !== undefined && reading !== "opening", "a chunk is opened first");
    const isNoHigher =
      reading.end === undefined || (end !== undefined && this.#isUpTo(end, reading.end));
    invariant(isNoHigher, "the end of a chunk is not raised");
    Object.assign(reading, { end, isBounded: true });
  }

  /** All of the chunk is on its way to the store. @returns to be called once it is durable */
  written(): () => void {
    const reading = this.#reading;
    invariant(reading !== undefined && reading !== "opening" && reading.isBounded, "it was read");
    const { end, sees, fence } = reading;
    const range: Range = { end, sees, fence, isDurable: false };
    this.#chunks.push(range);
    this.#reading = undefined;
    return () => {
      range.isDurable = true;
    };
  }

  /** The chunk is read again, or not at all; nothing of it was written. */
  abandoned(): void {
    this.#reading = undefined;
  }

  /**
   * Streams were read anew under one snapshot, while nothing was taken from the log, and all of that is
   * about to be durable. Snapshots come in the order in which they were taken: a later one sees all that
   * the ones before saw.
   */
  refreshed(chunk: ReadChunk, streams: readonly string[]): void {
    this.#refreshes.push({ chunk, streams });
    for (const stream of streams) this.#refreshed.set(stream, chunk);
  }

  /** All that committed before is decided about. @param commit 16 hexadecimal digits */
  passed(commit: string): void {
    for (let first = this.#chunks[0]; first?.isDurable === true; first = this.#chunks[0]) {
      if (first.fence > commit) break;
      this.#told = first.end ?? "all";
      this.#chunks.shift();
    }
    for (let first = this.#refreshes[0]; first !== undefined; first = this.#refreshes[0]) {
      const { chunk, streams } = first;
      if (chunk.fence > commit) break;
      for (const stream of streams)
        if (this.#refreshed.get(stream) === chunk) this.#refreshed.delete(stream);
      this.#refreshes.shift();
    }
  }

  #isUpTo(key: Key, end: ChunkKey): boolean {
    return !key.includes(null) && compareKeyTexts(key, end, this.#order) <= 0;
  }
}

/** Whether the snapshot of a chunk holds what a transaction did. */
function isSeenBy({ sees, fence }: ReadChunk, { id, commit }: Committed): boolean {
  return commit < fence && sees(id);
}
