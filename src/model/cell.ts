/**
 * One column value in the source's own canonical text.
 *
 * `null` is SQL NULL. `undefined` is "unchanged": a large value that the log did not repeat. It is a
 * third thing beside a value and null, and is resolved from the before image ahead of the mapping.
 */
export type Cell = string | null | undefined;
