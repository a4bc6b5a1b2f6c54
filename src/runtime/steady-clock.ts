/**
 * Milliseconds since 1970, by the clock as it was when this process began and what has passed since: it is
 * never set back, nor ahead.
 */
export function steadyNowMs(): number {
  return performance.timeOrigin + performance.now();
}
