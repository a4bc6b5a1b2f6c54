import type { EventBuffer } from "../mapping/event-buffer.ts";

/** Current versions of streams in the store, as committed; 0 for one that does not exist. */
type Lookup = (streams: readonly string[]) => Promise<readonly number[]>;

/**
 * Gives events their place in their streams.
 *
 * Remembers where recently written streams stand, in two generations; others are looked up in the
 * store. What is staged but not committed is known only here, so a generation ends with a commit, not
 * before. Safe because a pipeline has one writer, and because the store refuses a version that is taken.
 */
export class StreamVersions {
  readonly #limit: number;
  #young = new Map<string, number>();
  #old = new Map<string, number>();
  #isTurnDue = false;

  /** @param limit streams at which a generation ends with the next commit */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Streams remembered. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** Fills in the versions of all events. */
  async assign(events: EventBuffer, lookup: Lookup): Promise<void> {
    this.#turn();
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
  }

  /**
   * The same for streams of which all events until the next commit are here: they need not be
   * remembered, so that one commit may have any number of them.
   */
  async assignOnce(events: EventBuffer, lookup: Lookup): Promise<void> {
    const only = new StreamVersions(Infinity);
    await only.assign(events, async (streams) => {
      const known = streams.map((stream) => this.#young.get(stream) ?? this.#old.get(stream));
      const cold = streams.filter((_, i) => known[i] === undefined);
      const found = (cold.length === 0 ? [] : await lookup(cold)).values();
      return known.map((version) => version ?? found.next().value!);
    });
    for (const [stream, version] of only.#young) {
      if (this.#young.has(stream) || this.#old.has(stream)) this.#young.set(stream, version);
    }
  }

  /** Notes that all that was staged before the last commit began is durable by now. */
  committed(): void {
    this.#isTurnDue = this.#young.size >= this.#limit;
  }

  /** Not in {@link committed}, which may come while versions are looked up: those at hand would be lost. */
  #turn(): void {
    if (!this.#isTurnDue) return;
    this.#isTurnDue = false;
    this.#old = this.#young;
    this.#young = new Map();
  }
}
