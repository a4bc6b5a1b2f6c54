import { BanyanError } from "../../src/model/errors.ts";
import {
  SAMPLES_PER_ROUTE_MAX,
  type ShadowLog,
  type ShadowSample,
  type ShadowWrite,
} from "../../src/rollout/shadow-log.ts";

/** What was seen in shadow, for tests. */
export class MemoryShadowLog implements ShadowLog {
  readonly #writes = new Map<string, ShadowWrite>();
  readonly #samples = new Map<string, readonly ShadowSample[]>();
  /** As a store that is down. */
  unreachable = false;

  get writes(): readonly ShadowWrite[] {
    return [...this.#writes.values()];
  }

  get samples(): readonly ShadowSample[] {
    return [...this.#samples.values()].flat();
  }

  add(writes: readonly ShadowWrite[], samples: readonly ShadowSample[]): Promise<void> {
    if (this.unreachable) {
      return Promise.reject(new BanyanError("STORE_UNREACHABLE", "the store is down"));
    }
    for (const write of writes) {
      if (!this.#writes.has(write.correlationId)) this.#writes.set(write.correlationId, write);
    }
    for (const sample of samples) {
      const key = `${sample.streamType} ${sample.route}`;
      const all = [...(this.#samples.get(key) ?? []), sample];
      this.#samples.set(key, all.slice(-SAMPLES_PER_ROUTE_MAX));
    }
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
