import { setTimeout as sleep } from "node:timers/promises";
import type { Pool } from "undici";
import type { UpstreamSettings } from "./settings.ts";

/** Checks that fail one after the other until the upstream counts as down. One that succeeds ends that. */
const FAILURES_MAX = 3;
const CHECK_MS_MAX = 2_000;

/** Asks an upstream regularly whether it is well. Without a path it always is. */
export class UpstreamHealth {
  readonly #pool: Pool;
  readonly #settings: UpstreamSettings;
  #failures = 0;

  constructor(pool: Pool, settings: UpstreamSettings) {
    this.#pool = pool;
    this.#settings = settings;
  }

  get isWell(): boolean {
    return this.#failures < FAILURES_MAX;
  }

  async run(signal: AbortSignal, onChange: (isWell: boolean) => void): Promise<void> {
    const { healthPath, healthEveryMs } = this.#settings;
    if (healthPath === undefined) return;
    while (!signal.aborted) {
      const before = this.isWell;
      this.#failures = (await this.#isAnswering(healthPath)) ? 0 : this.#failures + 1;
      if (this.isWell !== before) onChange(this.isWell);
      await sleep(healthEveryMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async #isAnswering(path: string): Promise<boolean> {
    const signal = AbortSignal.timeout(CHECK_MS_MAX);
    try {
      const { statusCode, body } = await this.#pool.request({ method: "GET", path, signal });
      await body.dump();
      return statusCode < 400;
    } catch {
      return false;
    }
  }
}
