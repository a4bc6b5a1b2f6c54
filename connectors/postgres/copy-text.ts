import { BanyanError } from "../../src/model/errors.ts";
import type { Cell } from "../../src/model/cell.ts";
import type { Cells } from "../../src/model/table.ts";
import { cellText } from "./cell-text.ts";

const TAB = 0x09;
const NEWLINE = 0x0a;
const BACKSLASH = 0x5c;

/**
 * Reads one row in COPY's text format: cells parted by tabs, `\N` for NULL, a backslash before what
 * would otherwise mean something. The row ends at `end` or at a newline before it.
 *
 * @throws BanyanError `PROTOCOL_VIOLATION` when there are not exactly `columns` cells
 * @see https://www.postgresql.org/docs/current/sql-copy.html
 */
export function parseCopyRow(b: Buffer, start: number, end: number, columns: number): Cells {
  const cells = new Array<Cell>(columns);
  const stop = end > start && b[end - 1] === NEWLINE ? end - 1 : end;
  // A table without columns gives an empty line.
  if (columns === 0 && stop === start) return cells;
  let column = 0;
  let from = start;
  let escaped = false;
  for (let at = start; at <= stop; at++) {
    const byte = at < stop ? b[at] : TAB;
    if (byte === BACKSLASH) {
      escaped = true;
      at += 1; // whatever follows is not a separator
    } else if (byte === TAB) {
      if (column >= columns) throw wrongCount(columns);
      cells[column] = escaped ? unescape(b, from, at) : cellText(b, from, at);
      column += 1;
      from = at + 1;
      escaped = false;
    }
  }
  if (column !== columns || from !== stop + 1) throw wrongCount(columns);
  return cells;
}

function unescape(b: Buffer, start: number, end: number): Cell {
  if (end - start === 2 && b[start + 1] === 0x4e) return null;
  // Never longer than its escaped form.
  const plain = Buffer.allocUnsafe(end - start);
  let length = 0;
  for (let at = start; at < end; at++) {
    let byte = b[at]!;
    if (byte === BACKSLASH && at + 1 < end) {
      at += 1;
      byte = b[at]!;
      const control = CONTROLS.get(byte);
      if (control !== undefined) byte = control;
      else if (byte >= 0x30 && byte <= 0x37) {
        [byte, at] = digits(b, at, Math.min(end, at + 3), 8);
      } else if (byte === 0x78 && at + 1 < end && digitOf(b[at + 1]!) < 16) {
        [byte, at] = digits(b, at + 1, Math.min(end, at + 3), 16);
      }
    }
    plain[length] = byte;
    length += 1;
  }
  return cellText(plain, 0, length);
}

const CONTROLS = new Map([
  [0x62, 0x08], // \b
  [0x66, 0x0c], // \f
  [0x6e, 0x0a], // \n
  [0x72, 0x0d], // \r
  [0x74, 0x09], // \t
  [0x76, 0x0b], // \v
]);

/** @returns the byte and where its last digit is */
function digits(b: Buffer, start: number, end: number, base: number): [number, number] {
  let value = 0;
  let at = start;
  while (at < end && digitOf(b[at]!) < base) {
    value = value * base + digitOf(b[at]!);
    at += 1;
  }
  return [value & 0xff, at - 1];
}

function digitOf(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : 99;
}

function wrongCount(columns: number): BanyanError {
  return new BanyanError("PROTOCOL_VIOLATION", `a row of COPY does not have ${columns} cells`);
}
