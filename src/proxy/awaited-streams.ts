import { setTimeout as sleep } from "node:timers/promises";
import type { RolloutState } from "../rollout/rollout-state.ts";

/** An answer waits so long for its stream. */
const AWAITED_MS_MAX = 5_000;
/** Answers that wait at once; further ones do not. */
const AWAITED_MAX = 2_000;
/** Between two looks for all of them. */
const LOOK_MS = 15;

/** Streams that answers wait for, asked for together while there are any. */
export class AwaitedStreams {
  readonly #state: Pick<RolloutState, "existing">;
  readonly #awaitedMsMax: number;
  readonly #awaited = new Map<string, Set<() => void>>();
  #isLooking = false;
  #count = 0;

  /** @param awaitedMsMax for tests */
  constructor(state: Pick<RolloutState, "existing">, awaitedMsMax = AWAITED_MS_MAX) {
    this.#state = state;
    this.#awaitedMsMax = awaitedMsMax;
  }

  /** Answers that wait. */
  get count(): number {
    return this.#count;
  }

  /** Waits until the stream is in the store. False when it was not within the time that there is. */
  async wait(stream: string): Promise<boolean> {
    if (this.#count >= AWAITED_MAX) return false;
    this.#count++;
    const seen = await new Promise<boolean>((done) => {
      const waiting = this.#awaited.get(stream) ?? new Set();
      this.#awaited.set(stream, waiting);
      const found = (): void => settle(true);
      const timer = setTimeout(() => settle(false), this.#awaitedMsMax);
      const settle = (isThere: boolean): void => {
        clearTimeout(timer);
        waiting.delete(found);
        if (waiting.size === 0 && this.#awaited.get(stream) === waiting)
          this.#awaited.delete(stream);
        done(isThere);
      };
      waiting.add(found);
      void this.#look();
    });
    this.#count--;
    return seen;
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    while (this.#awaited.size > 0) {
      // A store that is away may be there again before the time is over.
      const there = await this.#state.existing([...this.#awaited.keys()]).catch(() => undefined);
      for (const stream of there ?? []) {
        for (const found of this.#awaited.get(stream) ?? []) found();
      }
      if (this.#awaited.size > 0) await sleep(LOOK_MS);
    }
    this.#isLooking = false;
  }
}
