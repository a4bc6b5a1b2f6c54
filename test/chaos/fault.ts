import type { Random } from "./random.ts";
import type { World } from "./world.ts";

/** What only one fault at a time may touch. Faults of different resources overlap. */
export type Resource = "capture" | "source" | "store" | "spill" | "schema";

export interface Outcome {
  /** Whether it came about; what could not be done is no fault that the capture lived through. */
  readonly did: boolean;
  /** What was done, or why it was not, in a few words. */
  readonly text: string;
}

export interface Fault {
  readonly name: string;
  readonly needs: readonly Resource[];
  /** It means something, too, before the baseline is done. */
  readonly isEarly?: true;
  /**
   * Does it and, in the end, mends it, early when the round ends; rejects only when what must never be
   * is found.
   */
  readonly run: (world: World, random: Random, signal: AbortSignal) => Promise<Outcome>;
}

export function did(text: string): Outcome {
  return { did: true, text };
}

export function didNot(text: string): Outcome {
  return { did: false, text };
}
