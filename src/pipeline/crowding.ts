import type { SourceLoad } from "../source/change-source.ts";

/** Others count as at work for so long after they were last seen so. */
const BUSY_MS = 3_000;
/** What was seen of others is no guide to those who come so long after them. */
const FORGOTTEN_MS = 60_000;
/** Of what was seen before, so much still counts a turn later: about ten turns make the picture. */
const KEPT_PER_TURN = 0.9;
/** Looks in turns of each kind before their comparison says anything. */
const LOOKS_MIN = 5;
const SECONDS_MIN = 0.3;
/** What is taken for granted until then. */
const SLOWDOWN_FIRST = 2;
/** Sessions and transactions a second that are added on both sides: a few more of hardly any say nothing. */
const SESSIONS_SLIGHT = 0.1;
const TRANSACTIONS_SLIGHT = 10;
/** Share of the time that is read while others are at work: less than all, to see what they do without it. */
const SHARE_MAX = 0.8;
/** Likewise where the source does not tell who is at work. */
const SHARE_UNSEEN = 0.4;

interface Seen {
  looks: number;
  sessions: number;
  transactions: number;
  seconds: number;
}

/** A stretch of time in which the baseline reads all along, or rests all along. */
export interface Turn {
  readonly isReading: boolean;
  /** Another for each such stretch. */
  readonly number: number;
}

/**
 * What the baseline costs the others who are at work in the source: how much longer their work takes
 * while it reads than while it rests.
 *
 * By Little's law the time that a piece of work takes is the number of sessions at work divided by the
 * pieces begun per second. So it is seen both where the application asks at its own pace, and has more
 * sessions at work when each takes longer, and where it asks as fast as it is answered, and gets less done.
 * How large the server is does not matter.
 */
export class Crowding {
  readonly #seen = { reading: nothing(), resting: nothing() };
  #busyUntilMs = -Infinity;
  #isBlind = false;
  #last:
    { readonly turn: number; readonly begun: number | undefined; readonly ms: number } | undefined;

  /** Whether the source does not tell who is at work. */
  get isBlind(): boolean {
    return this.#isBlind;
  }

  isBusy(nowMs: number): boolean {
    return nowMs < this.#busyUntilMs;
  }

  /** How many times as long the others' work takes, at least 1; undefined while too little was seen. */
  get measured(): number | undefined {
    const { reading, resting } = this.#seen;
    if (Math.min(reading.looks, resting.looks) < LOOKS_MIN) return undefined;
    const sessions =
      (reading.sessions / reading.looks + SESSIONS_SLIGHT) /
      (resting.sessions / resting.looks + SESSIONS_SLIGHT);
    return Math.max(1, sessions * fewerTransactions(reading, resting));
  }

  /**
   * For which share of the time the baseline may read: 1 while nobody else is at work.
   *
   * @param lossMax share of what the others get done that they may lose; 1 for all the same
   */
  share(lossMax: number, nowMs: number): number {
    if (lossMax >= 1) return 1;
    if (this.#isBlind)
      return Math.min(Math.max(SHARE_UNSEEN, lossMax), shareOf(lossMax, this.measured ?? 1));
    if (!this.isBusy(nowMs)) return 1;
    const share = shareOf(lossMax, this.measured ?? SLOWDOWN_FIRST);
    return Math.min(Math.max(SHARE_MAX, lossMax), share);
  }

  /** @param turn undefined when it changed while the source was asked */
  note(turn: Turn | undefined, load: SourceLoad, nowMs: number): void {
    const { activeSessions, transactionsBegun: begun } = load;
    this.#isBlind = activeSessions === undefined;
    const isBusy = this.#isBlind || this.isBusy(nowMs);
    if (activeSessions !== undefined && activeSessions > 0) {
      if (nowMs >= this.#busyUntilMs + FORGOTTEN_MS) this.#forget();
      this.#busyUntilMs = nowMs + BUSY_MS;
    }
    // Of the time alone there is nothing to compare, nor of the look that ends it, which would always count for one side.
    if (turn === undefined || !isBusy) return;
    const seen = turn.isReading ? this.#seen.reading : this.#seen.resting;
    const last = this.#last;
    if (last !== undefined && last.turn !== turn.number) this.#fade();
    seen.looks += 1;
    seen.sessions += activeSessions ?? 0;
    if (last?.turn === turn.number && last.begun !== undefined && begun !== undefined) {
      seen.transactions += begun - last.begun;
      seen.seconds += (nowMs - last.ms) / 1000;
    }
    this.#last = { turn: turn.number, begun, ms: nowMs };
  }

  #fade(): void {
    // A turn of each kind.
    const kept = Math.sqrt(KEPT_PER_TURN);
    for (const seen of [this.#seen.reading, this.#seen.resting]) {
      seen.looks *= kept;
      seen.sessions *= kept;
      seen.transactions *= kept;
      seen.seconds *= kept;
    }
  }

  #forget(): void {
    this.#seen.reading = nothing();
    this.#seen.resting = nothing();
  }
}

/**
 * For which share of the time a baseline may read, so that others lose no more than so much.
 *
 * Who takes n times as long while it reads gets 1/n done then. Reading for a share s of the time costs
 * s·(1 − 1/n) of their work. That is never less than the loss allowed, however slow they get: a baseline
 * on a source that is always busy ends.
 *
 * @param lossMax share of the others' work, above 0 and up to 1
 * @param slowdown how many times as long their work takes, at least 1
 */
function shareOf(lossMax: number, slowdown: number): number {
  return Math.min(1, lossMax / (1 - 1 / slowdown));
}

function nothing(): Seen {
  return { looks: 0, sessions: 0, transactions: 0, seconds: 0 };
}

/** How many times as many transactions others begin in a second of rest; at least 1, as the baseline's own are among those of the other. */
function fewerTransactions(reading: Seen, resting: Seen): number {
  if (Math.min(reading.seconds, resting.seconds) < SECONDS_MIN) return 1;
  const rate = ({ transactions, seconds }: Seen): number =>
    transactions / seconds + TRANSACTIONS_SLIGHT;
  return Math.max(1, rate(resting) / rate(reading));
}
