import type { Side } from "./stage.ts";

/**
 * What came of a read that was to be compared. `compared`: and was equal. `uncompared`: too large, not to be
 * understood, or no answer in time. `dropped`: not asked at all, because too much was under way or the other
 * side is left alone.
 */
export type ShadowOutcome = "compared" | "different" | "uncompared" | "dropped";

/** Whoever counts what came of shadow reads. */
export interface ShadowCounts {
  /** @param route `GET /orders/:id` @param side that the client's answer came from @param times 1 if absent */
  addShadow(type: string, route: string, side: Side, outcome: ShadowOutcome, times?: number): void;
}

export interface ShadowTotal {
  readonly type: string;
  readonly route: string;
  readonly side: Side;
  /** Equal and different. */
  readonly compared: number;
  readonly different: number;
  readonly uncompared: number;
  readonly dropped: number;
}

type Cell = { -readonly [Name in keyof ShadowTotal]: ShadowTotal[Name] };

/** Adds up since the beginning. There are as many totals as routes have methods and sides. */
export class ShadowTotals implements ShadowCounts {
  readonly #cells = new Map<string, Cell>();

  addShadow(type: string, route: string, side: Side, outcome: ShadowOutcome, times = 1): void {
    const key = `${side} ${type} ${route}`;
    let cell = this.#cells.get(key);
    if (cell === undefined) {
      const nothing = { compared: 0, different: 0, uncompared: 0, dropped: 0 };
      this.#cells.set(key, (cell = { type, route, side, ...nothing }));
    }
    cell[outcome] += times;
    if (outcome === "different") cell.compared += times;
  }

  get all(): readonly ShadowTotal[] {
    return [...this.#cells.values()];
  }
}
