import { BanyanError } from "../../src/model/errors.ts";
import type { ProxyPlace, RolloutState } from "../../src/rollout/rollout-state.ts";
import type { Hold, Rollout } from "../../src/rollout/stage.ts";

/** A rollout that a test decides. */
export class MemoryRolloutState implements RolloutState {
  readonly #rollouts = new Map<string, Rollout>();
  readonly #holdsEndMs = new Map<string, number>();
  readonly #proxies = new Map<string, Map<string, number>>();
  readonly #knows = new Map<string, Map<string, number>>();
  readonly #streams = new Set<string>();
  /** As a store that is down. */
  unreachable = false;

  put(type: string, rollout: Rollout): void {
    this.#rollouts.set(type, rollout);
    if (rollout.hold === undefined) this.#holdsEndMs.delete(type);
    else this.#holdsEndMs.set(type, performance.now() + rollout.hold.leftMs);
  }

  /** A stream has its first event. */
  addStream(stream: string): void {
    this.#streams.add(stream);
  }

  /** What a proxy has acknowledged, by stream type. Undefined for one that is not there. */
  acknowledged(instance: string): ReadonlyMap<string, number> | undefined {
    return this.#proxies.get(instance);
  }

  /** The epochs by which a proxy decides, by stream type. */
  knows(instance: string): ReadonlyMap<string, number> | undefined {
    return this.#knows.get(instance);
  }

  /** Proxies that are there. */
  get proxies(): readonly string[] {
    return [...this.#proxies.keys()];
  }

  read(): Promise<ReadonlyMap<string, Rollout>> {
    return this.#answer(
      () =>
        new Map([...this.#rollouts].map(([type, rollout]) => [type, this.#asOfNow(type, rollout)])),
    );
  }

  acknowledge(
    { instance }: ProxyPlace,
    epochs: ReadonlyMap<string, number>,
    knows: ReadonlyMap<string, number> = epochs,
  ): Promise<void> {
    return this.#answer(() => {
      const known = this.#knows.get(instance) ?? new Map<string, number>();
      this.#knows.set(instance, known);
      for (const [type, epoch] of knows) known.set(type, Math.max(epoch, known.get(type) ?? 0));
      const said = this.#proxies.get(instance) ?? new Map<string, number>();
      this.#proxies.set(instance, said);
      for (const [type, epoch] of epochs) said.set(type, Math.max(epoch, said.get(type) ?? 0));
    });
  }

  leave({ instance }: ProxyPlace): Promise<void> {
    return this.#answer(() => {
      this.#knows.delete(instance);
      this.#proxies.delete(instance);
    });
  }

  endHold(type: string, epoch: number): Promise<boolean> {
    return this.#answer(() => {
      const rollout = this.#rollouts.get(type);
      if (rollout?.hold === undefined || rollout.epoch !== epoch) return false;
      if (this.#leftMs(type) > 0) return false;
      const { hold: _, ...rest } = rollout;
      this.put(type, { ...rest, epoch: epoch + 1 });
      return true;
    });
  }

  existing(streams: readonly string[]): Promise<ReadonlySet<string>> {
    return this.#answer(() => new Set(streams.filter((stream) => this.#streams.has(stream))));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #asOfNow(type: string, rollout: Rollout): Rollout {
    if (rollout.hold === undefined) return rollout;
    const hold: Hold = { ...rollout.hold, leftMs: this.#leftMs(type) };
    return { ...rollout, hold };
  }

  #leftMs(type: string): number {
    return (this.#holdsEndMs.get(type) ?? 0) - performance.now();
  }

  #answer<T>(give: () => T): Promise<T> {
    if (this.unreachable) {
      return Promise.reject(new BanyanError("STORE_UNREACHABLE", "the store is down"));
    }
    return Promise.resolve(give());
  }
}
