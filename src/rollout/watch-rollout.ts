import { randomUUID } from "node:crypto";
import { alarmOf, type Alarm } from "./alarm.ts";
import type { GateFacts, GateFactsReader, SideTraffic } from "./gate-facts.ts";
import { judgeGates, sumUp } from "./gates.ts";
import { SILENT_MS_MAX } from "./move-errors.ts";
import { movedBuckets, REVERSE_GATE } from "./move.ts";
import type { Move, RolloutStore, StandingRollout } from "./rollout-store.ts";
import { runMove, type MoveWorld } from "./run-move.ts";
import type { RolloutSettings } from "./settings.ts";
import { BanyanError } from "../model/errors.ts";
import { pause } from "../runtime/pause.ts";

export interface WatchRolloutOptions {
  readonly store: RolloutStore;
  readonly facts: GateFactsReader;
  /** The world of one move. @param salt of its rollout */
  readonly world: (salt: string) => MoveWorld;
  readonly settings: RolloutSettings;
  readonly who: string;
  readonly onEvent: (event: RolloutEvent) => void;
  readonly everyMs?: number;
}

/** What the watch did or found. */
export interface RolloutEvent {
  /** ISO 8601. */
  readonly at: string;
  readonly type: string;
  readonly what: "alarm" | "rolled-back" | "not-rolled-back" | "resumed";
  readonly says: string;
  /** From the look that raised the alarm to the end of the move. */
  readonly seconds?: number;
}

const EVERY_MS = 1_000;
/** After a rollback that was undone the next one is tried so much later. */
const AGAIN_MS = 30_000;
const PURGE_EVERY_MS = 60_000;
/** Of traffic, and of proxies that were not seen since: no move waits for those either. */
const KEPT_SECONDS = 86_400;
/** What legacy did before is read again so much later. */
const BASELINE_MS = 60_000;

/**
 * Looks every second at what has moved until it is aborted: takes up moves whose process has ended, raises
 * alarms, and moves back to shadow what an alarm speaks against, unless an operator lets it rest. Several
 * at once do no harm: one of them begins the move.
 *
 * @throws BanyanError of the store
 */
export async function watchRollout(
  options: WatchRolloutOptions,
  signal: AbortSignal,
): Promise<void> {
  const watch = new RolloutAlarms(options);
  const moves = new MovesUnderWay();
  let purgeMs = 0;
  try {
    while (!signal.aborted) {
      moves.begin("", () => resumeMoves(options, signal));
      for (const [type, standing] of await options.store.standings()) {
        if (signal.aborted) break;
        if (moves.has(type)) continue;
        const rollBack = await watch.look(type, standing, signal);
        if (rollBack !== undefined) moves.begin(type, rollBack);
      }
      if (performance.now() >= purgeMs) {
        await options.facts.purge(KEPT_SECONDS);
        purgeMs = performance.now() + PURGE_EVERY_MS;
      }
      await pause(options.everyMs ?? EVERY_MS, signal);
      moves.throwFailure();
    }
  } finally {
    await moves.ended();
  }
  moves.throwFailure();
}

/** Moves beside the watch, one per stream type: one that waits must not keep another from going back. */
class MovesUnderWay {
  readonly #running = new Map<string, Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  has(type: string): boolean {
    return this.#running.has(type);
  }

  begin(type: string, work: () => Promise<unknown>): void {
    if (this.#running.has(type)) return;
    const running = work().then(
      () => void this.#running.delete(type),
      (error: unknown) => {
        this.#running.delete(type);
        this.#failure ??= { error };
      },
    );
    this.#running.set(type, running);
  }

  async ended(): Promise<void> {
    await Promise.all(this.#running.values());
  }

  throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}

/**
 * Takes up the moves whose driver is silent, and carries them to their end.
 *
 * @param type only of this stream type
 * @returns those that have ended
 */
export async function resumeMoves(
  { store, world, onEvent }: Pick<WatchRolloutOptions, "store" | "world" | "onEvent">,
  signal: AbortSignal,
  type?: string,
): Promise<readonly Move[]> {
  const ended: Move[] = [];
  while (!signal.aborted) {
    const move = await store.takeOver(randomUUID(), SILENT_MS_MAX, type);
    if (move === undefined) break;
    const salt = (await store.standings()).get(move.type)?.salt ?? "";
    const over = await unlessBusy(() => runMove({ store, world: world(salt) }, move, signal, true));
    if (over === undefined) continue;
    ended.push(over);
    const says = `${over.kind} taken up at step ${move.step}: ${over.outcome}${over.reason === undefined ? "" : `, because ${over.reason}`}`;
    onEvent({ at: now(), type: over.type, what: "resumed", says });
  }
  return ended;
}

class RolloutAlarms {
  readonly #options: WatchRolloutOptions;
  /** What was said last of a stream type. */
  readonly #said = new Map<string, string>();
  readonly #notBeforeMs = new Map<string, number>();
  readonly #baselines = new Map<
    string,
    { readonly readMs: number; readonly legacy: SideTraffic }
  >();

  constructor(options: WatchRolloutOptions) {
    this.#options = options;
  }

  /** @returns the way back, when an alarm asks for it */
  async look(
    type: string,
    standing: StandingRollout,
    signal: AbortSignal,
  ): Promise<(() => Promise<void>) | undefined> {
    const { settings } = this.#options;
    if (
      movedBuckets(standing) === 0 ||
      standing.stage === "complete" ||
      standing.hold !== undefined
    )
      return undefined;
    const startedMs = performance.now();
    const facts = await this.#factsOf(type);
    const alarm = alarmOf(standing, facts, settings.alarms);
    if (alarm === undefined) {
      this.#said.delete(type);
      return undefined;
    }
    this.#say(type, "alarm", alarm.says + (standing.paused ? "; paused, so it stays" : ""));
    if (!alarm.goesBack || standing.paused || signal.aborted) return undefined;
    if (performance.now() < (this.#notBeforeMs.get(type) ?? 0)) return undefined;
    return () => this.#rollBack(type, standing, alarm, facts, startedMs, signal);
  }

  /** Where legacy answers too little to be held against, or nothing any more, with what it did before. */
  async #factsOf(type: string): Promise<GateFacts> {
    const { facts: reader, settings } = this.#options;
    const { windowSeconds, samplesMin } = settings.alarms;
    const facts = await reader.read(type, windowSeconds);
    if (facts.legacy.requests >= samplesMin || facts.moved.requests < samplesMin) return facts;
    let baseline = this.#baselines.get(type);
    if (baseline === undefined || performance.now() - baseline.readMs > BASELINE_MS) {
      baseline = { readMs: performance.now(), legacy: await reader.legacyBefore(type) };
      this.#baselines.set(type, baseline);
    }
    return { ...facts, legacy: baseline.legacy };
  }

  async #rollBack(
    type: string,
    standing: StandingRollout,
    alarm: Alarm,
    facts: GateFacts,
    startedMs: number,
    signal: AbortSignal,
  ): Promise<void> {
    const { store, world, settings, who, onEvent } = this.#options;
    const [reverse] = judgeGates([REVERSE_GATE], facts, settings.gates, []);
    if (sumUp([reverse!]) !== "pass") {
      this.#notBeforeMs.set(type, performance.now() + AGAIN_MS);
      const says = `a way back would lose decisions: ${reverse!.says}`;
      return onEvent({ at: now(), type, what: "not-rolled-back", says });
    }
    const { stage, share } = standing;
    const move = await unlessBusy(() =>
      store.begin({
        type,
        kind: "rollback",
        from: { stage, share },
        to: { stage: "shadow", share: 0 },
        who,
        why: `alarm ${alarm.name}: ${alarm.says}`,
        forced: [],
        without: [],
        holdMs: settings.holdSeconds * 1_000,
        driver: randomUUID(),
      }),
    );
    if (move === undefined) return;
    const over = await unlessBusy(() =>
      runMove({ store, world: world(standing.salt) }, move, signal),
    );
    if (over?.outcome === "done") {
      const seconds = (performance.now() - startedMs) / 1_000;
      this.#said.delete(type);
      return onEvent({ at: now(), type, what: "rolled-back", says: alarm.says, seconds });
    }
    this.#notBeforeMs.set(type, performance.now() + AGAIN_MS);
    const says = over?.reason ?? "another process has taken it over";
    onEvent({ at: now(), type, what: "not-rolled-back", says });
  }

  #say(type: string, what: RolloutEvent["what"], says: string): void {
    // Its counts change with every second.
    const kind = says.replaceAll(/[\d.]+/g, "");
    if (this.#said.get(type) === kind) return;
    this.#said.set(type, kind);
    this.#options.onEvent({ at: now(), type, what, says });
  }
}

/** Another was quicker: undefined. */
async function unlessBusy<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof BanyanError && error.code === "ROLLOUT_BUSY") return undefined;
    throw error;
  }
}

function now(): string {
  return new Date().toISOString();
}
