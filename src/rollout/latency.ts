import { LATENCY_BOUNDS_MS } from "./traffic.ts";

/**
 * A percentile of a histogram of durations, as the upper bound of the bucket that it lies in.
 *
 * @param counts as `slower` of banyan.traffic
 * @param share 0 to 1
 * @returns undefined when nothing was counted; Infinity beyond the last bound
 */
export function percentileMs(counts: readonly number[], share: number): number | undefined {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return undefined;
  const wanted = Math.ceil(total * share);
  let seen = 0;
  for (const [at, count] of counts.entries()) {
    seen += count;
    if (seen >= wanted) return LATENCY_BOUNDS_MS[at] ?? Number.POSITIVE_INFINITY;
  }
  return Number.POSITIVE_INFINITY;
}
