import { Worker } from "node:worker_threads";
import { comparedAnswers, UNCOMPARED, type Compared, type Comparison } from "./compared-answers.ts";

/** Larger bodies, both together, are compared in a thread of their own when they are not the same bytes. */
const BYTES_BESIDE_OTHERS_MAX = 16_384;
/** One comparison there. */
const COMPARISON_MS_MAX = 10_000;
const THREAD_MIB_MAX = 512;

/**
 * Compares answers: small ones at once, large ones one after the other in a thread, which is started when it
 * is needed, and anew when it was lost. So one that takes long, or ends its thread, costs itself.
 */
export class AnswerComparer {
  #last: Promise<unknown> = Promise.resolve();
  #thread: Worker | undefined;
  #isClosed = false;

  /** @param prepare undefined for what cannot be compared; may be called once more when its turn comes */
  async compare(prepare: () => Comparison | undefined): Promise<Compared> {
    const comparison = prepare();
    if (comparison === undefined || this.#isClosed) return UNCOMPARED;
    const { a, b } = comparison;
    const isLarge = a.body.length + b.body.length > BYTES_BESIDE_OTHERS_MAX;
    if (!isLarge || a.body.equals(b.body)) return comparedAnswers(comparison);
    return await this.#inTurn(prepare);
  }

  /** What was decoded of those that wait would be held all the time. */
  async #inTurn(prepare: () => Comparison | undefined): Promise<Compared> {
    const mine = this.#last.then(async () => {
      const comparison = this.#isClosed ? undefined : prepare();
      return comparison === undefined ? UNCOMPARED : await this.#inThread(comparison);
    });
    this.#last = mine.catch(() => undefined);
    return await mine;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#thread?.terminate();
  }

  async #inThread(comparison: Comparison): Promise<Compared> {
    const thread = (this.#thread ??= startThread());
    return await new Promise((done) => {
      const timer = setTimeout(() => settle(UNCOMPARED), COMPARISON_MS_MAX);
      const settle = (compared: Compared, isLost = compared === UNCOMPARED): void => {
        clearTimeout(timer);
        thread.off("message", told).off("error", lost).off("exit", lost);
        if (isLost) {
          this.#thread = undefined;
          thread.on("error", () => undefined);
          void thread.terminate();
        }
        done(compared);
      };
      const told = (compared: Compared): void => settle(compared, false);
      const lost = (): void => settle(UNCOMPARED);
      thread.on("message", told).on("error", lost).on("exit", lost);
      thread.postMessage(comparison);
    });
  }
}

function startThread(): Worker {
  // As it was written when this file is, else as it was built.
  const isSource = import.meta.url.endsWith(".ts");
  const thread = new Worker(
    new URL(`./compare-thread.${isSource ? "ts" : "js"}`, import.meta.url),
    {
      resourceLimits: { maxOldGenerationSizeMb: THREAD_MIB_MAX },
      execArgv: isSource ? ["--import", "jiti/register"] : [],
      env: {},
    },
  );
  thread.unref();
  return thread;
}
