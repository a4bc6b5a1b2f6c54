import { randomFrom } from "../../examples/shop-postgres/traffic.ts";

/** One fault of a round: when it is due, and from which seed it draws the rest. */
export interface PlannedFault {
  readonly atMs: number;
  readonly name: string;
  readonly seed: number;
}

/** A round meets each kind about once before it meets one again, at a pace that faults overlap. */
const GAP_MS_MIN = 600;
const GAP_MS_MAX = 2_500;
/** The first ones come quickly: they are to meet the start and the baseline. */
const EARLY_FAULTS = 3;
const EARLY_GAP_MS = 500;

/**
 * What is to happen in a round. The same seed, length and kinds give the same plan, which is what makes
 * a failure repeatable. Kinds are drawn from a shuffled bag, so that none is missing in a long round.
 */
export function planFaults(
  seed: number,
  lengthMs: number,
  names: readonly string[],
): readonly PlannedFault[] {
  const random = randomFrom(seed);
  const gapMs = Math.min(GAP_MS_MAX, Math.max(GAP_MS_MIN, lengthMs / (names.length + 1)));
  const planned: PlannedFault[] = [];
  let bag: string[] = [];
  for (let atMs = 0; names.length > 0;) {
    // Between half and one and a half of the mean.
    const spread = 0.5 + random();
    atMs += Math.round((planned.length < EARLY_FAULTS ? EARLY_GAP_MS : gapMs) * spread);
    if (atMs >= lengthMs) break;
    if (bag.length === 0) bag = shuffled(names, random);
    planned.push({ atMs, name: bag.pop()!, seed: Math.floor(random() * 2 ** 31) });
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
