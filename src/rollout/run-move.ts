import { describeUnacknowledged, unacknowledged, unaware } from "./acknowledged.ts";
import {
  actionIn,
  after,
  MOVE_STEPS,
  wayOf,
  type MoveAction,
  type MoveEvent,
  type MoveState,
  type MoveStep,
  type Way,
} from "./move.ts";
import type { Move, RolloutStore } from "./rollout-store.ts";
import { BanyanError } from "../model/errors.ts";
import type { Position } from "../model/position.ts";
import { failpoint } from "../runtime/failpoint.ts";
import { pause as pauseNow } from "../runtime/pause.ts";

/** What a move asks of everything beside the rollout itself. */
export interface MoveWorld {
  /**
   * Looks at the moving aggregates ahead of the hold, so that little is left to compare within it, and
   * waits for a capture that is behind.
   *
   * @returns why they cannot move; undefined when nothing speaks against it
   */
  prepare(move: Move, signal: AbortSignal): Promise<string | undefined>;
  /** See ChangeSource.fence. */
  fence(): Promise<Position>;
  /** Whether the capture has applied everything before a fence. */
  hasApplied(fence: Position): Promise<boolean>;
  /** Compares rows and folds of the moving aggregates. @returns why they are not equal */
  compare(move: Move, signal: AbortSignal): Promise<string | undefined>;
  /** A place behind all events of the stream type that are stored now. */
  eventsEnd(type: string): Promise<string>;
  /** Whether every decision of the new service before a place is in the legacy rows. */
  reverse(type: string, place: string): Promise<ReverseState>;
}

export type ReverseState =
  | { readonly kind: "applied" }
  /** It goes on. @see says in words */
  | { readonly kind: "behind"; readonly says: string }
  /** It waits for somebody: nothing comes of waiting. */
  | { readonly kind: "conflict"; readonly says: string };

export interface RunMoveOptions {
  readonly store: RolloutStore;
  readonly world: MoveWorld;
  /** Told of every state, its action included, once it is noted. */
  readonly onState?: (state: MoveState, move: Move) => void;
  readonly pollMs?: number;
  /** Injected by tests, as `pause`. */
  readonly now?: () => number;
  readonly pause?: (ms: number, signal: AbortSignal) => Promise<void>;
}

const POLL_MS = 20;
const TOUCH_MS = 1_000;
/** What takes a move back is tried so often before it is left to whoever resumes the move. */
const UNDO_ATTEMPTS_MAX = 5;
const UNDO_PAUSE_MS = 200;
/** So much of a hold is kept for switching back, or a third of a short one. */
const RETURN_MS = 1_000;
/** So long writes wait at most until every proxy knows who answers reads. */
const SPREAD_MS_MAX = 2_000;

/**
 * Carries out a move from the step it is at to one of its ends. What fails is undone, and so is everything
 * when the signal aborts. Beside it the store is told every second that somebody is at it.
 *
 * @param resumed true when another process was at it before
 * @returns the move, ended; `reason` says why it was undone
 * @throws BanyanError when it could be neither carried out nor undone (it can be resumed);
 *   `ROLLOUT_BUSY` when another process has taken it over
 */
export async function runMove(
  options: RunMoveOptions,
  move: Move,
  signal: AbortSignal,
  resumed = false,
): Promise<Move> {
  const done = new AbortController();
  const touching = touch(options, move, done.signal);
  try {
    return await new MoveRun(options, move).run(signal, resumed);
  } finally {
    done.abort();
    await touching;
  }
}

async function touch(
  { store, pause = pauseNow }: RunMoveOptions,
  move: Move,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    await pause(TOUCH_MS, signal);
    // The next step meets the same failure, and tells it.
    if (!signal.aborted) await store.touch(move).catch(() => undefined);
  }
}

class MoveRun {
  readonly #options: RunMoveOptions;
  readonly #way: Way;
  readonly #now: () => number;
  #move: Move;
  /** By the clock here; the store's own decides. */
  #heldUntilMs = Number.POSITIVE_INFINITY;
  #reason: string | undefined;

  constructor(options: RunMoveOptions, move: Move) {
    this.#options = options;
    this.#move = move;
    this.#way = wayOf(move);
    this.#now = options.now ?? (() => performance.now());
  }

  async run(signal: AbortSignal, resumed: boolean): Promise<Move> {
    let state: MoveState = this.#move.step;
    if (resumed) state = await this.#resume(this.#move.step);
    this.#tell(state);
    for (let undoings = 0; ;) {
      const action = actionIn(this.#way, state);
      if (action === undefined) return await this.#ended(state);
      const isTakenBack = state === "undoing" || state === "returning" || state === "known";
      if (isTakenBack && undoings++ > 0) await this.#pause(UNDO_PAUSE_MS);
      const event = await this.#attempt(action, signal, undoings >= UNDO_ATTEMPTS_MAX);
      const next = after(this.#way, state, event);
      if (event === "done" && this.#move.outcome === undefined) await this.#note(next);
      // Also when whoever found the hold over has ended the move with it.
      const now = this.#move.outcome ?? next;
      if (now !== state) this.#tell(now);
      state = now;
    }
  }

  #tell(state: MoveState): void {
    if (state !== "done" && state !== "undone") failpoint(`move-${state}`);
    this.#options.onState?.(state, this.#move);
  }

  async #resume(step: MoveStep): Promise<MoveState> {
    const state = after(this.#way, step, "resumed");
    if (state === "undoing") this.#reason = `the process that began it ended at step ${step}`;
    const standing = (await this.#options.store.standings()).get(this.#move.type);
    const leftMs = Math.max(0, standing?.hold?.leftMs ?? 0);
    if (state !== "begun") this.#heldUntilMs = this.#now() + leftMs;
    return state;
  }

  /** Ends that no action of the store has written: the hold was over, or there was none. */
  async #ended(state: MoveState): Promise<Move> {
    if (this.#move.outcome !== undefined) return this.#move;
    const outcome = state === "done" ? "done" : "undone";
    this.#move = await this.#options.store.end(this.#move, outcome, this.#reason);
    return this.#move;
  }

  async #note(state: MoveState): Promise<void> {
    const step = MOVE_STEPS.find((known) => known === state);
    if (step === undefined || step === this.#move.step) return;
    this.#move = await this.#options.store.note(this.#move, step, this.#move.fence);
  }

  async #attempt(action: MoveAction, signal: AbortSignal, isLast: boolean): Promise<MoveEvent> {
    const isWayBack = action === "undo" || action === "switch-back" || action === "release";
    try {
      if (!isWayBack) signal.throwIfAborted();
      const event = await this.#do(action, isWayBack ? new AbortController().signal : signal);
      if (event === "over")
        this.#reason = [this.#reason, overReason(action)].filter(Boolean).join("; ");
      return event;
    } catch (error) {
      if (!isExpected(error, signal) || isLast) throw error;
      if (error instanceof BanyanError && error.code === "ROLLOUT_BUSY") throw error;
      this.#reason ??= signal.aborted
        ? `it was stopped while it ${DOING[action]}`
        : `${DOING[action]}: ${(error as Error).message}`;
      return "failed";
    }
  }

  async #do(action: MoveAction, signal: AbortSignal): Promise<MoveEvent> {
    const { store, world } = this.#options;
    switch (action) {
      case "hold":
        return await this.#hold(signal);
      case "await-proxies":
        return await this.#until(signal, "proxies", async () => {
          const missing = unacknowledged(this.#move, await store.proxies(this.#move.type));
          return missing.length === 0 ? undefined : describeUnacknowledged(missing);
        });
      case "fence":
        this.#move = { ...this.#move, fence: await world.fence() };
        return "done";
      case "await-capture":
        return await this.#until(signal, "the capture", async () =>
          (await world.hasApplied(this.#move.fence as Position))
            ? undefined
            : `it has not passed ${this.#move.fence}; is banyan run running?`,
        );
      case "compare":
        return this.#judge(await world.compare(this.#move, this.#held(signal)));
      case "drain":
        return await this.#awaitReverse(signal, false);
      case "settle":
        return await this.#awaitReverse(signal, true);
      case "switch":
        return this.#take(
          await store.switchOver(
            this.#move,
            this.#way === "retreat" || this.#way === "advance" ? "keep-hold" : "end",
          ),
        );
      case "turn":
        return this.#take(await store.turn(this.#move));
      case "spread":
        return await this.#spread(signal);
      case "switch-back":
        return this.#take(await store.switchBack(this.#move, this.#reason ?? "it failed"));
      case "release":
        return this.#take(await store.end(this.#move, "done", this.#reason));
      case "undo":
        return this.#take(await store.end(this.#move, "undone", this.#reason));
    }
  }

  async #hold(signal: AbortSignal): Promise<MoveEvent> {
    const { store, world } = this.#options;
    if (this.#way === "advance") {
      const event = this.#judge(await world.prepare(this.#move, signal));
      if (event === "failed") return event;
    }
    this.#heldUntilMs = this.#now() + this.#move.holdMs;
    return this.#take(await store.hold(this.#move));
  }

  async #awaitReverse(signal: AbortSignal, isSwitched: boolean): Promise<MoveEvent> {
    const { world } = this.#options;
    const { type } = this.#move;
    // Without a hold it is waited for as long as with one.
    if (this.#heldUntilMs === Number.POSITIVE_INFINITY)
      this.#heldUntilMs = this.#now() + this.#move.holdMs;
    // Behind the switch time must be left to switch back, or legacy would take writes on rows that lack some.
    const reserveMs = isSwitched ? Math.min(RETURN_MS, this.#move.holdMs / 3) : 0;
    const untilMs = this.#heldUntilMs - reserveMs;
    const place = await world.eventsEnd(type);
    this.#move = { ...this.#move, fence: place };
    let conflict: string | undefined;
    const missing = async (): Promise<string | undefined> => {
      const state = await world.reverse(type, place);
      if (state.kind === "conflict") conflict = state.says;
      return state.kind === "behind" ? state.says : undefined;
    };
    const event = await this.#until(signal, "reverse sync", missing, untilMs);
    return conflict === undefined ? event : this.#judge(conflict);
  }

  /** Every proxy is to know who answers reads before the first write that was held back is answered. */
  async #spread(signal: AbortSignal): Promise<MoveEvent> {
    const { store } = this.#options;
    const startedMs = this.#now();
    const untilMs = Math.min(this.#heldUntilMs, startedMs + SPREAD_MS_MAX);
    const missing = async (): Promise<string | undefined> => {
      const late = unaware(this.#move, await store.proxies(this.#move.type));
      return late.length === 0
        ? undefined
        : `reads of ${late.map(({ place }) => place).join(", ")} may have been answered by the other side for a moment more`;
    };
    return await this.#until(signal, undefined, missing, untilMs);
  }

  /** Looks again and again until nothing is missing, or the hold has run out. */
  async #until(
    signal: AbortSignal,
    whom: string | undefined,
    missing: () => Promise<string | undefined>,
    untilMs = this.#heldUntilMs,
  ): Promise<MoveEvent> {
    for (;;) {
      const says = await missing();
      if (says === undefined) return "done";
      signal.throwIfAborted();
      if (this.#now() >= untilMs) {
        const seconds = this.#move.holdMs / 1000;
        if (whom === undefined) return this.#judge(says);
        return this.#judge(`waited ${seconds} s for ${whom} in vain: ${says}`);
      }
      await this.#pause(this.#options.pollMs ?? POLL_MS, signal);
    }
  }

  #judge(problem: string | undefined): MoveEvent {
    if (problem === undefined) return "done";
    this.#reason ??= problem;
    return "failed";
  }

  #take(result: Move | "over"): MoveEvent {
    if (result === "over") return "over";
    this.#move = result;
    return "done";
  }

  /** Aborts when the signal does, and with the hold. */
  #held(signal: AbortSignal): AbortSignal {
    const leftMs = Math.max(1, Math.ceil(this.#heldUntilMs - this.#now()));
    return AbortSignal.any([signal, AbortSignal.timeout(Math.min(leftMs, 2 ** 31 - 1))]);
  }

  async #pause(ms: number, signal: AbortSignal = new AbortController().signal): Promise<void> {
    await (this.#options.pause ?? pauseNow)(ms, signal);
  }
}

/** For the reason of a move that was undone. */
const DOING: Readonly<Record<MoveAction, string>> = {
  hold: "began the hold",
  "await-proxies": "waited for proxies",
  fence: "wrote a mark into the legacy log",
  "await-capture": "waited for the capture",
  compare: "compared the moving aggregates",
  drain: "waited for reverse sync",
  switch: "switched the authority",
  settle: "waited for reverse sync after the switch",
  turn: "gave the reads back to legacy",
  spread: "waited until every proxy knew of it",
  release: "ended the hold",
  undo: "took it back",
  "switch-back": "switched the authority back",
};

function overReason(action: MoveAction): string {
  switch (action) {
    case "turn":
    case "spread":
    case "release":
      return "the hold had ended by the clock";
    case "settle":
    case "switch-back":
      return "somebody else has changed the rollout: look for conflicts of reverse sync";
    default:
      return "the hold had ended before the authority could be switched";
  }
}

/** What a failed step may end with; anything else is a bug, or a crash that a test wants. */
function isExpected(error: unknown, signal: AbortSignal): boolean {
  if (error instanceof BanyanError) return error.recovery !== "bug";
  return signal.aborted || (error instanceof Error && /^(Abort|Timeout)Error$/.test(error.name));
}
