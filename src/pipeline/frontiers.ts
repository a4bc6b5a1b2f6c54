import type { ChunkFrontier, ReadChunk } from "./chunk-frontier.ts";

/** Tables that join streams which are there. */
interface Joining {
  readonly tables: ReadonlySet<string>;
  readonly frontier: ChunkFrontier;
}

/**
 * The stream types of which something is yet to be read, or was read ahead of the log. Empty for a
 * pipeline that only follows the log, which then costs nothing.
 *
 * Of a type of which all was read once, some tables may join later: of those alone there is another
 * frontier, and it alone decides about their changes.
 */
export class Frontiers {
  readonly #whole = new Map<string, ChunkFrontier>();
  readonly #joining = new Map<string, Joining>();
  #wake: (() => void)[] = [];

  get isActive(): boolean {
    return this.#whole.size + this.#joining.size > 0;
  }

  get isBusy(): boolean {
    const joining = [...this.#joining.values()].map(({ frontier }) => frontier);
    return [...this.#whole.values(), ...joining].some((frontier) => frontier.isBusy);
  }

  /** @param tables names of those that join; absent for all of the type */
  set(streamType: string, frontier: ChunkFrontier, tables?: readonly string[]): void {
    if (frontier.isIdle) return;
    if (tables === undefined) this.#whole.set(streamType, frontier);
    else this.#joining.set(streamType, { tables: new Set(tables), frontier });
  }

  /** What decides about changes of a table. */
  of(streamType: string | undefined, table: string): ChunkFrontier | undefined {
    if (streamType === undefined) return undefined;
    const joining = this.#joining.get(streamType);
    return joining?.tables.has(table) === true ? joining.frontier : this.#whole.get(streamType);
  }

  /** By which chunks of the type are read; undefined where all was read, and the log has passed it. */
  reading(streamType: string): ChunkFrontier | undefined {
    return this.#joining.get(streamType)?.frontier ?? this.#whole.get(streamType);
  }

  /** See {@link ChunkFrontier.refreshed}. @param make makes a frontier of the type by which all is told */
  refreshed(
    streamType: string,
    chunk: ReadChunk,
    streams: readonly string[],
    make: () => ChunkFrontier,
  ): void {
    const whole = this.#whole.get(streamType) ?? make();
    whole.refreshed(chunk, streams);
    this.#whole.set(streamType, whole);
    this.#joining.get(streamType)?.frontier.refreshed(chunk, streams);
  }

  /** See {@link ChunkFrontier.passed}. Forgets those that have nothing left to say. */
  passed(commit: string): void {
    for (const [streamType, frontier] of this.#whole) {
      frontier.passed(commit);
      if (frontier.isIdle) this.#whole.delete(streamType);
    }
    for (const [streamType, { frontier }] of this.#joining) {
      frontier.passed(commit);
      if (frontier.isIdle) this.#joining.delete(streamType);
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
