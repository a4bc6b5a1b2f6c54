import type { Random } from "./random.ts";
import type { World } from "./world.ts";

/** What only one fault at a time may touch. Faults of different resources overlap. */
export type Resource = "capture" | "source" | "store" | "spill" | "schema";

export interface Fault {
  readonly name: string;
  readonly needs: readonly Resource[];
  /**
   * Does it and, in the end, mends it, early when the round ends; rejects only when what must never be
   * is found.
   *
   * @returns what it did, in a few words
   */
  readonly run: (world: World, random: Random, signal: AbortSignal) => Promise<string>;
}
