import type { Progress } from "./progress.ts";
import type { BanyanError } from "../model/errors.ts";
import { runWithRetry } from "../runtime/loop.ts";

const BACKOFF = { backoffMsMin: 250, backoffMsMax: 15_000, steadyMs: 30_000 };

/** Runs until it succeeds, fails for good (rejects), or the signal aborts (resolves); says each retry. */
export function runWithRetries(
  progress: Progress,
  signal: AbortSignal,
  attempt: () => Promise<void>,
): Promise<void> {
  return runWithRetry({ ...BACKOFF, signal, attempt, onRetry: tellRetries(progress) });
}

/** Says what went wrong each time, and what could be done about it when that is something else. */
export function tellRetries(
  progress: Progress,
): (retry: { readonly error: BanyanError; readonly delayMs: number }) => void {
  let told: string | undefined;
  return ({ error: { code, message, hint }, delayMs }) => {
    progress.line(`[${code}] ${message}; trying again in ${delayMs} ms`);
    if (hint !== undefined && hint !== told) progress.line(`  next: ${hint}`);
    told = hint;
  };
}
