import type { Turn } from "./crowding.ts";

/** While there are others, further chunks are begun for so long: several stream types read side by side. */
const SLICE_MS = 250;
/** However slow the others get, and whatever speaks against going on, after such a rest it reads again. */
const REST_MS_MAX = 30_000;

/**
 * Divides the time of a baseline into slices in which it reads and rests in between, for all stream types
 * together: a rest begins when the last chunk of a slice is durable. Times are of any steady clock.
 */
export class ChunkSlices {
  #chunks = 0;
  #turn = 0;
  #beganMs = 0;
  #restsSinceMs: number;
  #tookMs = 0;

  constructor(nowMs: number) {
    this.#restsSinceMs = nowMs;
  }

  get turn(): Turn {
    return { isReading: this.#chunks > 0, number: this.#turn };
  }

  /** Whether the longest rest there may be is over. */
  isRestedOut(nowMs: number): boolean {
    return this.#chunks === 0 && nowMs - this.#restsSinceMs >= REST_MS_MAX;
  }

  /** @param share of the time for which it may read; 1 for all of it */
  mayBegin(share: number, nowMs: number): boolean {
    if (share >= 1) return true;
    if (this.#chunks > 0) return nowMs - this.#beganMs < SLICE_MS;
    const restMs = Math.min(this.#tookMs * (1 / share - 1), REST_MS_MAX);
    return nowMs - this.#restsSinceMs >= restMs;
  }

  /** @param share as for {@link mayBegin}, which allowed it */
  began(share: number, nowMs: number): void {
    if (this.#chunks === 0) this.#turn += 1;
    // Without rests a slice has no end, and what was read before others came needs no rest.
    if (this.#chunks === 0 || share >= 1) this.#beganMs = nowMs;
    this.#chunks += 1;
  }

  /** A chunk is durable, or was given up. */
  ended(nowMs: number): void {
    this.#chunks -= 1;
    if (this.#chunks > 0) return;
    this.#turn += 1;
    this.#tookMs = nowMs - this.#beganMs;
    this.#restsSinceMs = nowMs;
  }
}
