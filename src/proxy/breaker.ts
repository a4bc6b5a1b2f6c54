import {
  BrokenCircuitError,
  circuitBreaker,
  CircuitState,
  ConsecutiveBreaker,
  handleAll,
} from "cockatiel";
import { UpstreamFailure } from "./upstream-failure.ts";

/** Requests that fail one after the other until the upstream is left alone, */
const FAILURES_MAX = 10;
/** and for how long, before one request tries it again. */
const OPEN_MS = 1_000;

/** Told once: nothing when it has succeeded. */
export type Settled = (failure: Error | undefined) => void;

/** Leaves an upstream alone whose requests fail. A client that goes away says nothing of the upstream. */
export class Breaker {
  readonly #policy = circuitBreaker(handleAll, {
    halfOpenAfter: OPEN_MS,
    breaker: new ConsecutiveBreaker(FAILURES_MAX),
  });
  /** The last request that settled. */
  #hasFailed = false;

  get isOpen(): boolean {
    return this.#policy.state === CircuitState.Open;
  }

  /** A request is trying the upstream: asked now, the policy would let another wait for it. */
  get isTrying(): boolean {
    return this.#policy.state === CircuitState.HalfOpen;
  }

  /** @param settled is told what `attempt` tells, or an UpstreamFailure when it was not begun */
  run(attempt: (told: Settled) => void, settled: Settled): void {
    if (this.#policy.state === CircuitState.Closed) {
      // The usual case, without the promises that the policy would put around each request.
      attempt((failure) => {
        this.#tell(failure);
        settled(failure);
      });
      return;
    }
    const once = (): Promise<void> =>
      new Promise((kept, broken) => {
        // A client that leaves the one request that tries it again has not shown that it is well.
        attempt((failure) => (failure === undefined ? kept() : broken(failure)));
      });
    this.#policy.execute(once).then(
      () => settled(undefined),
      (error: Error) =>
        settled(
          error instanceof BrokenCircuitError
            ? new UpstreamFailure("upstream-down", "its last requests failed", { cause: error })
            : error,
        ),
    );
  }

  /**
   * Of a success only the first after a failure says something new. What was begun before the breaker opened
   * says nothing of the upstream after that, and must not be taken for the request that tries it again.
   */
  #tell(failure: Error | undefined): void {
    if (this.#policy.state !== CircuitState.Closed) return;
    if (failure === undefined && !this.#hasFailed) return;
    if (failure !== undefined && !(failure instanceof UpstreamFailure)) return;
    this.#hasFailed = failure !== undefined;
    const tell = (): void => {
      if (failure !== undefined) throw failure;
    };
    // What comes of it is told by its state.
    void this.#policy.execute(tell).catch(() => undefined);
  }
}
