import { setTimeout as sleep } from "node:timers/promises";
import type { ChangeSource } from "../source/change-source.ts";
import type { EventStore } from "../store/event-store.ts";

/** How long a chunk should take: short enough to hold up neither the log nor the source. */
const CHUNK_MS = 500;
const ROWS_FIRST = 2_000;
const ROWS_MIN = 100;
/** A chunk that fails so often in a row ends the run, which is begun again. */
const FAILURES_MAX = 5;
const BACKOFF_MS_MIN = 500;
const BACKOFF_MS_MAX = 30_000;
/** Between two looks at the source's load and at what an operator asks for. */
const LOOK_MS = 500;

export interface PaceLimits {
  /** Sessions of others at work in the source beyond which the baseline rests. */
  readonly baselineSessionsMax: number;
  /** Likewise the lag of this pipeline and of the source's standbys. */
  readonly baselineLagSecondsMax: number;
  /** Root rows of one chunk. */
  readonly baselineChunkRowsMax: number;
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
  /** Undefined while nothing speaks against going on. */
  readonly backingOff: string | undefined;
}

/** When the next chunks of a baseline may be read. One for all stream types of a run. */
export class ChunkPace {
  readonly #options: PaceOptions;
  #lookedMs = -Infinity;
  #rest: Rest = { paused: false, backingOff: undefined };
  #looking: Promise<void> | undefined;
  #restedMs = 0;
  #restingSinceMs: number | undefined;

  constructor(options: PaceOptions) {
    this.#options = options;
  }

  get rest(): Rest {
    return this.#rest;
  }

  /** How long it has rested so far, which is no time in which rows are read. */
  get restedMs(): number {
    const since = this.#restingSinceMs;
    return this.#restedMs + (since === undefined ? 0 : Date.now() - since);
  }

  /** Resolves when nothing speaks against reading a chunk. @throws the signal's reason */
  async ready(signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted();
      this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
      await this.#looking;
      const { paused, backingOff } = this.#rest;
      if (!paused && backingOff === undefined && !this.#options.isHeld()) return;
      await sleep(this.#options.isHeld() ? 20 : LOOK_MS / 2, undefined, { signal });
    }
  }

  /** Rests for a while after a chunk that failed. */
  async failed(failures: number, reason: string, signal: AbortSignal): Promise<void> {
    const delayMs = Math.min(BACKOFF_MS_MIN * 2 ** (failures - 1), BACKOFF_MS_MAX);
    this.#now({ ...this.#rest, backingOff: `the last chunk failed: ${reason}` });
    await sleep(delayMs, undefined, { signal });
    this.#lookedMs = -Infinity;
  }

  async #look(): Promise<void> {
    if (Date.now() - this.#lookedMs < LOOK_MS) return;
    const { store, source, pipeline } = this.#options;
    const { baselinePaused: paused } = await store.requests(pipeline);
    // What the source does not tell, or not now, holds nobody up.
    const load = await source.load().catch(() => undefined);
    this.#lookedMs = Date.now();
    this.#now({ paused, backingOff: this.#tooMuch(load) });
  }

  #tooMuch(load: Awaited<ReturnType<ChangeSource["load"]>> | undefined): string | undefined {
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

  #now(rest: Rest): void {
    const { paused, backingOff } = this.#rest;
    this.#rest = rest;
    this.#restedMs = this.restedMs;
    this.#restingSinceMs = rest.paused || rest.backingOff !== undefined ? Date.now() : undefined;
    if (paused !== rest.paused || backingOff !== rest.backingOff) this.#options.onRest(rest);
  }
}

/** How many rows the chunks of one stream type have: so many that one takes about half a second. */
export class ChunkSize {
  readonly #rowsMax: number;
  #rows: number;
  #failures = 0;

  constructor(rowsMax: number) {
    this.#rowsMax = rowsMax;
    this.#rows = Math.min(ROWS_FIRST, rowsMax);
  }

  get rows(): number {
    return this.#rows;
  }

  succeeded(tookMs: number): void {
    this.#failures = 0;
    const factor = Math.min(2, Math.max(0.5, CHUNK_MS / Math.max(1, tookMs)));
    this.#rows = this.#clamp(this.#rows * factor);
  }

  /** @returns how often in a row it failed; undefined when that is enough */
  failed(): number | undefined {
    this.#failures += 1;
    this.#rows = this.#clamp(this.#rows / 2);
    return this.#failures > FAILURES_MAX ? undefined : this.#failures;
  }

  #clamp(rows: number): number {
    return Math.round(Math.min(this.#rowsMax, Math.max(ROWS_MIN, rows)));
  }
}
