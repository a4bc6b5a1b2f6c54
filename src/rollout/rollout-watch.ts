import type { RolloutState } from "./rollout-state.ts";
import { UNMOVED, type Rollout } from "./stage.ts";
import { tellChanges } from "../runtime/tell-changes.ts";
import { pause } from "../runtime/pause.ts";

export interface RolloutWatchOptions {
  readonly state: RolloutState;
  /** For so long what is known is taken for true although it cannot be read again. */
  readonly keepMs?: number;
  readonly pollMs?: number;
  readonly now?: () => number;
  /** Who reads, for the log of the rollout; absent: holds that are over are left to others. */
  readonly who?: string;
  /** What is read while this is false is not taken for true: see presence.ts. */
  readonly isHeard?: () => boolean;
  /** A stream type changed; `before` is undefined when it was not known. */
  readonly onChange?: (type: string, rollout: Rollout, before: Rollout | undefined) => void;
  /** This call ended a hold that was over by the clock. */
  readonly onHoldEnded?: (type: string) => void;
  /**
   * Reading failed, or older epochs came: all of one read as one text, told when it is another than that of
   * the read before. Undefined when a read had none again.
   */
  readonly onProblem?: (problem: string | undefined) => void;
}

/** Between two reads. Decides how long a change takes to be heard. */
const POLL_MS = 100;
const KEEP_MS = 10_000;
/** Between two reads while something is held back: so much longer a request waits than it must. */
const HELD_POLL_MS = 20;

/**
 * What a proxy knows of the rollout, at hand for each request.
 *
 * Per stream type the highest epoch ever seen stands: a state from before (a standby that lags, a restored
 * store, a row that is gone) changes nothing.
 */
export class RolloutWatch {
  readonly #options: RolloutWatchOptions;
  readonly #keepMs: number;
  readonly #now: () => number;
  readonly #known = new Map<string, Rollout>();
  /** Begin of the last read that ended well: what is known was true then or later. */
  #asOfMs: number | undefined;
  readonly #tell: (problem: string | undefined) => void;

  constructor(options: RolloutWatchOptions) {
    this.#options = options;
    this.#tell = tellChanges((problem) => options.onProblem?.(problem));
    this.#keepMs = options.keepMs ?? KEEP_MS;
    this.#now = options.now ?? (() => performance.now());
  }

  /**
   * Where a stream type stands. Undefined when that is not known: nothing was read yet, or too long ago
   * for one of which some aggregates have moved. What has never moved stays with legacy meanwhile, and what
   * is complete cannot go back.
   */
  of(type: string): Rollout | undefined {
    if (this.#asOfMs === undefined) return undefined;
    const rollout = this.#known.get(type) ?? UNMOVED;
    return canMove(rollout) && this.ageMs > this.#keepMs ? undefined : rollout;
  }

  /** Since when what is known may be wrong. Infinite before the first read. */
  get ageMs(): number {
    return this.#asOfMs === undefined ? Number.POSITIVE_INFINITY : this.#now() - this.#asOfMs;
  }

  get known(): ReadonlyMap<string, Rollout> {
    return this.#known;
  }

  /** Reads again and again until the signal aborts. A read that fails leaves what is known. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.refresh();
      await pause(this.#pauseMs(), signal);
    }
  }

  async refresh(): Promise<void> {
    const startedMs = this.#now();
    const problems: string[] = [];
    const changes: (() => void)[] = [];
    try {
      const read = await this.#options.state.read();
      for (const [type, rollout] of read) {
        const problem = this.#learn(type, rollout, changes);
        if (problem !== undefined) problems.push(problem);
      }
      if (this.#options.isHeard?.() === false) problems.push(UNHEARD);
      else this.#asOfMs = startedMs;
      // What waits for a change is decided by all that was read, and by its age.
      for (const tell of changes) tell();
      await this.#endHolds(read);
    } catch (error) {
      problems.push(error instanceof Error ? error.message : String(error));
    }
    // A store gives its rows in any order, and the same problems are to be the same text.
    this.#tell(problems.length === 0 ? undefined : problems.sort().join("; "));
  }

  /** @returns why it is not taken */
  #learn(type: string, rollout: Rollout, changes: (() => void)[]): string | undefined {
    const before = this.#known.get(type);
    if (before !== undefined && rollout.epoch < before.epoch) {
      return `the rollout of ${type} came with epoch ${rollout.epoch} after ${before.epoch}; the later one stands`;
    }
    if (before?.epoch === rollout.epoch) return undefined;
    this.#known.set(type, rollout);
    changes.push(() => this.#options.onChange?.(type, rollout, before));
    return undefined;
  }

  /** Writes go on only by a state that says so: a hold that is over is ended in the store, and read again. */
  async #endHolds(read: ReadonlyMap<string, Rollout>): Promise<void> {
    const { state, who, onHoldEnded } = this.#options;
    if (who === undefined) return;
    for (const [type, { hold, epoch }] of read) {
      if (hold === undefined || hold.leftMs > 0) continue;
      if (this.#known.get(type)?.epoch !== epoch) continue;
      if (await state.endHold(type, epoch, who)) onHoldEnded?.(type);
    }
  }

  #pauseMs(): number {
    const pollMs = this.#options.pollMs ?? POLL_MS;
    for (const { hold } of this.#known.values())
      if (hold !== undefined) return Math.min(pollMs, HELD_POLL_MS);
    return pollMs;
  }
}

const UNHEARD = "what was read does not count, because moves may not know of this proxy";

/** Behind a hold the authority may have changed, and nobody waits for a proxy that was cut off since. */
function canMove({ stage, hold }: Rollout): boolean {
  return stage === "canary" || stage === "new" || hold !== undefined;
}
