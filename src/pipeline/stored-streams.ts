import { keyFault } from "../mapping/canonical-key.ts";
import { keyOfStream } from "../mapping/stream-id.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import type { ChunkKey, OrderColumn } from "../source/change-source.ts";
import { compareKeyTexts } from "../source/key-order.ts";
import { eachStream } from "../store/each-stream.ts";
import type { EventStore, ListedStream } from "../store/event-store.ts";

/** Streams in memory at once; twice as many while they are gathered. */
const STREAMS_MAX = 500_000;

interface Keyed extends ListedStream {
  readonly key: ChunkKey;
}

export interface StoredStreamsOptions {
  readonly store: Pick<EventStore, "listStreams">;
  readonly streamType: string;
  /** Of the root table. */
  readonly root: TableMapper;
  /** Of the root's key columns. */
  readonly order: readonly OrderColumn["as"][];
  readonly streamsMax?: number;
}

/**
 * The streams of a type that the store has, in the order of the root's key, which is not the store's own.
 * To be asked from the first key to the last: what lies behind is in memory up to some number of streams,
 * and gathered again from all of the type once that is used up. What a service begins meanwhile may not be
 * among them.
 */
export class StoredStreams {
  readonly #options: StoredStreamsOptions;
  readonly #streamsMax: number;
  #streams: readonly Keyed[] = [];
  /** Those whose key has a NULL, or is none that a row could have today: they lie behind all others. */
  #last: readonly ListedStream[] = [];
  /** Behind which key all up to the last one in memory are there; undefined before the first gathering. */
  #behind: ChunkKey | "begin" | undefined;
  #isLast = false;

  constructor(options: StoredStreamsOptions) {
    this.#options = options;
    this.#streamsMax = options.streamsMax ?? STREAMS_MAX;
  }

  /** Key of the n-th stream behind `after`; undefined when there are fewer. */
  async bound(
    after: ChunkKey | undefined,
    count: number,
    signal: AbortSignal,
  ): Promise<ChunkKey | undefined> {
    await this.#have(after, count, signal);
    return this.#streams[this.#firstBehind(after) + count - 1]?.key;
  }

  /** Those behind `after` up to and with `end`, which lies no further than the last {@link bound}; all that follow without an end. */
  range(after: ChunkKey | undefined, end: ChunkKey | undefined): readonly ListedStream[] {
    const from = this.#firstBehind(after);
    if (end === undefined) return [...this.#streams.slice(from), ...this.#last];
    return this.#streams.slice(from, this.#firstBehind(end));
  }

  async #have(after: ChunkKey | undefined, count: number, signal: AbortSignal): Promise<void> {
    const { order } = this.#options;
    const isCovered =
      this.#behind === "begin" ||
      (this.#behind !== undefined &&
        after !== undefined &&
        compareKeyTexts(this.#behind, after, order) <= 0);
    const left = this.#streams.length - this.#firstBehind(after);
    if (isCovered && (this.#isLast || left >= count)) return;
    await this.#gather(after, Math.max(count, this.#streamsMax), signal);
  }

  async #gather(after: ChunkKey | undefined, max: number, signal: AbortSignal): Promise<void> {
    const { store, streamType, root, order } = this.#options;
    let found: Keyed[] = [];
    const last: ListedStream[] = [];
    let isLast = true;
    const keepFirst = (): void => {
      found.sort((a, b) => compareKeyTexts(a.key, b.key, order));
      if (found.length <= max) return;
      found = found.slice(0, max);
      isLast = false;
    };
    for await (const page of eachStream(store, streamType, signal)) {
      for (const listed of page) {
        const key = keyOfStream(listed.stream);
        if (!isWhole(key) || keyFault(root, listed.stream) !== undefined) last.push(listed);
        else if (after === undefined || compareKeyTexts(key, after, order) > 0)
          found.push({ ...listed, key });
      }
      if (found.length >= 2 * max) keepFirst();
    }
    keepFirst();
    this.#streams = found;
    this.#last = last;
    this.#behind = after ?? "begin";
    this.#isLast = isLast;
  }

  /** Index of the first one behind a key. */
  #firstBehind(key: ChunkKey | undefined): number {
    if (key === undefined) return 0;
    let [low, high] = [0, this.#streams.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareKeyTexts(this.#streams[middle]!.key, key, this.#options.order) <= 0)
        low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function isWhole(key: readonly (string | null)[]): key is ChunkKey {
  return !key.includes(null);
}
