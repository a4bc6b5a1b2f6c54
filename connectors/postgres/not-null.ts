/**
 * Whether no row has NULL in the column `a` of pg_attribute. A constraint that is NOT VALID (since
 * version 18) sets `attnotnull` too, and says nothing of the rows that were there before it.
 */
export const NOT_NULL = `
  (a.attnotnull AND NOT EXISTS (
     SELECT FROM pg_constraint nn
      WHERE nn.conrelid = a.attrelid AND nn.contype = 'n' AND NOT nn.convalidated AND nn.conkey = ARRAY[a.attnum]))`;
