import type { Cell } from "../model/cell.ts";
import { count, plural } from "../model/count-text.ts";

/** A longer value is shown only where it begins to differ. */
const WHOLE_LENGTH_MAX = 1_000;
const EXCERPT_LENGTH = 200;
const EXCERPT_BEFORE = 40;

type Shown = string | null;

/**
 * Two values that differ, as a report holds them: their lengths only, or with `showValues` the values,
 * of long ones the part where they begin to differ. Null is NULL.
 */
export function shownValues(
  row: Cell,
  fold: Cell,
  showValues: boolean,
): { readonly row: Shown; readonly fold: Shown } {
  const at = showValues ? firstDifference(row ?? "", fold ?? "") : 0;
  const show = (cell: Cell): Shown => {
    if (cell === null || cell === undefined) return null;
    return showValues ? excerpt(cell, at) : `‹${plural(cell.length, "character")}›`;
  };
  return { row: show(row), fold: show(fold) };
}

function firstDifference(a: string, b: string): number {
  const end = Math.min(a.length, b.length);
  let at = 0;
  while (at < end && a.charCodeAt(at) === b.charCodeAt(at)) at += 1;
  return at;
}

function excerpt(text: string, at: number): string {
  if (text.length <= WHOLE_LENGTH_MAX) return text;
  const from = whole(text, Math.max(0, Math.min(at, text.length) - EXCERPT_BEFORE));
  const to = whole(text, Math.min(text.length, from + EXCERPT_LENGTH));
  const [before, behind] = [from === 0 ? "" : "…", to === text.length ? "" : "…"];
  return `${before}${text.slice(from, to)}${behind} (from ${count(from)}, of ${plural(text.length, "character")})`;
}

/** Not in the midst of a character of two. */
function whole(text: string, at: number): number {
  const isSecond = at < text.length && (text.charCodeAt(at) & 0xfc00) === 0xdc00;
  return isSecond ? at - 1 : at;
}
