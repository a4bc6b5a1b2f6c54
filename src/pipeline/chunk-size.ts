/** How long a chunk should take: short enough to hold up neither the log nor the source. */
const CHUNK_MS = 500;
const ROWS_FIRST = 2_000;
const ROWS_MIN = 100;
/** A chunk that fails so often in a row ends the run, which is begun again. */
const FAILURES_MAX = 5;

/** How many rows the chunks of one stream type have: so many that one takes about half a second. */
export class ChunkSize {
  readonly #rowsMax: number;
  #rows: number;
  #failures = 0;

  constructor(rowsMax: number) {
    this.#rowsMax = rowsMax;
    this.#rows = Math.min(ROWS_FIRST, rowsMax);
  }

  get rows(): number {
    return this.#rows;
  }

  succeeded(tookMs: number): void {
    this.#failures = 0;
    const factor = Math.min(2, Math.max(0.5, CHUNK_MS / Math.max(1, tookMs)));
    this.#rows = this.#clamp(this.#rows * factor);
  }

  /** @returns how often in a row it failed; undefined when that is enough */
  failed(): number | undefined {
    this.#failures += 1;
    this.#rows = this.#clamp(this.#rows / 2);
    return this.#failures > FAILURES_MAX ? undefined : this.#failures;
  }

  #clamp(rows: number): number {
    return Math.round(Math.min(this.#rowsMax, Math.max(ROWS_MIN, rows)));
  }
}
