/** One at a time, in the order of asking. */
export class Turns {
  #isTaken = false;
  readonly #waiting: (() => void)[] = [];

  /**
   * Resolves when it is the caller's turn.
   *
   * @returns gives it back; calling it again does nothing
   * @param signal leaves the queue when it aborts, with its reason
   */
  async take(signal?: AbortSignal): Promise<() => void> {
    signal?.throwIfAborted();
    if (this.#isTaken) await this.#next(signal);
    this.#isTaken = true;
    let isGiven = false;
    return () => {
      if (isGiven) return;
      isGiven = true;
      const next = this.#waiting.shift();
      if (next === undefined) this.#isTaken = false;
      else next();
    };
  }

  #next(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const take = (): void => {
        signal?.removeEventListener("abort", leave);
        resolve();
      };
      const leave = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(take), 1);
        reject(signal?.reason as Error);
      };
      signal?.addEventListener("abort", leave, { once: true });
      this.#waiting.push(take);
    });
  }
}
