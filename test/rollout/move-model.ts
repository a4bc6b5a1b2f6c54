import { randomUUID } from "node:crypto";
import { MemoryRolloutStore } from "../../connectors/memory/rollout-store.ts";
import { BanyanError } from "../../src/model/errors.ts";
import type { Position } from "../../src/model/position.ts";
import { PROXY_SILENT_MS_MAX } from "../../src/rollout/acknowledged.ts";
import { movedBuckets, movingBuckets, wayOf, type MoveState } from "../../src/rollout/move.ts";
import type { Move, MoveIntent, StandingRollout } from "../../src/rollout/rollout-store.ts";
import { runMove, type MoveWorld } from "../../src/rollout/run-move.ts";

/*
 * A stream type with some aggregates, proxies that let writes through to both sides, a capture and a
 * reverse sync, all in a time of their own. The runner and the memory store are the real ones. What must
 * hold is checked where a write is committed: by the side that has authority, on a state that holds all
 * the other side had decided.
 */

export type Bug =
  /** Nobody waits for proxies. */
  | "no-acknowledgements"
  /** The switch does not wait for the capture. */
  | "no-fence"
  /** Reverse sync is taken to have applied everything. */
  | "no-reverse"
  /** A proxy lets held writes go by its own clock, and does not read the rollout again. */
  | "proxy-by-the-clock"
  /** A proxy that is cut off within the first hold goes on sending to legacy what was not held. */
  | "proxy-forgets-the-hold"
  /** A promotion that was interrupted goes on from where it was, and makes its hold anew for the switch. */
  | "resumed-blindly"
  /** A comparison that failed is passed over. */
  | "no-comparison";

export interface Disturbance {
  readonly atMs: number;
  readonly what:
    | "partition"
    | "heal"
    | "kill-proxy"
    | "start-proxy"
    | "stop-capture"
    | "stop-reverse"
    | "start-all"
    | "store-down"
    | "store-up"
    | "differs"
    | "conflict"
    | "equal"
    | "second-operator";
}

export interface MoveCommand {
  readonly kind: "move";
  /** Toward new, or toward legacy. */
  readonly up: boolean;
  readonly share: number;
  readonly abandon: boolean;
  /** The n-th state at which the driver is killed; never when beyond all. */
  readonly crashAt: number;
  readonly disturbances: readonly Disturbance[];
}

export type Command = MoveCommand | { readonly kind: "wait"; readonly ms: number };

const HOLD_MS = 3_000;
const TICK_MS = 100;
const AGGREGATES = 12;
const PROXIES_MAX = 3;
/** A write takes so long at most. */
const WRITE_MS_MAX = 1_500;
const KEEP_MS = 10_000;

class Killed extends Error {}

interface Write {
  readonly aggregate: number;
  readonly side: "legacy" | "new";
  readonly epoch: number;
  readonly proxy: SimulatedProxy;
  readonly endsMs: number;
}

interface SimulatedProxy {
  readonly instance: string;
  known: StandingRollout | undefined;
  asOfMs: number;
  isCutOff: boolean;
  isDead: boolean;
  ackedEpoch: number;
  seenMs: number;
}

interface Timer {
  readonly atMs: number;
  readonly fire: () => void;
}

export class MoveModel {
  readonly violations: string[] = [];
  readonly ends: Move[] = [];
  nowMs = 1_700_000_000_000;
  readonly store = new MemoryRolloutStore(() => this.nowMs);
  readonly #bug: Bug | undefined;
  readonly #random: () => number;
  readonly #buckets: readonly number[];
  readonly #proxies: SimulatedProxy[] = [];
  readonly #timers: Timer[] = [];
  #writes: Write[] = [];
  #log = 0;
  #captured = 0;
  #feed = 0;
  #applied = 0;
  readonly #lastLegacy: number[] = Array<number>(AGGREGATES).fill(0);
  readonly #lastNative: number[] = Array<number>(AGGREGATES).fill(0);
  readonly #abandoned = new Set<number>();
  #isCapturing = true;
  #isReversing = true;
  #differs = false;
  #conflict = false;
  #lastEpoch = 0;
  #isSettling = false;
  /** What was seen of the move under way. */
  #seen = {
    acknowledged: false,
    fence: undefined as Position | undefined,
    applied: false,
    equal: false,
  };

  constructor(random: () => number, bug?: Bug) {
    this.#random = random;
    this.#bug = bug;
    this.#buckets = Array.from({ length: AGGREGATES }, () => Math.floor(random() * 10_000));
    this.#addProxy();
    this.#addProxy();
  }

  async play(commands: readonly Command[]): Promise<void> {
    for (const command of commands) {
      if (command.kind === "wait") await this.#pass(command.ms);
      else await this.#move(command);
      if (this.violations.length > 0) return;
    }
    await this.#settleDown();
  }

  /** Everything works again; then nothing is held and nothing is under way. */
  async #settleDown(): Promise<void> {
    this.#isSettling = true;
    this.#startAll();
    await this.#pass(20_000);
    await this.#resume(99);
    await this.#pass(20_000);
    const standing = (await this.store.standings()).get("order");
    if (standing?.hold !== undefined) this.#violated("a hold has not ended");
    const [latest] = await this.store.moves(1);
    if (latest !== undefined && latest.endedAt === undefined) this.#violated("a move has no end");
    await this.#checkLog();
  }

  async #move(command: MoveCommand): Promise<void> {
    const standing = await this.#standing();
    const from = { stage: standing?.stage ?? "legacy", share: standing?.share ?? 0 } as const;
    const intent = intentOf(from, command);
    if (intent === undefined) return;
    let move: Move;
    try {
      move = await this.store.begin({ ...intent, driver: randomUUID() });
    } catch (error) {
      if (!(error instanceof BanyanError) || error.recovery === "bug") throw error;
      await this.#resume(command.crashAt);
      return;
    }
    for (const { atMs, what } of command.disturbances)
      this.#at(this.nowMs + atMs, () => this.#disturb(what));
    await this.#drive(move, command.crashAt, false);
    await this.#pass(500);
  }

  async #resume(crashAt: number): Promise<void> {
    const move = await this.store.takeOver(randomUUID(), 5_000).catch(() => undefined);
    if (move !== undefined) await this.#drive(move, crashAt, true);
  }

  async #drive(move: Move, crashAt: number, resumed: boolean): Promise<void> {
    const before = await this.store.standings().catch(() => undefined);
    let states = 0;
    const isBlind = this.#bug === "resumed-blindly" && move.kind === "promote";
    const running = runMove(
      {
        store: this.#watched(),
        world: this.#world(),
        pollMs: 60,
        now: () => this.nowMs,
        pause: (ms, signal) => this.#pause(ms, signal),
        onState: (state: MoveState, now) => {
          if (state === "begun" || state === "held") this.#forget();
          if (state === "switched" || state === "done") this.#switched(now);
          if (states++ === crashAt) throw new Killed();
        },
      },
      move,
      new AbortController().signal,
      isBlind ? false : resumed,
    );
    const ended = await this.#until(running);
    if (ended === undefined) return;
    this.ends.push(ended);
    const standing = (await this.store.standings().catch(() => undefined))?.get("order");
    const was = before?.get("order");
    if (standing === undefined || was === undefined) return;
    const isBack = ended.kind === "rollback";
    const [low, high] = isBack ? [standing, was] : [was, standing];
    if (movedBuckets(low) > movedBuckets(high)) this.#violated("a move went the wrong way");
  }

  /** Runs time on until a promise has settled. Undefined when it was a crash, or nothing could be done. */
  async #until(running: Promise<Move>): Promise<Move | undefined> {
    let outcome: { readonly move: Move | undefined } | undefined;
    running.then(
      (move) => (outcome = { move }),
      (error: unknown) => {
        const isTold = error instanceof BanyanError && error.recovery !== "bug";
        if (!isTold && !(error instanceof Killed)) this.#violated(String(error));
        outcome = { move: undefined };
      },
    );
    const deadlineMs = this.nowMs + 120_000;
    while (outcome === undefined) {
      if (this.nowMs > deadlineMs) {
        this.#violated("a move goes on for ever");
        return undefined;
      }
      await this.#step();
    }
    return outcome.move;
  }

  async #pass(ms: number): Promise<void> {
    const untilMs = this.nowMs + ms;
    while (this.nowMs < untilMs) await this.#step();
  }

  /** One tick of everything, and the timers up to it in their order. */
  async #step(): Promise<void> {
    const tickMs = this.nowMs + TICK_MS;
    for (;;) {
      await new Promise(setImmediate);
      this.#timers.sort((a, b) => a.atMs - b.atMs);
      const timer = this.#timers[0];
      if (timer === undefined || timer.atMs > tickMs) break;
      this.#timers.shift();
      this.nowMs = Math.max(this.nowMs, timer.atMs);
      timer.fire();
    }
    this.nowMs = tickMs;
    await this.#tick();
  }

  async #tick(): Promise<void> {
    const standing = await this.#standing();
    for (const proxy of this.#proxies) await this.#tickProxy(proxy);
    for (let n = 0; n < 2; n++) this.#begin();
    for (const write of this.#writes)
      if (write.endsMs <= this.nowMs) await this.#commit(write, standing);
    this.#writes = this.#writes.filter(({ endsMs }) => endsMs > this.nowMs);
    if (this.#isCapturing)
      this.#captured += Math.ceil((this.#log - this.#captured) * this.#random());
    if (this.#isReversing && !this.#conflict)
      this.#applied += Math.ceil((this.#feed - this.#applied) * this.#random());
    this.#tellProxies();
  }

  async #standing(): Promise<StandingRollout | undefined> {
    const { unreachable } = this.store;
    this.store.unreachable = false;
    const standing = (await this.store.standings()).get("order");
    this.store.unreachable = unreachable;
    if (standing !== undefined && standing.epoch < this.#lastEpoch) this.#violated("an epoch fell");
    this.#lastEpoch = standing?.epoch ?? 0;
    return standing;
  }

  async #tickProxy(proxy: SimulatedProxy): Promise<void> {
    if (proxy.isDead || proxy.isCutOff || this.store.unreachable || this.#random() < 0.3) return;
    const { known } = proxy;
    const read = (await this.store.standings()).get("order");
    if (read?.hold !== undefined && read.hold.leftMs < 0) {
      this.store.endHold("order", read.epoch);
      return;
    }
    if (this.#bug === "proxy-by-the-clock" && known?.hold !== undefined) {
      // A clock that is ahead.
      if (known.hold.leftMs - (this.nowMs - proxy.asOfMs) < HOLD_MS - 400)
        proxy.known = { ...known, hold: undefined };
      return;
    }
    proxy.known = read;
    proxy.asOfMs = this.nowMs;
    proxy.seenMs = this.nowMs;
    const epoch = read?.epoch ?? 0;
    const isClear = this.#writes.every((write) => write.proxy !== proxy || write.epoch >= epoch);
    if (isClear) proxy.ackedEpoch = epoch;
  }

  #begin(): void {
    const proxy = this.#proxies[Math.floor(this.#random() * this.#proxies.length)];
    if (proxy === undefined || proxy.isDead || this.#random() < 0.4) return;
    const aggregate = Math.floor(this.#random() * AGGREGATES);
    const bucket = this.#buckets[aggregate]!;
    const { known } = proxy;
    if (known === undefined && proxy.asOfMs === 0) return;
    const stage = known?.stage ?? "legacy";
    const { hold } = known ?? {};
    const isLate = this.nowMs - proxy.asOfMs > KEEP_MS;
    const canMove = stage === "canary" || stage === "new" || hold !== undefined;
    if (isLate && canMove && this.#bug !== "proxy-forgets-the-hold") return;
    if (hold !== undefined && bucket >= hold.from && bucket < hold.to) return;
    const side = known !== undefined && bucket < movedBuckets(known) ? "new" : "legacy";
    const endsMs = this.nowMs + 1 + this.#random() * WRITE_MS_MAX;
    this.#writes.push({ aggregate, side, epoch: known?.epoch ?? 0, proxy, endsMs });
  }

  /** The moment at which a side writes what it has decided. */
  async #commit({ aggregate, side }: Write, standing: StandingRollout | undefined): Promise<void> {
    await Promise.resolve();
    const isNew = standing !== undefined && this.#buckets[aggregate]! < movedBuckets(standing);
    if (side === "new") {
      // The library does not append without authority.
      if (!isNew) return;
      if (this.#lastLegacy[aggregate]! > this.#captured)
        this.#violated("new decided on a fold that lacks a write of legacy");
      this.#lastNative[aggregate] = this.#feed += 1;
      return;
    }
    if (isNew) this.#violated("legacy wrote to an aggregate that has moved");
    const isBehind = this.#lastNative[aggregate]! > this.#applied;
    if (isBehind && !this.#abandoned.has(aggregate))
      this.#violated("legacy wrote to rows that lack a decision of new");
    this.#lastLegacy[aggregate] = this.#log += 1;
  }

  /** What must have been seen before an authority changes. */
  #switched(move: Move): void {
    const range = movingBuckets(move.from, move.to);
    const way = wayOf(move);
    if (range === undefined || move.kind === "complete" || move.outcome === "undone") return;
    if (way === "abandon")
      this.#buckets.forEach((bucket, n) => {
        if (bucket >= range.from && bucket < range.to) this.#abandoned.add(n);
      });
    if (!this.#seen.acknowledged) this.#violated("a switch that not all proxies had acknowledged");
    if (way !== "advance") return;
    const { fence, applied, equal } = this.#seen;
    if (fence === undefined || !applied || !equal)
      this.#violated("a switch without a fence that was applied and a comparison");
  }

  #forget(): void {
    this.#seen = { acknowledged: false, fence: undefined, applied: false, equal: false };
  }

  #watched(): MemoryRolloutStore {
    const { store } = this;
    return new Proxy(store, {
      get: (_, name) => {
        if (name === "proxies")
          return async (type: string) => {
            const proxies = await store.proxies(type);
            const [move] = await store.moves(1);
            const silent = move!.from.stage === "canary" || move!.from.stage === "new";
            // Behind the switch it is asked what they know.
            if (move!.step !== "held") return proxies;
            this.#seen.acknowledged = proxies.every(
              ({ epoch, ageMs, instance }) =>
                epoch >= move!.epoch ||
                (silent && ageMs > PROXY_SILENT_MS_MAX) ||
                move!.without.includes(instance),
            );
            return this.#bug === "no-acknowledgements" ? [] : proxies;
          };
        if (name === "switchOver" && this.#bug === "resumed-blindly")
          return async (move: Move, then: "end" | "keep-hold") => {
            const again = move.step === "equal" ? await store.hold(move) : move;
            return again === "over" ? again : await store.switchOver(again, then);
          };
        const value = Reflect.get(store, name) as unknown;
        return typeof value === "function" ? (value.bind(store) as unknown) : value;
      },
    });
  }

  #world(): MoveWorld {
    return {
      prepare: () => Promise.resolve(this.#differs ? "one differs" : undefined),
      fence: () => Promise.resolve((this.#seen.fence = String((this.#log += 1)) as Position)),
      hasApplied: (fence) => {
        this.#seen.applied = this.#captured >= Number(fence);
        return Promise.resolve(this.#bug === "no-fence" || this.#seen.applied);
      },
      compare: () => {
        this.#seen.equal = !this.#differs;
        if (this.#bug === "no-comparison") return Promise.resolve(undefined);
        return Promise.resolve(this.#differs ? "one differs" : undefined);
      },
      eventsEnd: () => Promise.resolve(String(this.#feed)),
      reverse: (_type, place) => {
        if (this.#conflict) return Promise.resolve({ kind: "conflict", says: "one waits" });
        const isThere = this.#bug === "no-reverse" || this.#applied >= Number(place);
        return Promise.resolve(isThere ? { kind: "applied" } : { kind: "behind", says: "behind" });
      },
    };
  }

  #disturb(what: Disturbance["what"]): void {
    if (this.#isSettling) return;
    const alive = this.#proxies.find(({ isDead, isCutOff }) => !isDead && !isCutOff);
    switch (what) {
      case "partition":
        if (alive !== undefined) alive.isCutOff = true;
        return;
      case "heal":
        for (const proxy of this.#proxies) proxy.isCutOff = false;
        return;
      case "kill-proxy":
        if (alive !== undefined) alive.isDead = true;
        return;
      case "start-proxy":
        this.#addProxy();
        return;
      case "stop-capture":
        this.#isCapturing = false;
        return;
      case "stop-reverse":
        this.#isReversing = false;
        return;
      case "start-all":
        this.#startAll();
        return;
      case "store-down":
      case "store-up":
        this.store.unreachable = what === "store-down";
        return;
      case "differs":
        this.#differs = true;
        return;
      case "conflict":
        this.#conflict = true;
        return;
      case "equal":
        this.#differs = false;
        this.#conflict = false;
        return;
      case "second-operator":
        void this.#secondOperator();
    }
  }

  async #secondOperator(): Promise<void> {
    const [move] = await this.store.moves(1).catch(() => []);
    if (move === undefined || move.endedAt !== undefined || this.store.unreachable) return;
    const begun = await this.store.begin({ ...move, driver: randomUUID() }).catch(() => undefined);
    if (begun !== undefined) this.#violated("two moves are under way");
  }

  #startAll(): void {
    this.store.unreachable = false;
    this.#isCapturing = true;
    this.#isReversing = true;
    this.#differs = false;
    this.#conflict = false;
    for (const proxy of this.#proxies) proxy.isCutOff = false;
    if (this.#proxies.every(({ isDead }) => isDead)) this.#addProxy();
  }

  #addProxy(): void {
    if (this.#proxies.filter(({ isDead }) => !isDead).length >= PROXIES_MAX) return;
    this.#proxies.push({
      instance: randomUUID(),
      known: undefined,
      asOfMs: 0,
      isCutOff: false,
      isDead: false,
      ackedEpoch: 0,
      seenMs: this.nowMs,
    });
  }

  #tellProxies(): void {
    const notes = this.#proxies
      // One that was killed and whose writes have ended is passed over by the operator.
      .filter(({ isDead, seenMs }) => !isDead || this.nowMs - seenMs < 5_000)
      .filter(({ asOfMs }) => asOfMs > 0)
      .map(({ instance, ackedEpoch, known, seenMs }) => ({
        instance,
        place: "model",
        epoch: ackedEpoch,
        knows: known?.epoch ?? 0,
        ageMs: this.nowMs - seenMs,
      }));
    this.store.putProxies("order", notes);
  }

  async #checkLog(): Promise<void> {
    const log = await this.store.log("order", 100_000);
    const changes = log.filter(({ what }) => !what.endsWith("begun")).map(({ epoch }) => epoch);
    if (changes.some((epoch, n) => n > 0 && epoch > changes[n - 1]!))
      this.#violated("the log goes back in its epochs");
    const done = this.ends.filter(({ outcome }) => outcome === "done").length;
    const told = log.filter(({ what }) => what.endsWith(" done")).length;
    if (told < done) this.#violated("a move that is done is not in the log");
  }

  #pause(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((done) => {
      if (signal.aborted) return done();
      const end = (): void => {
        signal.removeEventListener("abort", end);
        done();
      };
      signal.addEventListener("abort", end);
      this.#at(this.nowMs + ms, end);
    });
  }

  #at(atMs: number, fire: () => void): void {
    this.#timers.push({ atMs, fire });
  }

  #violated(what: string): void {
    this.violations.push(what);
  }
}

function intentOf(
  from: MoveIntent["from"],
  { up, share, abandon }: MoveCommand,
): Omit<MoveIntent, "driver"> | undefined {
  const shared = { type: "order", from, who: "model", why: "model", without: [], holdMs: HOLD_MS };
  const to = up ? nextUp(from, share) : nextDown(from, share);
  if (to === undefined) return undefined;
  const forced = abandon && !up ? ["reverse"] : [];
  return { ...shared, to, forced, kind: up ? "promote" : "rollback" };
}

function nextUp(
  { stage, share }: MoveIntent["from"],
  wanted: number,
): MoveIntent["to"] | undefined {
  if (stage === "legacy") return { stage: "shadow", share: 0 };
  if (stage === "new" || stage === "complete") return undefined;
  return wanted > share ? { stage: "canary", share: wanted } : { stage: "new", share: 10_000 };
}

function nextDown(
  { stage, share }: MoveIntent["from"],
  wanted: number,
): MoveIntent["to"] | undefined {
  if (stage === "legacy" || stage === "complete") return undefined;
  if (stage === "shadow") return { stage: "legacy", share: 0 };
  const below = stage === "new" ? 10_000 : share;
  return wanted < below ? { stage: "canary", share: wanted } : { stage: "shadow", share: 0 };
}
