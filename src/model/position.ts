declare const positionBrand: unique symbol;

/**
 * A point in the source's log, as opaque text that sorts (by code unit) in log order.
 *
 * Only the source adapter that made it may look inside. Two forms exist per adapter: the position of
 * one change, (commit, ordinal in the transaction), and a checkpoint, which lies after a whole
 * transaction and before the next.
 */
export type Position = string & { readonly [positionBrand]: true };

/** True when `a` lies strictly before `b` in the source's log. */
export function isBefore(a: Position, b: Position): boolean {
  return a < b;
}

/** Position of one change. @param commit `SourceTransaction.commit` @param ordinal from 1, below 2^32 */
export function changePosition(commit: string, ordinal: number): Position {
  return `${commit}/${ordinal.toString(16).toUpperCase().padStart(8, "0")}` as Position;
}
