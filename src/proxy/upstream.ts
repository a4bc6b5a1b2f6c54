import {
  BrokenCircuitError,
  circuitBreaker,
  CircuitState,
  ConsecutiveBreaker,
  handleAll,
  type CircuitBreakerPolicy,
} from "cockatiel";
import type { UpstreamSettings } from "./settings.ts";
import { UpstreamFailure } from "./upstream-failure.ts";
import { UpstreamHealth } from "./upstream-health.ts";
import { UpstreamPool } from "./upstream-pool.ts";
import type { Side } from "../rollout/stage.ts";

/** Requests that fail one after the other until the upstream is left alone, */
const FAILURES_MAX = 10;
/** and for how long, before one request tries it again. */
const OPEN_MS = 1_000;

/** One of the two applications: connections that are kept, limits, and whether it is well. */
export class Upstream {
  readonly side: Side;
  readonly health: UpstreamHealth;
  readonly #pool: UpstreamPool;
  readonly #breaker: CircuitBreakerPolicy;
  readonly #settings: UpstreamSettings;
  #inFlight = 0;
  /** The last request that settled. */
  #hasFailed = false;

  constructor(side: Side, settings: UpstreamSettings) {
    this.side = side;
    this.#settings = settings;
    this.#pool = new UpstreamPool(settings);
    // A client that leaves the one request that tries it again has not shown that it is well.
    this.#breaker = circuitBreaker(handleAll, {
      halfOpenAfter: OPEN_MS,
      breaker: new ConsecutiveBreaker(FAILURES_MAX),
    });
    this.health = new UpstreamHealth(settings);
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** Whether it can take a request that has waited, and leaves room for those that have not. */
  get hasRoom(): boolean {
    return this.#inFlight * 2 < this.#settings.connectionsMax;
  }

  get isOpen(): boolean {
    return this.#breaker.state === CircuitState.Open;
  }

  /**
   * Begins one request, if the upstream may be asked at all. It counts as under way until it fails or
   * `free` is called.
   *
   * @param attempt tells `settled` once: nothing when the head of the answer is there, or why it never will be
   * @param done is told the same, or that nothing was begun
   */
  ask(attempt: Attempt, done: (failure: Error | undefined) => void): void {
    if (!this.health.isWell) {
      return done(new UpstreamFailure("upstream-down", "it fails its health check"));
    }
    if (this.#inFlight >= this.#settings.connectionsMax) {
      return done(new UpstreamFailure("upstream-busy", "all its connections are in use"));
    }
    // Asked now, the breaker would let this request wait for the one that tries the upstream.
    if (this.#breaker.state === CircuitState.HalfOpen) {
      return done(new UpstreamFailure("upstream-down", "another request is trying it"));
    }
    this.#inFlight++;
    let isFreed = false;
    const free = (): void => {
      if (!isFreed) this.#inFlight--;
      isFreed = true;
    };
    const settled = (failure: Error | undefined): void => {
      if (failure !== undefined) free();
      done(failure);
    };
    if (this.#breaker.state === CircuitState.Closed) {
      // The usual case, without the promises that the breaker would put around each request.
      attempt(this.#pool, free, (failure) => {
        this.#tellBreaker(failure);
        settled(failure);
      });
      return;
    }
    const once = (): Promise<void> =>
      new Promise((kept, broken) => {
        attempt(this.#pool, free, (failure) => (failure === undefined ? kept() : broken(failure)));
      });
    this.#breaker.execute(once).then(
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
  #tellBreaker(failure: Error | undefined): void {
    if (this.#breaker.state !== CircuitState.Closed) return;
    if (failure === undefined && !this.#hasFailed) return;
    if (failure !== undefined && !(failure instanceof UpstreamFailure)) return;
    this.#hasFailed = failure !== undefined;
    const tell = (): void => {
      if (failure !== undefined) throw failure;
    };
    // What comes of it is told by its state.
    void this.#breaker.execute(tell).catch(() => undefined);
  }

  async close(): Promise<void> {
    this.#pool.close();
    await this.health.close();
  }
}

export type Attempt = (
  pool: UpstreamPool,
  free: () => void,
  settled: (failure: Error | undefined) => void,
) => void;
