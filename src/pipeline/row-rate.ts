const WINDOW_MS = 10_000;
/** Over less time than that one slow read, or one quick one, decides. */
const KNOWN_MS = 3_000;
/** Samples are kept no closer together, so that they are few. */
const SAMPLE_MS = 100;

/** How many rows a second are read, by the last ten seconds or so. */
export class RowRate {
  readonly #samples: { readonly atMs: number; readonly rows: number }[] = [];

  /**
   * @param rows read so far
   * @param atMs by a clock that stands while nothing is to be read
   */
  sample(rows: number, atMs: number): void {
    const before = this.#samples.at(-2);
    if (before !== undefined && atMs - before.atMs < SAMPLE_MS) this.#samples.pop();
    this.#samples.push({ atMs, rows });
    // One that is as old as the window stays.
    while (this.#samples.length > 2 && atMs - this.#samples[1]!.atMs >= WINDOW_MS)
      this.#samples.shift();
  }

  /** Whether it has been seen for long enough to go by. */
  get isKnown(): boolean {
    return this.#span() >= KNOWN_MS;
  }

  /** 0 before the second sample. */
  get perSecond(): number {
    const span = this.#span();
    if (span <= 0) return 0;
    const read = this.#samples.at(-1)!.rows - this.#samples[0]!.rows;
    return Math.round((read * 1000) / span);
  }

  /** 0 as long as the rate is not known, and where no further rows are expected. */
  secondsLeft(rowsLeft: number): number {
    if (!this.isKnown || this.perSecond === 0 || rowsLeft <= 0) return 0;
    return Math.ceil(rowsLeft / this.perSecond);
  }

  #span(): number {
    const [first] = this.#samples;
    return first === undefined ? 0 : this.#samples.at(-1)!.atMs - first.atMs;
  }
}
