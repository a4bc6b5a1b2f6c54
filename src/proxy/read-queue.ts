import type { HandedBatch } from "./judge-messages.ts";
import { readsOf, type HandedRead } from "./read-batch.ts";

interface Batch {
  readonly reads: Iterator<HandedRead, unknown>;
  readonly sentMs: number;
}

/**
 * Reads that wait for their turn, in the form in which they were handed over. As objects they would have grown
 * old by then, and the collector would have copied them twice.
 */
export class ReadQueue {
  readonly #batches: Batch[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  add(batch: HandedBatch): void {
    this.#length += batch.reads;
    this.#batches.push({ reads: readsOf(batch), sentMs: batch.sentMs });
  }

  /** @param use told of the next one, and of when it was handed over @returns false when there is none */
  next(use: (read: HandedRead, sentMs: number) => void): boolean {
    for (let batch = this.#batches[0]; batch !== undefined; batch = this.#batches[0]) {
      const next = batch.reads.next();
      if (next.done !== true) {
        this.#length--;
        use(next.value, batch.sentMs);
        return true;
      }
      this.#batches.shift();
    }
    return false;
  }
}
