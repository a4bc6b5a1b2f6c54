/** How long a chunk should take to read: short enough to hold up neither the log nor the source. */
const CHUNK_MS = 500;
/** Where it takes long to begin a chunk, it reads so many times as long as that. */
const BEGINNINGS = 2;
/** But no longer. */
const CHUNK_MS_MAX = 2_000;
/** One that reads so many times as long as it should is ended early. */
const LONG = 4;
const ROWS_FIRST = 2_000;
const ROWS_MIN = 1;
/** A chunk of fewer rows that takes no less than this share of the time takes it for something else. */
const NO_LESS = 0.8;
/** A chunk that fails so often in a row ends the run, which is begun again. */
const FAILURES_MAX = 5;

/** A chunk that is durable, or about to be. */
export interface SizedChunk {
  /** What it took to read its rows, without waiting for others. */
  readonly readMs: number;
  /** What it took before there were rows to read: that does not depend on how many there are. */
  readonly beginMs: number;
  /** Aggregates that it has, where it was ended early; absent where it has all that it was to have. */
  readonly cutAt?: number | undefined;
}

/**
 * How many root rows the chunks of one stream type have: so many that one is read in about half a second,
 * or in more where that is needed to make the beginning of a chunk worth its while.
 */
export class ChunkSize {
  readonly #rowsMax: number;
  #rows: number;
  #targetMs = CHUNK_MS;
  #failures = 0;
  #rewrites = 0;
  /** The last chunk of as many rows as it was to have. */
  #last: { readonly rows: number; readonly readMs: number } | undefined;
  /** Fewer rows than those of this chunk have been no help. */
  #least: { readonly rows: number; readonly readMs: number } | undefined;

  constructor(rowsMax: number) {
    this.#rowsMax = rowsMax;
    this.#rows = Math.min(ROWS_FIRST, rowsMax);
  }

  get rows(): number {
    return this.#rows;
  }

  /** A chunk that has been read for longer is to be ended early. */
  get readMsMax(): number {
    return LONG * this.#targetMs;
  }

  succeeded({ readMs, beginMs, cutAt }: SizedChunk): void {
    this.#failures = 0;
    this.#rewrites = 0;
    this.#targetMs = Math.min(CHUNK_MS_MAX, Math.max(CHUNK_MS, BEGINNINGS * beginMs));
    const factor = Math.min(2, this.#targetMs / Math.max(1, readMs));
    if (cutAt !== undefined) {
      this.#least = undefined;
      this.#last = undefined;
      this.#rows = this.#clamp(cutAt * factor);
      return;
    }
    const now = { rows: this.#rows, readMs };
    const last = this.#last;
    this.#last = now;
    // It may be the rows all the same, when there are more to each root than there were.
    if (this.#least !== undefined && readMs > 2 * this.#least.readMs) this.#least = undefined;
    if (factor >= 1) this.#rows = this.#clamp(now.rows * factor);
    else if (last !== undefined && now.rows < last.rows && readMs > NO_LESS * last.readMs)
      this.#rows = (this.#least = last).rows;
    else if (this.#least === undefined || now.rows > this.#least.rows)
      this.#rows = this.#clamp(now.rows * Math.max(0.5, factor));
  }

  /** @returns how often in a row it failed; undefined when that is enough */
  failed(): number | undefined {
    this.#failures += 1;
    this.#halve();
    return this.#failures > FAILURES_MAX ? undefined : this.#failures;
  }

  /** A table was rewritten below it, which an application may do every now and then. @returns how often in a row */
  rewritten(): number {
    this.#rewrites += 1;
    this.#halve();
    return this.#rewrites;
  }

  #halve(): void {
    this.#rows = this.#clamp(this.#rows / 2);
    this.#last = undefined;
  }

  #clamp(rows: number): number {
    return Math.round(Math.min(this.#rowsMax, Math.max(ROWS_MIN, rows)));
  }
}
