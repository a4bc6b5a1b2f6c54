import { setTimeout as sleep } from "node:timers/promises";
import type { ChangeSource } from "../source/change-source.ts";

/** More transactions than a server has sessions, each of which may have one that is in the log and not yet seen. */
const TOLD_NOTED = 10_000;
/** Between two looks at whether what is in the log can be seen by now. */
const LOOK_MS = 5;
/** How long it is looked before whoever asks has to come again. */
const SEEN_MS_MAX = 500;

type Source = Pick<ChangeSource, "seenNow" | "visibility" | "markTransactions">;

/**
 * The transactions that were told lately, and whether the source shows all of them: the log tells of a
 * commit before others see it, with a synchronous standby that is down long before. A snapshot that
 * misses what was told must not take its place.
 *
 * What runs before this one told is not known; it had begun before the start.
 */
export class ToldTransactions {
  readonly #source: Source;
  /** Those not known to be seen, newest last. */
  #unseen: string[] = [];
  /** Whether all have ended that had begun before the start; undefined once they have. */
  #earlier: Promise<() => Promise<boolean>> | undefined;

  constructor(source: Source) {
    this.#source = source;
    this.#earlier = this.#mark();
  }

  note(transaction: string): void {
    this.#unseen.push(transaction);
    if (this.#unseen.length >= 2 * TOLD_NOTED) this.#unseen = this.#unseen.slice(-TOLD_NOTED);
  }

  /** Whether a snapshot that is taken from now on sees all that was told; if not, to be asked again later. */
  async areSeen(signal: AbortSignal): Promise<boolean> {
    if (!(await this.#haveEarlierEnded())) return false;
    const deadline = performance.now() + SEEN_MS_MAX;
    for (;;) {
      const isSeen = this.#source.visibility(await this.#source.seenNow());
      this.#unseen = this.#unseen.filter((transaction) => !isSeen(transaction));
      if (this.#unseen.length === 0) return true;
      if (performance.now() >= deadline) return false;
      await sleep(LOOK_MS, undefined, { signal });
    }
  }

  async #haveEarlierEnded(): Promise<boolean> {
    if (this.#earlier === undefined) return true;
    const earlier = this.#earlier;
    try {
      if (!(await (await earlier)())) return false;
    } catch (error) {
      this.#earlier = this.#mark();
      throw error;
    }
    this.#earlier = undefined;
    return true;
  }

  #mark(): Promise<() => Promise<boolean>> {
    const mark = this.#source.markTransactions();
    // Of interest only to who asks.
    mark.catch(() => undefined);
    return mark;
  }
}
