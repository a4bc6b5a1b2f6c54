import { Breaker, type Settled } from "./breaker.ts";
import type { UpstreamSettings } from "./settings.ts";
import { UpstreamFailure } from "./upstream-failure.ts";
import { UpstreamHealth } from "./upstream-health.ts";
import { UpstreamPool } from "./upstream-pool.ts";
import type { Side } from "../rollout/stage.ts";

/** One of the two applications: connections that are kept, limits, and whether it is well. */
export class Upstream {
  readonly side: Side;
  readonly health: UpstreamHealth;
  readonly #pool: UpstreamPool;
  readonly #breaker = new Breaker();
  readonly #settings: UpstreamSettings;
  #inFlight = 0;

  constructor(side: Side, settings: UpstreamSettings) {
    this.side = side;
    this.#settings = settings;
    this.#pool = new UpstreamPool(settings);
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
    return this.#breaker.isOpen;
  }

  /**
   * Begins one request, if the upstream may be asked at all. It counts as under way until it fails or
   * `free` is called.
   *
   * @param attempt tells `settled` once: nothing when the head of the answer is there, or why it never will be
   * @param done is told the same, or that nothing was begun
   */
  ask(attempt: Attempt, done: Settled): void {
    if (!this.health.isWell) {
      return done(new UpstreamFailure("upstream-down", "it fails its health check"));
    }
    if (this.#inFlight >= this.#settings.connectionsMax) {
      return done(new UpstreamFailure("upstream-busy", "all its connections are in use"));
    }
    if (this.#breaker.isTrying) {
      return done(new UpstreamFailure("upstream-down", "another request is trying it"));
    }
    this.#inFlight++;
    let isFreed = false;
    const free = (): void => {
      if (!isFreed) this.#inFlight--;
      isFreed = true;
    };
    const settled: Settled = (failure) => {
      if (failure !== undefined) free();
      done(failure);
    };
    this.#breaker.run((told) => attempt(this.#pool, free, told), settled);
  }

  async close(): Promise<void> {
    this.#pool.close();
    await this.health.close();
  }
}

export type Attempt = (pool: UpstreamPool, free: () => void, settled: Settled) => void;
