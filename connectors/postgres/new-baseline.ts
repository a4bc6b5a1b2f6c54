import { quoteLiteral } from "./identifiers.ts";

/**
 * The next step when the log that follows the checkpoint cannot be had any more.
 *
 * @param slot one that is still there and must go first
 */
export function newBaselineHint(slot?: string): string {
  const drop =
    slot === undefined
      ? ""
      : `SELECT pg_drop_replication_slot(${quoteLiteral(slot)}); in the source, `;
  return `A new baseline is needed: ${drop}name an empty database or folder as \`store\` in the config, then: banyan run`;
}
