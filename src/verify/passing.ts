import { BanyanError, type ErrorCode } from "../model/errors.ts";

/** What a change of the tables under a comparison looks like; whoever looks for them first finds them as they are. */
const CHANGED_BENEATH: readonly ErrorCode[] = ["SOURCE_CHANGED", "TABLE_MISSING"];

/**
 * Why a comparison broke off that may well succeed when it is begun anew, with the tables as they are then:
 * they were changed under it, or its folds thrown away by another verification.
 *
 * @param error of a comparison, whose tables were there when it began
 * @returns undefined when it was something else
 */
export function passingReason(error: unknown): string | undefined {
  if (!(error instanceof BanyanError)) return undefined;
  const { code, detail, message } = error;
  const isPassing = CHANGED_BENEATH.includes(code) || detail["foldsGone"] === true;
  return isPassing ? `${message}; it is tried again` : undefined;
}
