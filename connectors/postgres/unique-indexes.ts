import type { KeyUniqueness } from "../../src/model/table.ts";

/** A unique index over plain columns and all rows. */
export interface UniqueIndex {
  readonly columns: readonly string[];
  /** False for a DEFERRABLE constraint: within a transaction rows may have one key. */
  readonly immediate: boolean;
  /** True when two NULLs count as different (always so before version 15). */
  readonly nullsDistinct: boolean;
}

/** The unique indexes of the relation `c`, as JSON. Invalid, partial and computed ones promise nothing. */
export const UNIQUE_INDEXES = `
  (SELECT json_agg(json_build_object(
            'columns', (SELECT json_agg(a.attname)
                          FROM unnest(i.indkey) WITH ORDINALITY k (number, place)
                          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
                         WHERE k.place <= i.indnkeyatts),
            'immediate', i.indimmediate,
            'nullsDistinct', NOT coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false)))
     FROM pg_index i
    WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL)`;

/** What the database promises of a key. @param nullable names of the columns that may hold NULL */
export function uniquenessOf(
  key: readonly string[],
  nullable: ReadonlySet<string>,
  indexes: readonly UniqueIndex[],
): KeyUniqueness {
  const fitting = indexes.filter(
    ({ columns, nullsDistinct }) =>
      columns.every((name) => key.includes(name)) &&
      (!nullsDistinct || !columns.some((name) => nullable.has(name))),
  );
  if (fitting.some(({ immediate }) => immediate)) return "always";
  return fitting.length > 0 ? "at-commit" : "nowhere";
}
