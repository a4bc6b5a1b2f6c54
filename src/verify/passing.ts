import { BanyanError } from "../model/errors.ts";

/**
 * Why a comparison broke off that may well succeed when it is begun anew, with the tables as they are then:
 * they were changed under it, or its folds thrown away by another verification.
 *
 * @param wereFound whether the tables had been found; one that is missing before is missing for good
 * @returns undefined when it was something else
 */
export function passingReason(error: unknown, wereFound: boolean): string | undefined {
  if (!(error instanceof BanyanError)) return undefined;
  const isPassing = isChangedBeneath(error, wereFound) || error.detail["foldsGone"] === true;
  return isPassing ? `${error.message}; it is tried again` : undefined;
}

/** Of a table that goes while it is read the server says so; whoever looks for them next finds what is there. */
function isChangedBeneath({ code, detail }: BanyanError, wereFound: boolean): boolean {
  if (code === "TABLE_MISSING") return wereFound || detail["sqlstate"] !== undefined;
  return code === "SOURCE_CHANGED";
}
