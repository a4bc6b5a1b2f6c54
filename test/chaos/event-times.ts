import type { Row } from "../support/crash-telling.ts";
import type { TimedEvent } from "./judge.ts";
import type { ToldChange } from "./told-rows.ts";
import type { WitnessedTransaction } from "./witness.ts";

/** The columns that the shop's mapping names as the time of a change. */
const VALID_TIMES: Readonly<Record<string, string>> = {
  customers: "updated_at",
  products: "updated_at",
  orders: "updated_at",
  payments: "captured_at",
};

/**
 * A change happened when the row says so, where this very change set that; otherwise when the source
 * committed it. The clock of the capture has no part in either.
 */
export function timeProblems(
  witnessed: readonly WitnessedTransaction[],
  told: readonly ToldChange[],
): string[] {
  const commits = new Map(witnessed.map(({ xid, committedUs }) => [xid, committedUs]));
  return told.flatMap(({ change, events, isWithRoot, isHalf }) => {
    const { xid, relation, was, became } = change;
    const committed = commits.get(xid);
    // That is a problem of its own. And the event is about the root.
    if (committed === undefined || isWithRoot) return [];
    const expected = validTimeUs(relation, was, became) ?? committed;
    // Of a row that left, the event is that of a deletion, which happens at its commit.
    const isRight = (timeUs: string): boolean =>
      timeUs === expected || (isHalf && timeUs === committed);
    const wrong = (events as readonly TimedEvent[]).find(({ timeUs }) => !isRight(timeUs));
    return wrong === undefined
      ? []
      : [
          `${wrong.stream}: ${wrong.type} of transaction ${xid} has the time ${wrong.timeUs}, not ${expected}`,
        ];
  });
}

function validTimeUs(
  relation: string,
  was: Row | undefined,
  became: Row | undefined,
): string | undefined {
  const column = VALID_TIMES[relation];
  if (column === undefined || became === undefined || was?.[column] === became[column])
    return undefined;
  const text = became[column];
  return typeof text === "string" ? microseconds(text) : undefined;
}

/** @param text ISO 8601 in UTC, with up to six digits of a second */
function microseconds(text: string): string {
  const [whole, digits = ""] = text.slice(0, -1).split(".");
  return String(BigInt(Date.parse(`${whole}Z`)) * 1000n + BigInt(digits.padEnd(6, "0")));
}
