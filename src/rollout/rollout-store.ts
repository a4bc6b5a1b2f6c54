import type { MoveKind, MoveStep, Standing } from "./move.ts";
import type { Rollout } from "./stage.ts";

/**
 * Where moves are decided and noted. Every call is one transaction, and every one that raises the epoch of
 * a rollout adds a row to its log. Every implementation passes test/contract/rollout-store.contract.ts.
 *
 * A move belongs to the process that drives it. Whoever was relieved of it changes nothing more.
 *
 * @throws BanyanError from every call: `STORE_UNREACHABLE`, `STORE_REFUSED`; `ROLLOUT_BUSY` from one that
 *   is given a move that another process drives by now
 */
export interface RolloutStore {
  /** By stream type; one that is not in it has not begun to move. */
  standings(): Promise<ReadonlyMap<string, StandingRollout>>;

  /**
   * Begins a move; the only one under way of its stream type. A rollout that there was not is made.
   *
   * @throws BanyanError `ROLLOUT_BUSY` when one is under way, or the stream type does not stand where the
   *   intent says
   */
  begin(intent: MoveIntent): Promise<Move>;

  /** Takes over the oldest move whose driver was silent for so long. */
  takeOver(driver: string, silentMs: number, type?: string): Promise<Move | undefined>;

  /** Says that the driver is alive. */
  touch(move: Move): Promise<void>;

  /** Notes a step, and the fence that belongs to it. One that has ended stays as it is. */
  note(move: Move, step: MoveStep, fence?: string): Promise<Move>;

  /** Has the moving buckets' writes held back for `holdMs` from now. `over` when it stands elsewhere by now. */
  hold(move: Move): Promise<Move | "over">;

  /** What each proxy that knows the stream type has acknowledged. */
  proxies(type: string): Promise<readonly ProxyNote[]>;

  /**
   * Changes the authority, under the lock that appends are held to. One that ends the move clears the hold.
   *
   * @param then `end`: the move is done; `keep-hold`: writes are held back still, for what is left of it, and
   *   reads are answered by new
   * @returns `over` when the hold has ended, or somebody else has changed the rollout
   */
  switchOver(move: Move, then: "end" | "keep-hold"): Promise<Move | "over">;

  /** Behind a switch to legacy: it answers reads again, while writes are held back still. */
  turn(move: Move): Promise<Move | "over">;

  /**
   * Back to where it stood before {@link switchOver}, unless somebody has ended the hold; the move is undone.
   * Whoever finds the hold of such a move over by the clock has done the same (`RolloutState.endHold`).
   */
  switchBack(move: Move, reason: string): Promise<Move | "over">;

  /** Ends a move, and its hold where that still stands. One that has ended stays as it is. */
  end(move: Move, outcome: MoveOutcome, reason: string | undefined): Promise<Move>;

  /** @returns false when the stream type has no rollout */
  pause(type: string, paused: boolean, who: string, why: string): Promise<boolean>;

  /** Newest first, those under way before all others. */
  moves(limit: number): Promise<readonly Move[]>;

  /** Newest first. @param type all when undefined */
  log(type: string | undefined, limit: number): Promise<readonly LogEntry[]>;

  close(): Promise<void>;
}

export interface StandingRollout extends Rollout {
  /** An operator lets every automatic step rest. */
  readonly paused: boolean;
  /** ISO 8601: since when it stands at this stage and share. */
  readonly since: string;
}

export interface MoveIntent {
  readonly type: string;
  readonly kind: MoveKind;
  readonly from: Standing;
  readonly to: Standing;
  readonly who: string;
  readonly why: string;
  /** Gates that are passed over by name. */
  readonly forced: readonly string[];
  /** Instances of proxies that are not waited for. */
  readonly without: readonly string[];
  readonly holdMs: number;
  /** A UUID of the process, or of its attempt. */
  readonly driver: string;
}

export type MoveOutcome = "done" | "undone";

export interface Move extends MoveIntent {
  readonly id: string;
  readonly step: MoveStep;
  /** Of the rollout after that step. */
  readonly epoch: number;
  /** Position that the other side must have passed. */
  readonly fence: string | undefined;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly touchedAt: string;
  readonly endedAt: string | undefined;
  readonly outcome: MoveOutcome | undefined;
  readonly reason: string | undefined;
}

/** What a proxy was seen to know. */
export interface ProxyNote {
  /** UUID. */
  readonly instance: string;
  /** Host and process, for people. */
  readonly place: string;
  /** No write that was decided on an earlier one is under way there. */
  readonly epoch: number;
  /** It decides by this one, or a later one. */
  readonly knows: number;
  /** Since it was seen. */
  readonly ageMs: number;
}

export interface LogEntry {
  readonly id: string;
  readonly type: string;
  /** ISO 8601. */
  readonly at: string;
  readonly who: string;
  readonly what: string;
  readonly why: string;
  readonly epoch: number;
  readonly detail: unknown;
}
