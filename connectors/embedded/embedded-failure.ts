import { BanyanError } from "../../src/model/errors.ts";

export function embeddedFailure(message: string, hint: string, cause?: unknown): BanyanError {
  return new BanyanError("EMBEDDED_SERVER_FAILED", message, { hint, cause });
}

/** Runs file work of the embedded server; what the system says about it becomes an error with a hint. */
export function orFail<T>(work: () => T, what: string, hint: string): T {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof BanyanError) throw cause;
    throw embeddedFailure(
      `${what}: ${cause instanceof Error ? cause.message : String(cause)}`,
      hint,
      cause,
    );
  }
}
