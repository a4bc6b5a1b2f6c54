/** Counts what is under way, so that its end can be waited for. */
export class Pending {
  #count = 0;
  /** Told when there is nothing any more. Undefined while nobody waits for that. */
  #onNone: (() => void) | undefined;

  get count(): number {
    return this.#count;
  }

  begin(): void {
    this.#count++;
  }

  end(): void {
    if (--this.#count === 0) this.#onNone?.();
  }

  /** Until all that was begun has ended. For one who waits. */
  async none(): Promise<void> {
    if (this.#count > 0) await new Promise<void>((done) => (this.#onNone = done));
  }
}
