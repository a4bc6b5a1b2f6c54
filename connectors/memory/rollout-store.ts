import { BanyanError } from "../../src/model/errors.ts";
import { busy, changed, relieved, stale } from "../../src/rollout/move-errors.ts";
import { movingBuckets, type MoveStep, type Standing } from "../../src/rollout/move.ts";
import type { Hold } from "../../src/rollout/stage.ts";
import type {
  LogEntry,
  Move,
  MoveIntent,
  MoveOutcome,
  ProxyNote,
  RolloutStore,
  StandingRollout,
} from "../../src/rollout/rollout-store.ts";

interface Standings extends Standing {
  salt: string;
  epoch: number;
  paused: boolean;
  sinceMs: number;
  held: (Omit<Hold, "leftMs"> & { readonly untilMs: number }) | undefined;
}

/** Moves of a test, with a clock of its own. */
export class MemoryRolloutStore implements RolloutStore {
  readonly #rollouts = new Map<string, Standings>();
  readonly #moves: Move[] = [];
  readonly #log: LogEntry[] = [];
  readonly #proxies = new Map<string, ProxyNote[]>();
  readonly #now: () => number;
  /** As a store that is down. */
  unreachable = false;

  /** @param now in ms since 1970 */
  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  async standings(): Promise<ReadonlyMap<string, StandingRollout>> {
    await this.#reach();
    return new Map([...this.#rollouts].map(([type, r]) => [type, this.#shown(r)]));
  }

  async begin(intent: MoveIntent): Promise<Move> {
    await this.#reach();
    const { type, from } = intent;
    const other = this.#moves.find((move) => move.type === type && move.endedAt === undefined);
    if (other !== undefined) throw busy(other, this.#now() - Date.parse(other.touchedAt));
    const standing: Standings = this.#rollouts.get(type) ?? {
      stage: "legacy",
      share: 0,
      salt: `salt of ${type}`,
      epoch: 1,
      paused: false,
      sinceMs: this.#now(),
      held: undefined,
    };
    if (standing.stage !== from.stage || standing.share !== from.share)
      throw changed(type, from, standing);
    this.#rollouts.set(type, standing);
    const at = new Date(this.#now()).toISOString();
    const move: Move = {
      ...intent,
      id: String(this.#moves.length + 1),
      step: "begun",
      epoch: standing.epoch,
      fence: undefined,
      startedAt: at,
      touchedAt: at,
      endedAt: undefined,
      outcome: undefined,
      reason: undefined,
    };
    this.#moves.push(move);
    this.#tell(move, `${intent.kind} begun`);
    return move;
  }

  async takeOver(driver: string, silentMs: number, type?: string): Promise<Move | undefined> {
    await this.#reach();
    const found = this.#moves.find(
      (move) =>
        move.endedAt === undefined &&
        (type === undefined || move.type === type) &&
        this.#now() - Date.parse(move.touchedAt) >= silentMs,
    );
    return found && this.#put({ ...found, driver });
  }

  async touch(move: Move): Promise<void> {
    await this.#reach();
    const found = this.#moves.find(({ id }) => id === move.id);
    if (found?.driver !== move.driver) throw relieved(move);
    this.#put(found);
  }

  async note(move: Move, step: MoveStep, fence = move.fence): Promise<Move> {
    await this.#reach();
    return this.#endedOf(move) ?? this.#put({ ...move, step, fence });
  }

  async hold(move: Move): Promise<Move | "over"> {
    await this.#reach();
    this.#own(move);
    const standing = this.#rollouts.get(move.type)!;
    const range = movingBuckets(move.from, move.to);
    const isThere = standing.stage === move.from.stage && standing.share === move.from.share;
    if (!isThere || range === undefined) return "over";
    const reads = move.kind === "rollback" ? "new" : "legacy";
    standing.held = { ...range, reads, untilMs: this.#now() + move.holdMs };
    standing.epoch += 1;
    return this.#logged({ ...move, step: "held", epoch: standing.epoch }, "writes held back");
  }

  async proxies(type: string): Promise<readonly ProxyNote[]> {
    await this.#reach();
    return this.#proxies.get(type) ?? [];
  }

  async switchOver(move: Move, then: "end" | "keep-hold"): Promise<Move | "over"> {
    await this.#reach();
    const ended = this.#endedOf(move);
    if (ended !== undefined) return ended;
    const isHeld = move.kind !== "complete" && movingBuckets(move.from, move.to) !== undefined;
    const epoch = this.#switch(move, move.to, then === "keep-hold", isHeld);
    if (epoch === undefined) return "over";
    if (then === "end") {
      const done = this.#ended({ ...move, epoch }, "done", undefined);
      return this.#logged(done, `${move.kind} done`);
    }
    return this.#logged({ ...move, step: "switched", epoch }, `${move.kind} switched`);
  }

  async turn(move: Move): Promise<Move | "over"> {
    await this.#reach();
    const ended = this.#endedOf(move);
    if (ended !== undefined) return ended;
    const standing = this.#rollouts.get(move.type)!;
    if (standing.held === undefined || standing.epoch !== move.epoch) return "over";
    standing.held = { ...standing.held, reads: "legacy" };
    standing.epoch += 1;
    const turned: Move = { ...move, step: "turned", epoch: standing.epoch };
    return this.#logged(turned, "reads back at legacy");
  }

  async switchBack(move: Move, reason: string): Promise<Move | "over"> {
    await this.#reach();
    const ended = this.#endedOf(move);
    if (ended !== undefined) return ended;
    const epoch = this.#switch(move, move.from, false, false);
    if (epoch === undefined) return "over";
    return this.#logged(
      this.#ended({ ...move, epoch }, "undone", reason),
      `${move.kind} switched back`,
    );
  }

  async end(move: Move, outcome: MoveOutcome, reason: string | undefined): Promise<Move> {
    await this.#reach();
    const found = this.#endedOf(move);
    if (found !== undefined) return found;
    const standing = this.#rollouts.get(move.type)!;
    let { epoch } = move;
    if (standing.held !== undefined && standing.epoch === move.epoch) {
      standing.held = undefined;
      epoch = standing.epoch += 1;
    }
    return this.#logged(
      this.#ended({ ...move, epoch }, outcome, reason),
      `${move.kind} ${outcome}`,
    );
  }

  async pause(type: string, paused: boolean, who: string, why: string): Promise<boolean> {
    await this.#reach();
    const standing = this.#rollouts.get(type);
    if (standing === undefined || standing.stage === "complete") return false;
    const other = this.#moves.find((move) => move.type === type && move.endedAt === undefined);
    if (other !== undefined) throw busy(other, this.#now() - Date.parse(other.touchedAt));
    standing.paused = paused;
    standing.epoch += 1;
    this.#tell({ type, who, why, epoch: standing.epoch }, paused ? "paused" : "resumed");
    return true;
  }

  async moves(limit: number): Promise<readonly Move[]> {
    await this.#reach();
    const newest = this.#moves.toReversed();
    const isOver = (move: Move): boolean => move.endedAt !== undefined;
    return [...newest.filter((move) => !isOver(move)), ...newest.filter(isOver)].slice(0, limit);
  }

  async log(type: string | undefined, limit: number): Promise<readonly LogEntry[]> {
    await this.#reach();
    return this.#log
      .filter((entry) => type === undefined || entry.type === type)
      .toReversed()
      .slice(0, limit);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** As a proxy says what it knows. */
  putProxies(type: string, proxies: readonly ProxyNote[]): void {
    this.#proxies.set(type, [...proxies]);
  }

  /** As a proxy ends a hold that is over by the clock. @returns whether it did */
  endHold(type: string, epoch: number): boolean {
    const standing = this.#rollouts.get(type);
    if (standing?.held === undefined || standing.epoch !== epoch) return false;
    if (standing.held.untilMs >= this.#now()) return false;
    standing.held = undefined;
    standing.epoch += 1;
    const move = this.#moves.find((one) => one.type === type && one.endedAt === undefined);
    if (move?.kind === "rollback" && move.step === "switched") {
      Object.assign(standing, move.from, { sinceMs: this.#now() });
      const back = { ...move, epoch: standing.epoch };
      const reason = "the hold was over before legacy was known to have everything";
      this.#logged(this.#ended(back, "undone", reason), "rollback switched back");
    }
    return true;
  }

  #switch(move: Move, to: Standing, keep: boolean, isHeld: boolean): number | undefined {
    const standing = this.#rollouts.get(move.type)!;
    if (standing.epoch !== move.epoch) return undefined;
    if (isHeld && (standing.held === undefined || standing.held.untilMs <= this.#now()))
      return undefined;
    const held = keep && standing.held ? { ...standing.held, reads: "new" as const } : undefined;
    const epoch = standing.epoch + 1;
    this.#rollouts.set(move.type, { ...standing, ...to, epoch, held, sinceMs: this.#now() });
    return epoch;
  }

  /** The move, when it has ended. @throws BanyanError `ROLLOUT_BUSY` */
  #endedOf(move: Move): Move | undefined {
    const found = this.#moves.find(({ id }) => id === move.id);
    if (found?.driver === move.driver && found.endedAt !== undefined) return found;
    this.#own(move);
    return undefined;
  }

  #own(move: Move): void {
    const found = this.#moves.find(({ id }) => id === move.id);
    if (found === undefined || found.driver !== move.driver || found.endedAt !== undefined)
      throw relieved(move);
    if (found.epoch !== move.epoch) throw stale(move, found.step);
  }

  #ended(move: Move, outcome: MoveOutcome, reason: string | undefined): Move {
    return { ...move, outcome, reason, endedAt: new Date(this.#now()).toISOString() };
  }

  #logged(move: Move, what: string): Move {
    this.#tell(move, what);
    return this.#put(move);
  }

  #put(move: Move): Move {
    const touched = { ...move, touchedAt: new Date(this.#now()).toISOString() };
    this.#moves[Number(move.id) - 1] = touched;
    return touched;
  }

  #tell(
    { type, who, why, epoch }: Pick<Move, "type" | "who" | "why" | "epoch">,
    what: string,
  ): void {
    const at = new Date(this.#now()).toISOString();
    const id = String(this.#log.length + 1);
    this.#log.push({ id, type, at, who, what, why, epoch, detail: {} });
  }

  #shown({ sinceMs, held, ...rest }: Standings): StandingRollout {
    const since = new Date(sinceMs).toISOString();
    if (held === undefined) return { ...rest, since };
    const { untilMs, ...hold } = held;
    return { ...rest, since, hold: { ...hold, leftMs: untilMs - this.#now() } };
  }

  #reach(): Promise<void> {
    if (!this.unreachable) return Promise.resolve();
    return Promise.reject(new BanyanError("STORE_UNREACHABLE", "the store is down"));
  }
}
