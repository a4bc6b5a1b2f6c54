import { invariant } from "../../src/model/errors.ts";
import type { Position } from "../../src/model/position.ts";

declare const lsnBrand: unique symbol;
/** Byte offset in the Postgres WAL. Ordered; compare with `<`. */
export type Lsn = bigint & { readonly [lsnBrand]: true };

/**
 * Parses the text form of `pg_lsn`, e.g. `"16/B374D848"`.
 *
 * @param text two hexadecimal halves joined by `/`, high word first, 1 to 8 digits each
 * @throws BanyanError `INVARIANT_BROKEN` when the text has another shape
 * @see https://www.postgresql.org/docs/current/datatype-pg-lsn.html
 */
export function parseLsn(text: string): Lsn {
  const match = /^([0-9A-F]{1,8})\/([0-9A-F]{1,8})$/i.exec(text);
  invariant(match !== null, `not a pg_lsn: "${text}"`);
  return ((BigInt(`0x${match[1]!}`) << 32n) | BigInt(`0x${match[2]!}`)) as Lsn;
}

/** Inverse of {@link parseLsn}. */
export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffff_ffffn).toString(16).toUpperCase()}`;
}

/** The first half of a position: 16 upper-case hexadecimal digits, which sort as the LSN does. */
export function lsnDigits(lsn: Lsn): string {
  return lsn.toString(16).toUpperCase().padStart(16, "0");
}

/** The same digits from the two words of the wire, for the path of every transaction. */
export function wordDigits(high: number, low: number): string {
  return word(high) + word(low);
}

/** A checkpoint at `digits`, as {@link lsnDigits} gives them: after all that ended before, before the rest. */
export function checkpointAt(digits: string): Position {
  return `${digits}/00000000` as Position;
}

/** The LSN in a position of either form. */
export function lsnOf(position: Position): Lsn {
  const match = /^([0-9A-F]{16})\/[0-9A-F]{8}$/.exec(position);
  invariant(match !== null, `not a position of a Postgres source: "${position}"`);
  return BigInt(`0x${match[1]!}`) as Lsn;
}

function word(value: number): string {
  return value.toString(16).toUpperCase().padStart(8, "0");
}
