/** Bytes of all bodies that are in memory for shadow traffic. */
export const SHADOW_BYTES_MAX = 67_108_864;

/** Places in what two threads share: bytes that each of them holds. */
const OURS = 0;
const LENT = 1;

/** What another thread needs to count with this one. Can be sent to it. */
export interface SharedBytes {
  readonly max: number;
  readonly cells: Int32Array<SharedArrayBuffer>;
}

/** What shadow traffic may hold, all of it together, in the thread of the clients and in the other one. */
export class ShadowBytes {
  readonly #max: number;
  readonly #cells: Int32Array<SharedArrayBuffer>;
  readonly #mine: number;

  /**
   * @param max for tests
   * @param shared with the thread that this one belongs to; absent: the first of the two
   */
  constructor(max = SHADOW_BYTES_MAX, shared?: SharedBytes) {
    this.#max = shared?.max ?? max;
    this.#cells = shared?.cells ?? new Int32Array(new SharedArrayBuffer(8));
    this.#mine = shared === undefined ? OURS : LENT;
  }

  get held(): number {
    return Atomics.load(this.#cells, OURS) + Atomics.load(this.#cells, LENT);
  }

  get shared(): SharedBytes {
    return { max: this.#max, cells: this.#cells };
  }

  /** @returns false when there is no room: nothing was taken then */
  take(bytes: number): boolean {
    // Added first: of two threads that take the last room at once, one at least sees the other.
    Atomics.add(this.#cells, this.#mine, bytes);
    if (this.held <= this.#max) return true;
    this.give(bytes);
    return false;
  }

  give(bytes: number): void {
    Atomics.sub(this.#cells, this.#mine, bytes);
  }

  /** These are the other thread's, which gives them back. */
  lend(bytes: number): void {
    Atomics.add(this.#cells, LENT, bytes);
    Atomics.sub(this.#cells, OURS, bytes);
  }

  /** The other thread is gone, with all that it held. */
  takeBack(): void {
    Atomics.store(this.#cells, LENT, 0);
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

  /** One that another thread has lent, whose bytes are taken. @param chunks nobody else's */
  static lent(bytes: ShadowBytes, chunks: Buffer[]): ShadowBody {
    const body = new ShadowBody(bytes, Number.POSITIVE_INFINITY);
    body.#chunks = chunks;
    for (const chunk of chunks) body.#length += chunk.length;
    return body;
  }

  get length(): number {
    return this.#length;
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

  /** Gives its pieces to the other thread; it has none any more. */
  lend(): readonly Buffer[] {
    const chunks = this.#chunks;
    this.#bytes.lend(this.#length);
    this.#length = 0;
    this.#chunks = [];
    return chunks;
  }

  /** Can be called again. */
  free(): void {
    this.#bytes.give(this.#length);
    this.#length = 0;
    this.#chunks = [];
  }
}
