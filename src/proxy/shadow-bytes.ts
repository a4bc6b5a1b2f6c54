/** Bytes of all bodies that are in memory for shadow traffic. */
export const SHADOW_BYTES_MAX = 67_108_864;

/** What shadow traffic may hold, all of it together. */
export class ShadowBytes {
  readonly #max: number;
  #held = 0;

  /** @param max for tests */
  constructor(max = SHADOW_BYTES_MAX) {
    this.#max = max;
  }

  get held(): number {
    return this.#held;
  }

  /** @returns false when there is no room: nothing was taken then */
  take(bytes: number): boolean {
    if (this.#held + bytes > this.#max) return false;
    this.#held += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#held -= bytes;
  }
}

/** One body as it comes, up to a limit, with its bytes taken. */
export class ShadowBody {
  readonly #bytes: ShadowBytes;
  readonly #max: number;
  #chunks: Buffer[] = [];
  #length = 0;

  constructor(bytes: ShadowBytes, max: number) {
    this.#bytes = bytes;
    this.#max = max;
  }

  /** Keeps a copy. @returns why it was not kept: all that was kept before is given back then */
  add(chunk: Buffer): "too-large" | "full" | undefined {
    const problem =
      this.#length + chunk.length > this.#max
        ? "too-large"
        : this.#bytes.take(chunk.length)
          ? undefined
          : "full";
    if (problem !== undefined) {
      this.free();
      return problem;
    }
    this.#length += chunk.length;
    // A piece of what the socket read would keep all of that in memory.
    this.#chunks.push(Buffer.from(chunk));
    return undefined;
  }

  whole(): Buffer {
    return this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
  }

  /** Can be called again. */
  free(): void {
    this.#bytes.give(this.#length);
    this.#length = 0;
    this.#chunks = [];
  }
}
