import { performance, type EventLoopUtilization } from "node:perf_hooks";

/** Busier than this share of the time, the thread that answers clients compares fewer reads. */
const BUSY_MAX = 0.8;
const LOOK_MS = 100;
/** Less at once when it is too busy, and more step by step when it is not. */
const LESS = 0.5;
const MORE = 0.05;
/** Never none at all, or nobody would know of a difference. */
const SHARE_MIN = 0.01;

/** Lets clients come first: how many of the reads may be compared while they are answered. */
export class ShadowPressure {
  readonly #busy: () => number;
  readonly #timer: NodeJS.Timeout;
  #share = 1;
  /** Of the reads that were asked about, summed up: one is let through with each whole. */
  #due = 0;

  /** @param busy for tests: share of the time since the call before that the thread was at work */
  constructor(busy: () => number = busySince()) {
    this.#busy = busy;
    this.#timer = setInterval(() => this.look(), LOOK_MS).unref();
  }

  /** Share of the reads that are let through. */
  get share(): number {
    return this.#share;
  }

  look(): void {
    if (this.#busy() > BUSY_MAX) this.#share = Math.max(SHARE_MIN, this.#share * LESS);
    else this.#share = Math.min(1, this.#share + MORE);
  }

  /** Whether one more read may be compared. */
  admit(): boolean {
    if (this.#share === 1) return true;
    this.#due += this.#share;
    if (this.#due < 1) return false;
    this.#due -= 1;
    return true;
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

function busySince(): () => number {
  let before: EventLoopUtilization = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    before = now;
    return utilization;
  };
}
