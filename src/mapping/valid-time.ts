import type { Cell } from "../model/cell.ts";

/**
 * Microseconds since 1970 UTC of a timestamp's canonical text (`2026-01-31 10:00:00.123456+00`, a
 * timestamp without zone taken as UTC, a date as its midnight), or undefined for what has no such
 * number here: null, infinity, BC, years beyond 9999, text that is no time. Where a double does not hold
 * microseconds (beyond 2255, before 1684) those of its second are left out.
 */
export function timestampUs(cell: Cell): number | undefined {
  if (cell === null || cell === undefined || cell.length < 10 || cell.charCodeAt(4) !== 0x2d) {
    return undefined;
  }
  const date = dateMs(digits(cell, 0, 4), digits(cell, 5, 7), digits(cell, 8, 10));
  if (date === undefined || cell.charCodeAt(7) !== 0x2d) return undefined;
  if (cell.length === 10) return date * 1000;
  const hours = digits(cell, 11, 13);
  const minutes = digits(cell, 14, 16);
  const seconds = digits(cell, 17, 19);
  // A comparison with NaN is false.
  const isTime = hours < 24 && minutes < 60 && seconds < 60 && cell.charCodeAt(10) === 0x20;
  if (!isTime) return undefined;
  let micros = 0;
  let i = 19;
  if (cell.charCodeAt(i) === 0x2e) {
    let unit = 100_000;
    for (i += 1; unit >= 1 && isDigit(cell.charCodeAt(i)); i++) {
      micros += (cell.charCodeAt(i) - 0x30) * unit;
      unit = Math.floor(unit / 10);
    }
  }
  if (i < cell.length && cell.slice(i) !== "+00") return undefined;
  const second = date * 1000 + ((hours * 60 + minutes) * 60 + seconds) * 1_000_000;
  return Number.isSafeInteger(second + micros) ? second + micros : second;
}

/** Undefined for a day that no calendar has. */
function dateMs(year: number, month: number, day: number): number | undefined {
  if (!(year >= 1 && month >= 1 && month <= 12 && day >= 1 && day <= 31)) return undefined;
  const ms =
    year < 100 ? new Date(0).setUTCFullYear(year, month - 1, day) : Date.UTC(year, month - 1, day);
  return day > 28 && new Date(ms).getUTCDate() !== day ? undefined : ms;
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
