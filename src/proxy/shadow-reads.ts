import type { AnswerTap } from "./answer-tap.ts";
import type { ClientState } from "./judge-messages.ts";
import type { RouteNoise } from "./read-judge.ts";
import { kindOf, readKey, type ReadKind } from "./read-key.ts";
import type { ProxySettings, RouteSettings, ShadowSettings } from "./settings.ts";
import type { ShadowBytes } from "./shadow-bytes.ts";
import type { ShadowRequest } from "./shadow-client.ts";
import { ShadowPressure } from "./shadow-pressure.ts";
import { ReadTap, type NotTapped, type TappedAnswer } from "./shadow-read-tap.ts";
import { ThreadedJudge } from "./threaded-judge.ts";
import type { ShadowOutcome } from "../rollout/shadow-counts.ts";
import { otherSide, type Side } from "../rollout/stage.ts";
import type { SampleDifference } from "../rollout/shadow-log.ts";

/** Reads under way in shadow, from the head of the client's answer to the verdict. */
const READS_MAX = 4_000;
/** Answers to a client that knows something already, which say nothing of what it would have got else. */
const PARTIAL = new Set([206, 304, 412, 416]);
/** Of a side that is left alone because it fails, one read is handed over so often, to try it again. */
const TRY_MS = 100;
/** How often answers that do not end are looked for, and a thread that says nothing. */
const SWEEP_MS = 1_000;

export interface ShadowReadsOptions {
  readonly settings: ShadowSettings;
  readonly routes: ProxySettings["routes"];
  readonly upstreams: ProxySettings["upstreams"];
  readonly bytes: ShadowBytes;
  /** Told of all reads that were chosen, so many at a time. */
  readonly onOutcome: (kind: ReadKind, outcome: ShadowOutcome, times: number) => void;
  /** Before `onOutcome`. */
  readonly onDifference: (
    kind: ReadKind,
    target: string,
    differences: readonly SampleDifference[],
  ) => void;
  readonly onNote: (text: string) => void;
  readonly trial: ReadsTrial;
}

/** For tests. */
export interface ReadsTrial {
  readonly random?: () => number;
  readonly busy?: () => number;
  readonly recheckMs?: readonly number[];
  /** Another script for the thread that compares. */
  readonly thread?: URL;
  /** For how long it may say nothing. */
  readonly silentMs?: number;
}

/** A read that a client is about to be answered. */
export interface ShadowRead extends ReadKind, ShadowRequest {
  readonly method: string;
}

/**
 * Chooses the reads that are compared, copies what their clients are answered, and hands both over to the
 * thread that asks the other side and compares. Nothing else is done where clients wait.
 */
export class ShadowReads {
  readonly #options: ShadowReadsOptions;
  readonly #places: ReadonlyMap<RouteSettings, number>;
  /** Each knows its place. */
  readonly #open: ReadTap[] = [];
  readonly #judge: ThreadedJudge;
  readonly #sweep: NodeJS.Timeout;
  readonly #pressure: ShadowPressure;
  readonly #random: () => number;
  /** When a side that fails was last asked all the same. */
  readonly #triedMs: Record<Side, number> = { legacy: 0, new: 0 };

  constructor(options: ShadowReadsOptions) {
    const { settings, routes, upstreams, bytes, onNote, onOutcome, onDifference, trial } = options;
    this.#options = options;
    this.#random = trial.random ?? Math.random;
    this.#places = new Map(routes.map((route, at) => [route, at]));
    const kinds = new Map<number, ReadKind>();
    const kind = (key: number): ReadKind => {
      let known = kinds.get(key);
      if (known === undefined) kinds.set(key, (known = kindOf(key, routes)));
      return known;
    };
    this.#judge = new ThreadedJudge({
      start: { settings, routes, upstreams, recheckMs: trial.recheckMs },
      bytes,
      onOutcome: (key, outcome, times) => onOutcome(kind(key), outcome, times),
      onDifference: ({ key, target, differences }) => onDifference(kind(key), target, differences),
      onNote,
      script: trial.thread,
      silentMs: trial.silentMs,
    });
    this.#pressure = new ShadowPressure(trial.busy);
    this.#sweep = setInterval(() => this.#look(), SWEEP_MS).unref();
  }

  /** Reads that are under way in shadow, and answers that are still copied. */
  get underWay(): number {
    return this.#judge.underWay + this.#open.length;
  }

  /** Of the reads that were chosen so many are compared; the proxy has more to do with its clients. */
  get share(): number {
    return this.#pressure.share;
  }

  /** What was learned, by path of the route. */
  get noise(): readonly RouteNoise[] {
    return this.#judge.noise;
  }

  get clients(): Readonly<Record<Side, ClientState>> {
    return this.#judge.clients;
  }

  /** Threads that were lost, with the reads that they had. */
  get threadsLost(): number {
    return this.#judge.lost;
  }

  /** Looks on at an answer. Undefined for a read that is not of the sample. */
  tap(read: ShadowRead): AnswerTap | undefined {
    const { settings, bytes, onOutcome } = this.#options;
    if (settings.reads < 1 && this.#random() >= settings.reads) return undefined;
    const hasRoom = this.underWay < READS_MAX && this.#judge.isUp;
    // Last: one that may try a side is not to be left out for another reason.
    if (!hasRoom || !this.#pressure.admit() || !this.#isWell(read.side)) {
      onOutcome(read, "dropped", 1);
      return undefined;
    }
    const tap = new ReadTap(bytes, settings.bodyBytesMax, (answer) => {
      this.#remove(tap);
      this.#hand(read, answer);
    });
    tap.place = this.#open.push(tap) - 1;
    return tap;
  }

  /** Whether the side that the client was not answered by may be asked. */
  #isWell(answered: Side): boolean {
    const other = otherSide(answered);
    if (!this.clients[other].breakerOpen) return true;
    const nowMs = performance.now();
    if (nowMs - this.#triedMs[other] < TRY_MS) return false;
    this.#triedMs[other] = nowMs;
    return true;
  }

  async close(): Promise<void> {
    clearInterval(this.#sweep);
    this.#pressure.close();
    for (const tap of this.#open.toReversed()) tap.broke();
    await this.#judge.close();
  }

  /**
   * A Set would be made anew again and again as they come and go. What is left of it keeps the next one, with
   * all that is in it, from being collected while it is young, and pauses for that are pauses for clients.
   */
  #remove(tap: ReadTap): void {
    const last = this.#open.pop()!;
    if (last === tap) return;
    last.place = tap.place;
    this.#open[tap.place] = last;
  }

  #hand(read: ShadowRead, answer: TappedAnswer | NotTapped): void {
    if (answer === "broke") return;
    if (typeof answer === "string")
      return this.#options.onOutcome(read, answer === "full" ? "dropped" : "uncompared", 1);
    const { route, method, side, target, headers } = read;
    const isPartial = PARTIAL.has(answer.status);
    if (isPartial || !this.#judge.isUp) {
      answer.body.free();
      return this.#options.onOutcome(read, isPartial ? "uncompared" : "dropped", 1);
    }
    const key = readKey(this.#places.get(route)!, method, side);
    this.#judge.add(side, { key, target, headers, answer }, answer.body);
  }

  #look(): void {
    this.#judge.look();
    const before = performance.now() - this.#options.settings.timeoutMs;
    for (const tap of this.#open.toReversed()) tap.endOlder(before);
  }
}
