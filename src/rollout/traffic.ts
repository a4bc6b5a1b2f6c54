/** Bounds of the histogram of durations in banyan.traffic; one more counts what is slower than the last. */
export const LATENCY_BOUNDS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] as const;
