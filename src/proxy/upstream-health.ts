import { Client } from "undici";
import type { UpstreamSettings } from "./settings.ts";
import { pause } from "../runtime/pause.ts";

/** Checks that fail one after the other until the upstream counts as down. One that succeeds ends that. */
const FAILURES_MAX = 3;
const CHECK_MS_MAX = 2_000;

/**
 * Asks an upstream regularly whether it is well. Without a path it always is. On a connection of its own:
 * behind the requests a check would wait for ever when those hold all connections of one that hangs.
 */
export class UpstreamHealth {
  readonly #client: Client;
  readonly #settings: UpstreamSettings;
  #failures = 0;

  constructor(settings: UpstreamSettings) {
    this.#client = new Client(settings.url, {
      connect: { timeout: CHECK_MS_MAX },
      headersTimeout: CHECK_MS_MAX,
      bodyTimeout: CHECK_MS_MAX,
    });
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
      await pause(healthEveryMs, signal);
    }
  }

  async close(): Promise<void> {
    await this.#client.destroy();
  }

  async #isAnswering(path: string): Promise<boolean> {
    const signal = AbortSignal.timeout(CHECK_MS_MAX);
    try {
      const { statusCode, body } = await this.#client.request({ method: "GET", path, signal });
      await body.dump();
      return statusCode < 400;
    } catch {
      return false;
    }
  }
}
