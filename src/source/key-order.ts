import type { OrderColumn } from "./change-source.ts";
import { compareTimestamps } from "./timestamp-order.ts";
import { isDecimal } from "../model/table.ts";

/**
 * How a column of this type is ordered when tables are merged by key: exact numbers as numbers, times as
 * times, everything else by the bytes of its canonical text, which every server can do alike.
 *
 * @param type as in `SourceColumn.type`
 */
export function orderOf(type: string): OrderColumn["as"] {
  if (["int2", "int4", "int8"].includes(type)) return "integer";
  if (isDecimal(type)) return "decimal";
  if (/^(date|timestamp(tz)?(\(\d\))?)$/.test(type)) return "timestamp";
  return /^bpchar\(\d+\)$/.test(type) ? "padded" : "bytes";
}

/**
 * The order that columns of several tables can follow, which hold the same part of one key: as numbers or
 * times only where they are that everywhere.
 *
 * @param types as in `SourceColumn.type`, at least one
 */
export function commonOrder(types: readonly string[]): OrderColumn["as"] {
  const orders = new Set(types.map(orderOf));
  if (orders.size === 1) return orderOf(types[0]!);
  const isNumber = (order: OrderColumn["as"]): boolean =>
    order === "integer" || order === "decimal";
  return [...orders].every(isNumber) ? "decimal" : "bytes";
}

/**
 * Compares two keys as {@link RowSnapshot.readRows} orders them: nulls last, the first column that
 * differs decides.
 *
 * @returns below, above or exactly 0; 0 only for equal texts, and equal numbers of `decimal` columns
 */
export function compareKeyTexts(
  a: readonly (string | null)[],
  b: readonly (string | null)[],
  order: readonly OrderColumn["as"][],
): number {
  for (let i = 0; i < order.length; i++) {
    const x = a[i] ?? null;
    const y = b[i] ?? null;
    if (x === y) continue;
    if (x === null) return 1;
    if (y === null) return -1;
    const result = COMPARE[order[i]!](x, y);
    if (result !== 0) return result;
  }
  return 0;
}

const COMPARE = {
  integer: compareIntegers,
  decimal: compareDecimals,
  timestamp: compareTimestamps,
  padded: comparePadded,
  bytes: compareBytes,
} as const satisfies Record<OrderColumn["as"], (x: string, y: string) => number>;

/** Canonical whole numbers: no leading zeros, so the longer one is the larger; up to 15 digits are exact. */
function compareIntegers(a: string, b: string): number {
  if (a.length <= 15 && b.length <= 15) return Number(a) - Number(b);
  const x = BigInt(a);
  const y = BigInt(b);
  return x < y ? -1 : x > y ? 1 : 0;
}

/** As Postgres orders numeric: NaN above all, and trailing zeros mean nothing. */
function compareDecimals(x: string, y: string): number {
  const beyond = beyondNumbers(x) - beyondNumbers(y);
  if (beyond !== 0 || beyondNumbers(x) !== 0) return beyond;
  const negative = x.startsWith("-");
  if (negative !== y.startsWith("-")) return negative ? -1 : 1;
  return negative ? compareMagnitudes(y.slice(1), x.slice(1)) : compareMagnitudes(x, y);
}

function beyondNumbers(text: string): number {
  if (text === "NaN") return 2;
  return text === "Infinity" ? 1 : text === "-Infinity" ? -1 : 0;
}

function compareMagnitudes(x: string, y: string): number {
  const [[xWhole = "", xRest = ""], [yWhole = "", yRest = ""]] = [x.split("."), y.split(".")];
  if (xWhole.length !== yWhole.length) return xWhole.length - yWhole.length;
  if (xWhole !== yWhole) return xWhole < yWhole ? -1 : 1;
  const places = Math.max(xRest.length, yRest.length);
  const [a, b] = [xRest.padEnd(places, "0"), yRest.padEnd(places, "0")];
  return a === b ? 0 : a < b ? -1 : 1;
}

/**
 * The order of UTF-8 bytes is that of code points. UTF-16 units agree with it except between
 * surrogates (0xD800 to 0xDFFF, standing for what lies above) and the units above them.
 */
function compareBytes(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** Blanks at the end of char(n) mean nothing, also where a character below the blank stands against them. */
function comparePadded(a: string, b: string): number {
  const result = compareBytes(withoutBlanks(a), withoutBlanks(b));
  return result === 0 ? a.length - b.length : result;
}

function withoutBlanks(text: string): string {
  let end = text.length;
  while (end > 0 && text[end - 1] === " ") end -= 1;
  return text.slice(0, end);
}

function rank(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
