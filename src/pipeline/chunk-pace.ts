import { setTimeout as sleep } from "node:timers/promises";
import { ChunkSlices } from "./chunk-slices.ts";
import { Crowding } from "./crowding.ts";
import type { ChangeSource, SourceLoad } from "../source/change-source.ts";
import { aborted } from "../runtime/aborted.ts";
import { pause } from "../runtime/pause.ts";
import type { EventStore } from "../store/event-store.ts";

const BACKOFF_MS_MIN = 500;
const BACKOFF_MS_MAX = 30_000;
/** Between two looks at what an operator asks for, and at what speaks against going on. */
const LOOK_MS = 500;
/** Between two looks at who is at work in the source. */
const SAMPLE_MS = 100;
/** Where looking takes long it is done less often, up to these. */
const SAMPLE_PARTS = 20;
const SAMPLE_MS_MAX = 2_000;
/** Between two looks at whether it is time. */
const WAIT_MS = 20;

export interface PaceLimits {
  /** Sessions of others at work in the source beyond which the baseline rests. */
  readonly baselineSessionsMax: number;
  /** Likewise the lag of this pipeline and of the source's standbys. */
  readonly baselineLagSecondsMax: number;
  /** Share of what others get done in the source that they may lose; 1 for no rests because of them. */
  readonly baselineSlowdownMax: number;
  /** Root rows of one chunk. */
  readonly baselineChunkRowsMax: number;
  /**
   * How long one is read before it is ended early, 0 for no more than an aggregate; depends on how long it
   * takes to begin one when absent.
   */
  readonly baselineChunkMsMax?: number;
}

export interface PaceOptions {
  readonly pipeline: string;
  readonly source: Pick<ChangeSource, "load">;
  readonly store: Pick<EventStore, "requests">;
  readonly limits: PaceLimits;
  /** How far the following of the log is behind. */
  readonly lagSeconds: () => number;
  /** Whether a large transaction of the log is being written. */
  readonly isHeld: () => boolean;
  /** Told when the reason to rest changes. */
  readonly onRest: (rest: Rest) => void;
}

export interface Rest {
  readonly paused: boolean;
  /** Why it rests, altogether or now and then; undefined while nothing speaks against going on. */
  readonly backingOff: string | undefined;
}

/**
 * When the next chunks of a baseline may be read. One for all stream types of a run.
 *
 * It reads without rests while nobody else is at work in the source. Otherwise it reads for the share of
 * the time that costs the others no more than they may lose, as {@link Crowding} sees it.
 */
export class ChunkPace {
  readonly #options: PaceOptions;
  readonly #crowding = new Crowding();
  readonly #nowMs: () => number;
  readonly #slices: ChunkSlices;
  #lookedMs = -Infinity;
  #tellLooked!: () => void;
  readonly #hasLooked = new Promise<void>((done) => (this.#tellLooked = done));
  #rest: Rest = { paused: false, backingOff: undefined };
  /** More than the limits allow of something; it reads again only after the longest rest. */
  #tooMuch: string | undefined;
  #failure: string | undefined;
  readonly #rested: Stopwatch;
  readonly #paused: Stopwatch;

  /** @param nowMs any steady clock */
  constructor(options: PaceOptions, nowMs = () => performance.now()) {
    this.#options = options;
    this.#nowMs = nowMs;
    this.#slices = new ChunkSlices(nowMs());
    this.#rested = new Stopwatch(nowMs);
    this.#paused = new Stopwatch(nowMs);
  }

  get rest(): Rest {
    return this.#rest;
  }

  /**
   * How long it has been at rest altogether, which is no time in which rows are read: not while a chunk is
   * under way that is read all the same.
   */
  get restedMs(): number {
    return this.#rested.ms;
  }

  /** How much of that an operator asked for: nobody knows how long such a rest goes on. */
  get pausedMs(): number {
    return this.#paused.ms;
  }

  /** Looks at the source until the signal aborts. @throws what the store fails with */
  async watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const startedMs = this.#nowMs();
      await this.#look(startedMs);
      const tookMs = this.#nowMs() - startedMs;
      const pauseMs = Math.min(SAMPLE_MS_MAX, Math.max(SAMPLE_MS, tookMs * SAMPLE_PARTS));
      await pause(pauseMs, signal);
    }
  }

  /** Resolves when nothing speaks against reading a chunk. @throws the signal's reason */
  async ready(signal: AbortSignal): Promise<void> {
    if (this.#lookedMs === -Infinity) await Promise.race([this.#hasLooked, aborted(signal)]);
    for (;;) {
      signal.throwIfAborted();
      if (this.#mayBegin()) return;
      await sleep(WAIT_MS, undefined, { signal });
    }
  }

  /** A chunk begins, for which {@link ready} resolved just now. @returns to be called once it is durable, or given up */
  begin(): () => void {
    this.#slices.began(this.#share(), this.#nowMs());
    this.#count();
    let isOver = false;
    return () => {
      if (!isOver) this.#slices.ended(this.#nowMs());
      isOver = true;
      this.#count();
    };
  }

  /** Rests for a while after a chunk that failed. */
  async failed(failures: number, reason: string, signal: AbortSignal): Promise<void> {
    const delayMs = Math.min(BACKOFF_MS_MIN * 2 ** (failures - 1), BACKOFF_MS_MAX);
    const failure = `the last chunk failed: ${reason}`;
    this.#failure = failure;
    this.#now({ ...this.#rest, backingOff: failure });
    await sleep(delayMs, undefined, { signal });
    if (this.#failure === failure) this.#failure = undefined;
  }

  #mayBegin(): boolean {
    if (this.#lookedMs === -Infinity || this.#rest.paused || this.#options.isHeld()) return false;
    const nowMs = this.#nowMs();
    if (this.#tooMuch !== undefined && !this.#slices.isRestedOut(nowMs)) return false;
    return this.#slices.mayBegin(this.#share(), nowMs);
  }

  #share(): number {
    return this.#crowding.share(this.#options.limits.baselineSlowdownMax, this.#nowMs());
  }

  async #look(nowMs: number): Promise<void> {
    const { store, source, pipeline } = this.#options;
    const before = this.#slices.turn;
    // What the source does not tell, or not now, holds nobody up.
    const load = await source.load().catch(() => undefined);
    if (load !== undefined) {
      const { turn } = this.#slices;
      const isSame = turn.number === before.number;
      this.#crowding.note(isSame ? turn : undefined, load, this.#nowMs());
    }
    if (nowMs - this.#lookedMs < LOOK_MS) return;
    const { baselinePaused: paused } = await store.requests(pipeline);
    this.#lookedMs = nowMs;
    this.#tooMuch = this.#tooMuchOf(load);
    const backingOff = this.#failure ?? this.#tooMuch ?? this.#sharing();
    this.#now({ paused, backingOff });
    this.#tellLooked();
  }

  #tooMuchOf(load: SourceLoad | undefined): string | undefined {
    const { limits, lagSeconds } = this.#options;
    const { activeSessions = 0, standbyLagSeconds = 0 } = load ?? {};
    const { baselineSessionsMax: sessionsMax, baselineLagSecondsMax: lagMax } = limits;
    if (activeSessions > sessionsMax)
      return `${activeSessions} sessions are at work in the source, more than ${sessionsMax}`;
    if (standbyLagSeconds > lagMax)
      return `a standby of the source is ${Math.round(standbyLagSeconds)} s behind, more than ${lagMax}`;
    const lag = lagSeconds();
    if (lag > lagMax) return `the log is followed ${Math.round(lag)} s behind, more than ${lagMax}`;
    return undefined;
  }

  #sharing(): string | undefined {
    const share = this.#share();
    if (share >= 1) return undefined;
    const reads = `it reads ${Math.round(share * 100)} % of the time`;
    const { isBlind, measured } = this.#crowding;
    if (isBlind) return `this role may not see who is at work in the source, ${reads}`;
    const slower =
      measured === undefined
        ? "are at work in the source"
        : `at work in the source take ${measured.toFixed(1)} times as long while it reads`;
    return `others ${slower}, ${reads}`;
  }

  #now(rest: Rest): void {
    const { paused, backingOff } = this.#rest;
    this.#rest = rest;
    this.#count();
    if (paused !== rest.paused || backingOff !== rest.backingOff) this.#options.onRest(rest);
  }
  /** Counts rest from now on, or no longer. */
  #count(): void {
    const { paused } = this.#rest;
    const isReading = this.#slices.turn.isReading;
    const isAtRest = paused || (this.#failure ?? this.#tooMuch) !== undefined;
    this.#rested.run(isAtRest && !isReading);
    this.#paused.run(paused && !isReading);
  }
}

/** Adds up time, now and then. */
class Stopwatch {
  readonly #nowMs: () => number;
  #ms = 0;
  #sinceMs: number | undefined;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  get ms(): number {
    return this.#ms + (this.#sinceMs === undefined ? 0 : this.#nowMs() - this.#sinceMs);
  }

  run(isRunning: boolean): void {
    this.#ms = this.ms;
    this.#sinceMs = isRunning ? this.#nowMs() : undefined;
  }
}
