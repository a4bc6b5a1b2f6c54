import {
  BrokenCircuitError,
  circuitBreaker,
  CircuitState,
  ConsecutiveBreaker,
  handleAll,
  type CircuitBreakerPolicy,
} from "cockatiel";
import { Client, Pool, type Dispatcher } from "undici";
import { UpstreamHealth } from "./upstream-health.ts";
import type { UpstreamSettings } from "./settings.ts";
import type { Side } from "../rollout/stage.ts";

/** Requests that fail one after the other until the upstream is left alone, */
const FAILURES_MAX = 10;
/** and for how long, before one request tries it again. */
const OPEN_MS = 1_000;
/** Head of an answer. */
const HEAD_BYTES_MAX = 65_536;

/** The upstream did not answer; says how the client is told. */
export class UpstreamFailure extends Error {
  readonly refusal: "upstream-busy" | "upstream-down" | "upstream-failed" | "upstream-slow";

  constructor(refusal: UpstreamFailure["refusal"], message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.refusal = refusal;
  }
}

/** One of the two applications: connections that are kept, limits, and whether it is well. */
export class Upstream {
  readonly side: Side;
  readonly health: UpstreamHealth;
  readonly #options: Client.Options;
  readonly #servername: string;
  readonly #pool: Pool;
  readonly #breaker: CircuitBreakerPolicy;
  readonly #settings: UpstreamSettings;
  #inFlight = 0;
  /** The last request that settled. */
  #hasFailed = false;

  constructor(side: Side, settings: UpstreamSettings) {
    this.side = side;
    this.#settings = settings;
    this.#servername = new URL(settings.url).hostname;
    this.#options = {
      pipelining: 1,
      connect: { timeout: settings.connectMsMax },
      headersTimeout: settings.responseMsMax,
      bodyTimeout: settings.idleMsMax,
      maxHeaderSize: HEAD_BYTES_MAX,
      strictContentLength: true,
    };
    this.#pool = new Pool(settings.url, {
      ...this.#options,
      connections: settings.connectionsMax,
    });
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
      attempt(this.#dispatch, free, (failure) => {
        this.#tellBreaker(failure);
        settled(failure);
      });
      return;
    }
    const once = (): Promise<void> =>
      new Promise((kept, broken) => {
        attempt(this.#dispatch, free, (failure) =>
          failure === undefined ? kept() : broken(failure),
        );
      });
    this.#breaker.execute(once).then(
      () => settled(undefined),
      (error: Error) =>
        settled(
          error instanceof BrokenCircuitError
            ? new UpstreamFailure("upstream-down", "its last requests failed", error)
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
    await Promise.all([this.#pool.destroy(), this.health.close()]);
  }

  readonly #dispatch: Dispatch = (given, handler, isAgain) => {
    // The certificate must be the upstream's, not one for the host that a client asked for.
    const options = { ...given, servername: this.#servername };
    if (!isAgain) {
      this.#pool.dispatch(options, handler);
      return;
    }
    // Others that are kept may be as dead as the one it met.
    const client = new Client(this.#settings.url, this.#options);
    client.dispatch(options, handler);
    void client.close();
  };
}

/** @param isAgain on a connection of its own, because a kept one was closed */
export type Dispatch = (
  options: Dispatcher.DispatchOptions,
  handler: Dispatcher.DispatchHandler,
  isAgain: boolean,
) => void;

export type Attempt = (
  dispatch: Dispatch,
  free: () => void,
  settled: (failure: Error | undefined) => void,
) => void;
