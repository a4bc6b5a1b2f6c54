import type { Frontiers } from "./frontiers.ts";
import type { RebaselinePage } from "./rebaseline-streams.ts";

/** Between two looks at whether the source shows all that was told. */
const LOOK_MS = 1_000;
/** Between two looks at whether legacy decides again over streams that have moved. */
const LEFT_LOOK_MS = 10_000;

/**
 * When the next streams are read anew that somebody asked for: some at a time, so that the log is
 * followed in between, and those whose type has a baseline that goes on only once that is done.
 */
export class RebaselinePace {
  readonly #frontiers: Frontiers;
  /** Where the next page begins; undefined when there is none. */
  #after: string | undefined;
  /** Stream types of requests that were passed over. */
  readonly #deferred = new Set<string>();
  /** Not before, however idle; and not before while the log has something to tell. */
  #restsUntilMs = 0;
  #yieldsUntilMs = 0;
  /** When those that were left are looked at again. */
  #againAtMs = Number.POSITIVE_INFINITY;

  constructor(frontiers: Frontiers) {
    this.#frontiers = frontiers;
  }

  /** Something was asked for, perhaps. */
  asked(): void {
    this.#after = "0";
  }

  /** Where the page begins that is due now; undefined for none. @param isIdle that the log has nothing to tell */
  due(isIdle: boolean): string | undefined {
    const nowMs = performance.now();
    if (nowMs < this.#restsUntilMs || (!isIdle && nowMs < this.#yieldsUntilMs)) return undefined;
    if (this.#after === undefined && (nowMs >= this.#againAtMs || this.#canGoOn())) this.asked();
    return this.#after;
  }

  /** @param startedMs `performance.now()` when it began; the log gets as much time as that took */
  passed({ after, deferred, isLeft, isUnseen }: RebaselinePage, startedMs: number): void {
    const nowMs = performance.now();
    if (this.#after === "0") {
      this.#deferred.clear();
      this.#againAtMs = Number.POSITIVE_INFINITY;
    }
    if (isLeft) this.#againAtMs = nowMs + LEFT_LOOK_MS;
    for (const type of deferred) this.#deferred.add(type);
    this.#after = after;
    if (isUnseen) this.#restsUntilMs = nowMs + LOOK_MS;
    this.#yieldsUntilMs = nowMs + (nowMs - startedMs);
  }

  #canGoOn(): boolean {
    return [...this.#deferred].some((type) => isReadable(this.#frontiers, type));
  }
}

/** Whether streams of a type can be read anew: not before all of it has been read once. */
export function isReadable(frontiers: Frontiers, type: string): boolean {
  return (frontiers.reading(type)?.cursor ?? "all") === "all";
}
