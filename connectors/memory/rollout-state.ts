import { BanyanError } from "../../src/model/errors.ts";
import type { RolloutState } from "../../src/rollout/rollout-state.ts";
import type { Rollout } from "../../src/rollout/stage.ts";

/** A rollout that a test decides. */
export class MemoryRolloutState implements RolloutState {
  readonly #rollouts = new Map<string, Rollout>();
  /** As a store that is down. */
  unreachable = false;

  put(type: string, rollout: Rollout): void {
    this.#rollouts.set(type, rollout);
  }

  read(): Promise<ReadonlyMap<string, Rollout>> {
    if (this.unreachable) {
      return Promise.reject(new BanyanError("STORE_UNREACHABLE", "the store is down"));
    }
    return Promise.resolve(new Map(this.#rollouts));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
