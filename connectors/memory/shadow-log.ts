import type { MemoryDualStore } from "./dual-store.ts";
import type { ShadowWrite as JudgedWrite } from "../../src/store/dual-store.ts";
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
  readonly #dual: { readonly store: MemoryDualStore; readonly pipeline: string } | undefined;
  /** As a store that is down. */
  unreachable = false;

  /** @param dual where writes are judged; nowhere when absent */
  constructor(dual?: { readonly store: MemoryDualStore; readonly pipeline: string }) {
    this.#dual = dual;
  }

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
      if (this.#writes.has(write.correlationId)) continue;
      this.#writes.set(write.correlationId, write);
      this.#dual?.store.note(this.#dual.pipeline, [judgedAs(write)]);
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

function judgedAs({ streamId, askedAt, answeredAt, ...write }: ShadowWrite): JudgedWrite {
  return {
    ...write,
    stream: streamId,
    askedAtMs: askedAt.getTime(),
    answeredAtMs: answeredAt.getTime(),
  };
}
