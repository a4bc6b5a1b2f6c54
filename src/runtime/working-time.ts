/** How long something has been worked at, without the time in which it waited for others. */
export class WorkingTime {
  readonly #nowMs: () => number;
  #sinceMs: number;

  /** @param nowMs any steady clock */
  constructor(nowMs = () => performance.now()) {
    this.#nowMs = nowMs;
    this.#sinceMs = nowMs();
  }

  get ms(): number {
    return this.#nowMs() - this.#sinceMs;
  }

  async without<T>(waiting: Promise<T>): Promise<T> {
    const fromMs = this.#nowMs();
    try {
      return await waiting;
    } finally {
      this.#sinceMs += this.#nowMs() - fromMs;
    }
  }
}
