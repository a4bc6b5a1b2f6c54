import type { Ask } from "./catalogue.ts";
import { quoteLiteral } from "./identifiers.ts";

/** Up to so many ids are taken one by one, which never sets a sequence back, whoever takes some meanwhile. */
const IDS_SKIPPED_MAX = 10_000n;

const STANDING = `
  SELECT seqincrement::text AS increment, seqmax::text AS max, seqstart::text AS start,
         pg_sequence_last_value(seqrelid)::text AS last
    FROM pg_sequence WHERE seqrelid = $1::text::regclass`;

interface Standing {
  readonly increment: string;
  readonly max: string;
  readonly start: string;
  readonly last: string | null;
}

/**
 * Brings a sequence beyond an id that was not taken from it, so that it never gives that one. Not undone
 * when the transaction is.
 *
 * @param sequence name, quoted
 */
export async function advanceSequence(ask: Ask, sequence: string, id: bigint): Promise<void> {
  const doing = `advancing sequence ${sequence}`;
  const [row] = await ask<Standing>(doing, STANDING, [sequence]);
  if (row === undefined) return;
  const increment = BigInt(row.increment);
  if (increment <= 0n || id > BigInt(row.max)) return;
  const last = row.last === null ? BigInt(row.start) - increment : BigInt(row.last);
  if (id <= last) return;
  const count = (id - last + increment - 1n) / increment;
  const name = `${quoteLiteral(sequence)}::regclass`;
  if (count <= IDS_SKIPPED_MAX) {
    await ask(doing, `SELECT max(nextval(${name})) FROM generate_series(1, ${count})`, []);
    return;
  }
  await ask(
    doing,
    `SELECT setval(${name}, $1::bigint) WHERE coalesce(pg_sequence_last_value(${name}), $1::bigint - 1) < $1::bigint`,
    [String(id)],
  );
}
