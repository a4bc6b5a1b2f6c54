/** A write whose upstream broke off may still be carried out; it counts at least so long. */
const UNKNOWN_MS_MIN = 1_000;

/** Tells of a write that its answer has ended, or that nobody knows what becomes of it. */
export type End = (isKnown: boolean) => void;

export interface UnderWayOptions {
  /** From its beginning a write of unknown outcome counts so long: the wait for an answer. */
  readonly unknownMs: number;
  /** Nothing of this stream type and epoch is under way any more. */
  readonly onEnd?: (type: string) => void;
  readonly now?: () => number;
}

interface Writes {
  count: number;
  /** Until when some of unknown outcome count. */
  untilMs: number;
}

/**
 * Writes and creations that were sent to an application and have not ended, by the epoch on which they were
 * decided. One of which the application broke off, or gave no answer in time, may be carried out all the
 * same: it counts until the wait for its answer would have been over, and a second at least.
 */
export class UnderWay {
  readonly #options: UnderWayOptions;
  readonly #now: () => number;
  readonly #types = new Map<string, Map<number, Writes>>();

  constructor(options: UnderWayOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  /** One begins. What is given back counts once, however often it is called. */
  begin(type: string, epoch: number): End {
    let epochs = this.#types.get(type);
    if (epochs === undefined) this.#types.set(type, (epochs = new Map<number, Writes>()));
    let writes = epochs.get(epoch);
    if (writes === undefined) epochs.set(epoch, (writes = { count: 0, untilMs: 0 }));
    writes.count++;
    const startedMs = this.#now();
    let hasEnded = false;
    return (isKnown) => {
      if (hasEnded) return;
      hasEnded = true;
      writes.count--;
      if (!isKnown) {
        const untilMs = Math.max(startedMs + this.#options.unknownMs, this.#now() + UNKNOWN_MS_MIN);
        writes.untilMs = Math.max(writes.untilMs, untilMs);
      }
      if (this.#hasEnded(type, epoch, writes)) this.#options.onEnd?.(type);
    };
  }

  /** The lowest epoch on which something that is under way was decided. Undefined when nothing is. */
  oldest(type: string): number | undefined {
    let oldest: number | undefined;
    for (const [epoch, writes] of this.#types.get(type) ?? []) {
      if (this.#hasEnded(type, epoch, writes)) continue;
      if (oldest === undefined || epoch < oldest) oldest = epoch;
    }
    return oldest;
  }

  /** Of all stream types, those of unknown outcome left out. */
  get count(): number {
    let count = 0;
    for (const epochs of this.#types.values())
      for (const writes of epochs.values()) count += writes.count;
    return count;
  }

  #hasEnded(type: string, epoch: number, writes: Writes): boolean {
    if (writes.count > 0 || writes.untilMs > this.#now()) return false;
    // Another may have taken its place since.
    const epochs = this.#types.get(type);
    if (epochs?.get(epoch) === writes) epochs.delete(epoch);
    return true;
  }
}
