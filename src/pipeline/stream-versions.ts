import type { EventBuffer } from "../mapping/event-buffer.ts";

/**
 * Gives events their place in their streams.
 *
 * Remembers where recently written streams stand, in two generations of bounded size; others are
 * looked up in the store. Safe because a pipeline has one writer, and because the store refuses a
 * version that is taken.
 */
export class StreamVersions {
  readonly #limit: number;
  #young = new Map<string, number>();
  #old = new Map<string, number>();

  /**
   * @param limit streams per generation. What is staged but not committed is known only here, so it
   *   must be at least twice the number of streams that one commit can touch
   */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Fills in `versions` of all events from `from` on. @param lookup current versions, 0 for none */
  async assign(
    events: EventBuffer,
    lookup: (streams: readonly string[]) => Promise<readonly number[]>,
  ): Promise<void> {
    const { streams, versions, length } = events;
    const cold = new Set<string>();
    for (let i = 0; i < length; i++) {
      const stream = streams[i]!;
      if (!this.#young.has(stream)) {
        const version = this.#old.get(stream);
        if (version === undefined) cold.add(stream);
        else this.#young.set(stream, version);
      }
    }
    if (cold.size > 0) {
      const list = [...cold];
      const found = await lookup(list);
      for (let i = 0; i < list.length; i++) this.#young.set(list[i]!, found[i]!);
    }
    for (let i = 0; i < length; i++) {
      const stream = streams[i]!;
      const version = this.#young.get(stream)! + 1;
      versions[i] = version;
      this.#young.set(stream, version);
    }
    if (this.#young.size >= this.#limit) {
      this.#old = this.#young;
      this.#young = new Map();
    }
  }
}
