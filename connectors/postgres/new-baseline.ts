import { quoteLiteral } from "./identifiers.ts";

/**
 * The next step when the log that follows the checkpoint cannot be had any more.
 *
 * @param slot one that is still there and must go first for a new history
 */
export function newBaselineHint(slot?: string): string {
  return `A new baseline is needed: ${newHistorySteps(slot)}`;
}

function newHistorySteps(slot: string | undefined): string {
  const drop =
    slot === undefined
      ? ""
      : `SELECT pg_drop_replication_slot(${quoteLiteral(slot)}); in the source, `;
  return `${drop}name an empty database or folder as \`store\` in the config, then: banyan run`;
}

/** The same where the place in the log is lost and nothing else: history can go on, with a gap. */
export function lostPlaceHint(slot?: string): string {
  return `To go on in this history, with a note in every aggregate that it has a gap: banyan rebaseline. Or, to begin a new one: ${newHistorySteps(slot)}`;
}
