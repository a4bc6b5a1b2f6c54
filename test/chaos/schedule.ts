import { randomFrom } from "../../examples/shop-postgres/traffic.ts";

/** One fault of a round: when it is due, and from which seed it draws the rest. */
export interface PlannedFault {
  /** Before the baseline is done, or after. */
  readonly part: Part;
  /** Since the beginning of its part. */
  readonly atMs: number;
  readonly name: string;
  readonly seed: number;
}

export type Part = "baseline" | "tail";

export interface PlanOptions {
  readonly seed: number;
  /** Of the part behind the baseline. */
  readonly lengthMs: number;
  /** All kinds. What cannot be done on some machine is planned there, too, so that a seed means the same everywhere. */
  readonly names: readonly string[];
  /** Kinds that are due in the baseline; none for one in peace. */
  readonly early: readonly string[];
}

/** A round meets each kind about once before it meets one again, at a pace that faults overlap. */
const GAP_MS_MIN = 400;
const GAP_MS_MAX = 2_500;
const EARLY_FAULTS = 3;
const EARLY_GAP_MS = 500;

/**
 * What is to happen in a round. The same seed, length and kinds give the same plan, which is what makes
 * a failure repeatable. Kinds are drawn from a shuffled bag, so that none is missing in a long round.
 */
export function planFaults({ seed, lengthMs, names, early }: PlanOptions): readonly PlannedFault[] {
  const random = randomFrom(seed);
  const gapMs = Math.min(GAP_MS_MAX, Math.max(GAP_MS_MIN, lengthMs / (names.length + 1)));
  const planned: PlannedFault[] = [];
  // Between half and one and a half of the mean.
  const spread = (meanMs: number): number => Math.round(meanMs * (0.5 + random()));
  const add = (part: Part, atMs: number, name: string): void => {
    planned.push({ part, atMs, name, seed: Math.floor(random() * 2 ** 31) });
  };
  let atMs = 0;
  for (const name of shuffled(early, random).slice(0, EARLY_FAULTS))
    add("baseline", (atMs += spread(EARLY_GAP_MS)), name);
  let bag: string[] = [];
  for (atMs = 0; names.length > 0;) {
    // The first one comes quickly: it is to meet the end of the baseline.
    atMs += spread(atMs === 0 ? EARLY_GAP_MS : gapMs);
    if (atMs >= lengthMs) break;
    if (bag.length === 0) bag = shuffled(names, random);
    add("tail", atMs, bag.pop()!);
  }
  return planned;
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const left = [...items];
  for (let i = left.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [left[i], left[j]] = [left[j]!, left[i]!];
  }
  return left;
}
