import type { ShadowOutcome } from "./shadow-counts.ts";
import { SIDES, type Side } from "./stage.ts";
import { steadyNowMs } from "../runtime/steady-clock.ts";

/** See `slower` of {@link TrafficRow}. */
export const LATENCY_BOUNDS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000] as const;

/** What one proxy saw within one second of one route and side: a row of banyan.traffic. */
export interface TrafficRow {
  /** Since 1970, by {@link steadyNowMs}. */
  readonly second: number;
  readonly type: string;
  /** `PUT /orders/:id`. */
  readonly route: string;
  readonly side: Side;
  readonly requests: number;
  /** Answers of status 500 and more, and those that never came. */
  readonly errors: number;
  /** Until the head of each answer, summed up. */
  readonly millis: number;
  /** [i]: slower than bound i - 1 and at most bound i. The last: slower than all. */
  readonly slower: readonly number[];
  readonly compared: number;
  readonly different: number;
  readonly uncompared: number;
  readonly dropped: number;
}

/** Rows that wait for a store that does not take them; the oldest are given up for new ones. */
const ROWS_MAX = 10_000;

type Cell = { -readonly [Name in keyof TrafficRow]: TrafficRow[Name] } & { slower: number[] };

/**
 * Requests added up per second, route and side. A second is given out once, after it has ended, so that
 * taking its rows twice makes nothing of them twice.
 */
export class TrafficCounts {
  readonly #secondNow: () => number;
  readonly #rowsMax: number;
  /** Of the second that is running. */
  #cells = new Map<string, Partial<Record<Side, Cell>>>();
  #second = 0;
  #closed: TrafficRow[] = [];
  #lost = 0;

  /** @param secondNow since 1970 @param rowsMax for tests */
  constructor(
    secondNow: () => number = () => Math.floor(steadyNowMs() / 1_000),
    rowsMax: number = ROWS_MAX,
  ) {
    this.#secondNow = secondNow;
    this.#rowsMax = rowsMax;
  }

  /** Requests that were given up because the store did not take their counts. */
  get lost(): number {
    return this.#lost;
  }

  /** A request and its answer. @param millis from sending it to the head of the answer, or to giving up */
  add(type: string, route: string, side: Side, millis: number, isError: boolean): void {
    const cell = this.#cell(type, route, side);
    cell.requests++;
    if (isError) cell.errors++;
    cell.millis += millis;
    cell.slower[latencySlot(millis)]!++;
  }

  /** What came of shadow reads. @param side that the clients' answers came from */
  addShadow(type: string, route: string, side: Side, outcome: ShadowOutcome, times = 1): void {
    const cell = this.#cell(type, route, side);
    cell[outcome] += times;
    if (outcome === "different") cell.compared += times;
  }

  /** Rows of seconds that have ended, oldest first, which {@link written} takes away. */
  rows(rowsMax: number): readonly TrafficRow[] {
    this.#close();
    return this.#closed.slice(0, rowsMax);
  }

  /** These rows are in the store. */
  written(rows: readonly TrafficRow[]): void {
    const done = new Set(rows);
    this.#closed = this.#closed.filter((row) => !done.has(row));
  }

  #cell(type: string, route: string, side: Side): Cell {
    this.#close();
    let sides = this.#cells.get(route);
    if (sides === undefined) this.#cells.set(route, (sides = {}));
    return (sides[side] ??= newCell(this.#second, type, route, side));
  }

  #close(): void {
    const second = this.#secondNow();
    // A clock that is set back gives no second a second time.
    if (second <= this.#second) return;
    this.endSecond();
    this.#second = second;
  }

  /** Ends the second that is running before its time, because nothing follows. */
  endSecond(): void {
    if (this.#cells.size === 0) return;
    for (const sides of this.#cells.values())
      for (const side of SIDES) {
        const cell = sides[side];
        if (cell !== undefined) this.#closed.push(cell);
      }
    this.#cells = new Map();
    const over = this.#closed.length - this.#rowsMax;
    if (over > 0) for (const { requests } of this.#closed.splice(0, over)) this.#lost += requests;
  }
}

function newCell(second: number, type: string, route: string, side: Side): Cell {
  const none = { requests: 0, errors: 0, millis: 0 };
  const shadow = { compared: 0, different: 0, uncompared: 0, dropped: 0 };
  const slower = new Array<number>(LATENCY_BOUNDS_MS.length + 1).fill(0);
  return { second, type, route, side, ...none, slower, ...shadow };
}

/** Where a duration is counted in `slower`. */
export function latencySlot(millis: number): number {
  let slot = 0;
  while (slot < LATENCY_BOUNDS_MS.length && millis > LATENCY_BOUNDS_MS[slot]!) slot++;
  return slot;
}
