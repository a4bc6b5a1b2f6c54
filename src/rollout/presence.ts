import type { ProxyPlace, RolloutState } from "./rollout-state.ts";
import type { RolloutWatch } from "./rollout-watch.ts";
import type { UnderWay } from "./under-way.ts";
import { tellChanges } from "../runtime/tell-changes.ts";
import { pause } from "../runtime/pause.ts";

export interface PresenceOptions {
  readonly state: RolloutState;
  readonly proxy: ProxyPlace;
  /** Stream types of which requests are routed. */
  readonly types: readonly string[];
  readonly watch: Pick<RolloutWatch, "known">;
  readonly underWay: UnderWay;
  readonly now?: () => number;
  /** It cannot be said; undefined when it can again. */
  readonly onProblem?: (problem: string | undefined) => void;
}

/** A proxy says so often that it is there. */
const BEAT_MS = 1_000;
/** How soon an epoch is acknowledged for which only the end of a wait is missing. */
const LOOK_MS = 50;
/**
 * What was said this long ago still holds. With the time for which a proxy takes what it has read for true
 * it is less than the 15 seconds after which a move waits for it no longer.
 */
const HEARD_MS_MAX = 4_000;

/**
 * A proxy's presence, as moves see it. It is in the store before the proxy decides anything: a hold is
 * either known to the proxy, or whoever set it knows of the proxy.
 */
export class Presence {
  readonly #options: PresenceOptions;
  readonly #now: () => number;
  /** What was said last, and is in the store. */
  readonly #said = new Map<string, number>();
  #saidKnown: ReadonlyMap<string, number> = new Map();
  /** Begin of the last call that ended well. */
  #heardMs = Number.NEGATIVE_INFINITY;
  #wake: (() => void) | undefined;
  #isAsked = false;
  readonly #tell: (problem: string | undefined) => void;

  constructor(options: PresenceOptions) {
    this.#options = options;
    this.#tell = tellChanges((problem) => options.onProblem?.(problem));
    this.#now = options.now ?? (() => performance.now());
  }

  /** Whether those who move would wait for this proxy now, and go on doing so while it acts on what it reads. */
  get isHeard(): boolean {
    return this.#now() - this.#heardMs <= HEARD_MS_MAX;
  }

  /** Epoch by stream type. */
  get acknowledged(): ReadonlyMap<string, number> {
    return this.#said;
  }

  /** Of this stream type an epoch was taken in, or a write has ended: there may be something to say. */
  ask(type: string): void {
    const { watch } = this.#options;
    if ((watch.known.get(type)?.epoch ?? 0) <= (this.#said.get(type) ?? 0)) return;
    this.#isAsked = true;
    this.#wake?.();
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (this.#isDue()) await this.say();
      else this.#isAsked = false;
      await this.#pause(signal);
    }
  }

  /** Says it now. Never throws. */
  async say(): Promise<void> {
    this.#isAsked = false;
    const startedMs = this.#now();
    const epochs = this.#epochs();
    const knows = this.#knows();
    try {
      await this.#options.state.acknowledge(this.#options.proxy, epochs, knows);
      for (const [type, epoch] of epochs) this.#said.set(type, epoch);
      this.#saidKnown = knows;
      this.#heardMs = startedMs;
      this.#tell(undefined);
    } catch (error) {
      this.#tell(error instanceof Error ? error.message : String(error));
    }
  }

  /** Takes it back, unless something is under way still: a move has to wait for that. Never throws. */
  async leave(): Promise<void> {
    const { state, proxy, types, underWay } = this.#options;
    if (types.some((type) => underWay.oldest(type) !== undefined)) return;
    await state.leave(proxy).catch(() => undefined);
  }

  #epochs(): ReadonlyMap<string, number> {
    const { types, watch, underWay } = this.#options;
    return new Map(
      types.map((type) => {
        const known = watch.known.get(type)?.epoch ?? 0;
        return [type, Math.min(known, underWay.oldest(type) ?? known)];
      }),
    );
  }

  #knows(): ReadonlyMap<string, number> {
    const { types, watch } = this.#options;
    return new Map(types.map((type) => [type, watch.known.get(type)?.epoch ?? 0]));
  }

  #isDue(): boolean {
    if (this.#now() - this.#heardMs >= BEAT_MS) return true;
    for (const [type, epoch] of this.#knows())
      if (epoch > (this.#saidKnown.get(type) ?? -1)) return true;
    return [...this.#epochs()].some(([type, epoch]) => epoch > (this.#said.get(type) ?? -1));
  }

  async #pause(signal: AbortSignal): Promise<void> {
    if (this.#isAsked || signal.aborted) return;
    const { types, watch } = this.#options;
    const isBehind = types.some(
      (type) => (watch.known.get(type)?.epoch ?? 0) > (this.#said.get(type) ?? 0),
    );
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    const either = AbortSignal.any([signal, woken.signal]);
    await pause(isBehind ? LOOK_MS : BEAT_MS, either);
    this.#wake = undefined;
  }
}
