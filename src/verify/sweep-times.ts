/** A sweep may take this share of the time. */
const SWEEP_SHARE_MAX = 0.1;
/** A sweep that is wanted before its time comes at most so many times as often. */
const SOONER_MAX = 10;
/** A sweep that could not tell is tried again after so long, then twice as long, and so on, */
const RETRY_MS_MIN = 5_000;
/** and after so long at most. */
const RETRY_MS_MAX = 60_000;
/** A sweep that is due is put off for a busy source so long at most. */
const PUT_OFF_MS_MAX = 10 * 60_000;

/** When the next sweep is due. */
export class SweepTimes {
  readonly #sweepEveryMs: number;
  #next = 0;
  /** One that is wanted sooner does not come before this. */
  #soonest = 0;
  #dueSince: number | undefined;
  #failures = 0;

  constructor(sweepEveryMs: number) {
    this.#sweepEveryMs = sweepEveryMs;
  }

  /** Whether the one before could not tell. */
  get hasFailed(): boolean {
    return this.#failures > 0;
  }

  isDue(now: number): boolean {
    if (now >= this.#next) this.#dueSince ??= now;
    return now >= this.#next;
  }

  /** Whether one that is due has waited long enough for a busy source. */
  isOverdue(now: number): boolean {
    return this.#dueSince !== undefined && now - this.#dueSince > PUT_OFF_MS_MAX;
  }

  /** @param workMs what it took, without what it waited for */
  told(startedMs: number, workMs: number): void {
    this.#failures = 0;
    this.#dueSince = undefined;
    const most = workMs / SWEEP_SHARE_MAX;
    this.#next = startedMs + Math.max(this.#sweepEveryMs, most);
    this.#soonest = startedMs + Math.max(this.#sweepEveryMs / SOONER_MAX, most);
  }

  /** It could not tell, for a reason that may pass. */
  failed(endedMs: number, workMs: number): void {
    const delayMs = Math.min(RETRY_MS_MIN * 2 ** this.#failures, RETRY_MS_MAX, this.#sweepEveryMs);
    this.#failures += 1;
    this.#dueSince = undefined;
    this.#next = endedMs + Math.max(delayMs, workMs / SWEEP_SHARE_MAX);
  }

  /** The next one is to come as soon as may be. */
  sooner(): void {
    this.#next = Math.min(this.#next, this.#soonest);
  }
}
