import type { Cell } from "../model/cell.ts";

/**
 * Microseconds since 1970 UTC of a timestamp's canonical text (`2026-01-31 10:00:00.123456+00`, a
 * timestamp without zone taken as UTC, a date as its midnight), or undefined for what has no such
 * number here: null, infinity, BC, years beyond 9999.
 */
export function timestampUs(cell: Cell): number | undefined {
  if (cell === null || cell === undefined || cell.length < 10 || cell.charCodeAt(4) !== 0x2d) {
    return undefined;
  }
  const year = digits(cell, 0, 4);
  const month = digits(cell, 5, 7);
  const day = digits(cell, 8, 10);
  let milliseconds = Date.UTC(year, month - 1, day);
  if (year < 100) milliseconds = new Date(0).setUTCFullYear(year, month - 1, day);
  let us = milliseconds * 1000;
  if (cell.length > 10) {
    if (cell.charCodeAt(10) !== 0x20) return undefined;
    const seconds = digits(cell, 11, 13) * 3600 + digits(cell, 14, 16) * 60 + digits(cell, 17, 19);
    us += seconds * 1_000_000;
    let i = 19;
    if (cell.charCodeAt(i) === 0x2e) {
      let unit = 100_000;
      for (i += 1; unit >= 1 && isDigit(cell.charCodeAt(i)); i++) {
        us += (cell.charCodeAt(i) - 0x30) * unit;
        unit = Math.floor(unit / 10);
      }
    }
    if (i < cell.length && cell.slice(i) !== "+00") return undefined;
  }
  return Number.isFinite(us) ? us : undefined;
}

/** NaN for what is no number: the column may be plain text. */
function digits(text: string, from: number, to: number): number {
  let value = 0;
  for (let i = from; i < to; i++) {
    if (!isDigit(text.charCodeAt(i))) return Number.NaN;
    value = value * 10 + (text.charCodeAt(i) - 0x30);
  }
  return value;
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}
