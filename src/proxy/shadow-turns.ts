/** Comparing takes no larger share than this of the time of the thread that clients are answered in. */
const SHARE_MAX = 0.25;
/** What takes less is not rested from. */
const SHORT_MS = 1;

/** Lets one comparison be made after the other, with rests after long ones. */
export class ShadowTurns {
  #last: Promise<void> = Promise.resolve();

  /** @param prepare gives what takes the time of this thread */
  async take<T>(prepare: () => Promise<() => T>): Promise<T> {
    const before = this.#last;
    let end: () => void = () => undefined;
    this.#last = new Promise<void>((done) => (end = done));
    await before;
    let tookMs = 0;
    try {
      const work = await prepare();
      const startedMs = performance.now();
      try {
        return work();
      } finally {
        tookMs = performance.now() - startedMs;
      }
    } finally {
      if (tookMs < SHORT_MS) end();
      else setTimeout(end, (tookMs * (1 - SHARE_MAX)) / SHARE_MAX);
    }
  }
}
