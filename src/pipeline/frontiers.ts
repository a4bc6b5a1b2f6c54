import type { ChunkFrontier } from "./chunk-frontier.ts";

/**
 * The stream types of which something is yet to be read, or was read ahead of the log. Empty for a
 * pipeline that only follows the log, which then costs nothing.
 */
export class Frontiers {
  readonly #byStream = new Map<string, ChunkFrontier>();
  #wake: (() => void)[] = [];

  get isActive(): boolean {
    return this.#byStream.size > 0;
  }

  get isBusy(): boolean {
    return [...this.#byStream.values()].some((frontier) => frontier.isBusy);
  }

  set(streamType: string, frontier: ChunkFrontier): void {
    if (!frontier.isIdle) this.#byStream.set(streamType, frontier);
  }

  of(streamType: string | undefined): ChunkFrontier | undefined {
    return streamType === undefined ? undefined : this.#byStream.get(streamType);
  }

  /** See {@link ChunkFrontier.passed}. Forgets those that have nothing left to say. */
  passed(commit: string): void {
    for (const [streamType, frontier] of this.#byStream) {
      frontier.passed(commit);
      if (frontier.isIdle) this.#byStream.delete(streamType);
    }
  }

  /** Tells those who wait that something is opened, read, durable or given up. */
  notify(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }

  /** Resolves with the next {@link notify}, or when the signal aborts. */
  changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        signal.removeEventListener("abort", done);
        resolve();
      };
      if (signal.aborted) return resolve();
      signal.addEventListener("abort", done, { once: true });
      this.#wake.push(done);
    });
  }
}
