import { EXIT } from "../model/errors.ts";

export interface Scope {
  /** Aborted by the first SIGINT or SIGTERM. Pass it to everything that waits. */
  readonly signal: AbortSignal;
  /** Registers a release step; steps run last-in first-out, all of them, even if one fails. */
  readonly defer: (release: () => void | Promise<void>) => void;
}

export interface ShutdownOptions {
  /** Time the work gets after the first signal before the process is ended, in ms. */
  readonly graceMs: number;
  readonly exit?: (code: number) => void;
  readonly signals?: Pick<NodeJS.EventEmitter, "on" | "off">;
}

/** Runs `main` so that one signal drains, a second one (or `graceMs`) ends the process. */
export async function withShutdown<T>(
  options: ShutdownOptions,
  main: (scope: Scope) => Promise<T>,
): Promise<T> {
  const exit = options.exit ?? ((code) => process.exit(code));
  const signals = options.signals ?? process;
  const controller = new AbortController();
  const releases: (() => void | Promise<void>)[] = [];
  let grace: NodeJS.Timeout | undefined;
  const onSignal = (): void => {
    if (controller.signal.aborted) return exit(EXIT.secondSignal);
    controller.abort();
    grace = setTimeout(() => exit(EXIT.graceExpired), options.graceMs).unref();
  };
  signals.on("SIGINT", onSignal);
  signals.on("SIGTERM", onSignal);
  const errors: unknown[] = [];
  let result: T | undefined;
  try {
    result = await main({
      signal: controller.signal,
      defer: (release) => void releases.push(release),
    });
  } catch (error) {
    errors.push(error);
  }
  for (const release of releases.reverse()) {
    try {
      await release();
    } catch (error) {
      errors.push(error);
    }
  }
  clearTimeout(grace);
  signals.off("SIGINT", onSignal);
  signals.off("SIGTERM", onSignal);
  // The failure of the work itself is what the user must see; a release that fails after it only follows from it.
  if (errors.length > 0) throw errors[0];
  return result as T;
}
