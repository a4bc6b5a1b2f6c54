import type { Cells } from "../model/table.ts";

/** Longest stream id, in UTF-16 units; far below what a B-tree entry of the store can hold. */
export const STREAM_ID_LENGTH_MAX = 600;

/** `order` and the key `42` make `order-42`; several key columns are joined by commas. */
export function streamId(streamType: string, key: string): string {
  return `${streamType}-${key}`;
}

/** The stream type of a stream id; types hold no dash. */
export function streamTypeOf(id: string): string {
  return id.slice(0, id.indexOf("-"));
}

/** The key text of a stream, as {@link keyText} makes it. */
export function keyTextOf(id: string): string {
  return id.slice(id.indexOf("-") + 1);
}

/**
 * Text of a row's key: its columns' canonical text joined by `,`, in which `\` and `,` are escaped
 * by a backslash, so that different keys never have one text. A null (possible only in a foreign
 * key) is written `\0`.
 */
export function keyText(cells: Cells, columns: readonly number[]): string {
  if (columns.length === 1) return escapeKey(cells[columns[0]!]);
  let text = escapeKey(cells[columns[0]!]);
  for (let i = 1; i < columns.length; i++) text += `,${escapeKey(cells[columns[i]!])}`;
  return text;
}

/** The texts of the key columns in a stream id; null for NULL. The inverse of {@link keyText}. */
export function keyOfStream(id: string): readonly (string | null)[] {
  const key = keyTextOf(id);
  if (!/[\\,]/.test(key)) return [key];
  return key
    .split(/(?<=^(?:[^\\]|\\.)*),/s)
    .map((part) => (part === String.raw`\0` ? null : part.replaceAll(/\\(.)/gs, "$1")));
}

function escapeKey(cell: string | null | undefined): string {
  if (cell === null || cell === undefined) return String.raw`\0`;
  for (let i = 0; i < cell.length; i++) {
    const c = cell.charCodeAt(i);
    if (c === 0x2c || c === 0x5c) return cell.replaceAll(/[\\,]/g, String.raw`\$&`);
  }
  return cell;
}
