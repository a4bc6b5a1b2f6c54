import { eventRefused } from "./given-row.ts";
import type { StreamMapping } from "./stream-mapping.ts";
import { BanyanError } from "../model/errors.ts";
import { textOf } from "../store/append-rules.ts";
import type { Claim, HeldClaim } from "../store/service-store.ts";

/** Of a value that is claimed, in UTF-8: it has to fit into an index. */
export const CLAIM_BYTES_MAX = 1_000;

type Row = Readonly<Record<string, unknown>>;

/** What an aggregate claims, and what it releases: the columns whose value is another than it was. */
export function claimsOf(
  unique: readonly string[],
  before: Row | undefined,
  after: Row | undefined,
): readonly Claim[] {
  return unique.flatMap((column) => {
    const value = textOf(after?.[column]);
    if (value === textOf(before?.[column])) return [];
    if (value !== undefined && Buffer.byteLength(value) > CLAIM_BYTES_MAX)
      throw eventRefused(`${column} is unique, and longer than ${CLAIM_BYTES_MAX} bytes`);
    return [{ column, value }];
  });
}

/** @throws BanyanError `EVENT_REFUSED` for a column that the root does not have */
export function assertColumns({ definition }: StreamMapping, wanted: readonly string[]): void {
  const { columns, table } = definition.roles[definition.root]!;
  const unknown = wanted.find((column) => !columns.some(({ name }) => name === column));
  if (unknown !== undefined) throw eventRefused(`${table} has no column ${unknown}`);
}

export function valueTaken(stream: string, { column, stream: holder }: HeldClaim): BanyanError {
  return new BanyanError("VALUE_TAKEN", `${stream}: another aggregate has this ${column}`, {
    hint: "Answer 409; see docs/8-services.md.",
    detail: { column, stream: holder },
  });
}
