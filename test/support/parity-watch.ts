import { setTimeout as sleep } from "node:timers/promises";
import {
  watchParity,
  type WatchMemory,
  type WatchOptions,
  type WatchRound,
} from "../../src/verify/watch-parity.ts";
import type { ChangeSource } from "../../src/source/change-source.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import type { ParityStore } from "../../src/store/parity-store.ts";
import { STREAMS, type Bench } from "./verify-bench.ts";

export const WAIT_MS_MAX = 60_000;

export interface Watch extends AsyncDisposable {
  readonly rounds: readonly WatchRound[];
  /** Settles when the watch ends. */
  readonly ended: Promise<WatchRound | undefined>;
  /** Waits for a round that is so, among those to come. */
  until(what: string, holds: (round: WatchRound) => boolean): Promise<WatchRound>;
  /** @returns the last round */
  stop(): Promise<WatchRound | undefined>;
}

/** Verifies a bench continuously. @param memory of the watch that it goes on with */
export function watch(b: Bench, more: Partial<WatchOptions> = {}, memory?: WatchMemory): Watch {
  const stop = new AbortController();
  const rounds: WatchRound[] = [];
  const options = watchOptions(b, { onRound: (round) => void rounds.push(round), ...more });
  const ended = watchParity(options, stop.signal, memory);
  ended.catch(() => undefined);
  const end = async (): Promise<WatchRound | undefined> => {
    stop.abort();
    return await ended.catch((error: unknown) => {
      if ((error as Error).name !== "AbortError") throw error;
      return rounds.at(-1);
    });
  };
  return {
    rounds,
    ended,
    async until(what, holds) {
      const from = rounds.length;
      const deadline = Date.now() + WAIT_MS_MAX;
      for (;;) {
        const found = rounds.slice(from).find(holds);
        if (found !== undefined) return found;
        if (Date.now() > deadline) {
          throw new Error(`in vain for ${what}: ${JSON.stringify(rounds.slice(-3))}`);
        }
        await Promise.race([sleep(20), ended]);
      }
    },
    stop: end,
    [Symbol.asyncDispose]: async () => void (await end()),
  };
}

export function watchOptions(b: Bench, more: Partial<WatchOptions> = {}): WatchOptions {
  return {
    pipeline: "bank",
    source: b.db.open(),
    store: b.store,
    streams: STREAMS,
    waitMsMax: 10_000,
    samplesMax: 5,
    showValues: false,
    checkEveryMs: 20,
    sweepEveryMs: 3_600_000,
    activeSessionsMax: 1_000,
    onRound: () => undefined,
    ...more,
  };
}

/** A source that does something right before or after it opens a snapshot. @param when nth of the snapshots, from 1 */
export function hooked(
  b: Bench,
  hooks: {
    readonly before?: (when: number) => unknown;
    readonly after?: (when: number) => unknown;
  },
): ChangeSource {
  const source = b.db.open();
  const openParity = source.openParity.bind(source);
  let when = 0;
  return Object.assign(source, {
    async openParity(...args: Parameters<ChangeSource["openParity"]>) {
      const nth = (when += 1);
      await hooks.before?.(nth);
      const snapshot = await openParity(...args);
      try {
        await hooks.after?.(nth);
      } catch (error) {
        await snapshot.close();
        throw error;
      }
      return snapshot;
    },
  });
}

/** The same store, with some of its parity's methods in place of its own. */
export function withParity(
  store: EventStore,
  methods: (parity: ParityStore) => Partial<ParityStore>,
): EventStore {
  const parity = overridden(store.parity, methods(store.parity));
  return overridden(store, { parity });
}

function overridden<T extends object>(target: T, own: Partial<T>): T {
  return new Proxy(target, {
    get(_, name) {
      if (name in own) return Reflect.get(own, name) as unknown;
      const value = Reflect.get(target, name) as unknown;
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}
