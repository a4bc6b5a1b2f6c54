import { BanyanError } from "../model/errors.ts";
import { pause } from "./pause.ts";

export interface RetryOptions {
  readonly signal: AbortSignal;
  /** One attempt. Its success ends the loop. */
  readonly attempt: () => Promise<void>;
  readonly backoffMsMin: number;
  readonly backoffMsMax: number;
  /** An attempt that ran at least this long begins the backoff anew. */
  readonly steadyMs: number;
  readonly onRetry: (event: { attempt: number; delayMs: number; error: BanyanError }) => void;
}

/**
 * Runs `attempt` until it succeeds, fails for good (rejects), or the signal aborts (resolves).
 * Only errors whose recovery is `retry` are tried again, with an exponential delay.
 */
export async function runWithRetry(options: RetryOptions): Promise<void> {
  let attempt = 0;
  for (;;) {
    const startedMs = Date.now();
    try {
      return await options.attempt();
    } catch (error) {
      const { signal } = options;
      if (signal.aborted && isOf(error, signal)) return;
      if (!(error instanceof BanyanError) || error.recovery !== "retry") throw error;
      if (signal.aborted) return;
      attempt = Date.now() - startedMs >= options.steadyMs ? 1 : attempt + 1;
      const delayMs = Math.min(options.backoffMsMin * 2 ** (attempt - 1), options.backoffMsMax);
      options.onRetry({ attempt, delayMs, error });
      await pause(delayMs, options.signal);
      if (options.signal.aborted) return;
    }
  }
}

/** The abort itself, however it was passed on. What else came up while the work ended is told. */
function isOf(error: unknown, signal: AbortSignal): boolean {
  return error === signal.reason || (error instanceof Error && error.name === "AbortError");
}
