import type { RuleParts } from "./draft-aggregate.ts";
import { latinWords } from "../assess/identifier-words.ts";
import type { SampledTable } from "../source/database-facts.ts";

/**
 * Columns that go with every change of a row and mean nothing alone: when and by whom it was changed,
 * its version. An event that did not claim them would leave them to the fallback, each time.
 */
export function attachedColumns({ readings, identity, facts }: RuleParts): readonly string[] {
  const kept = new Set(
    readings
      .filter(({ role }) => role === "changed-at" || role === "version")
      .map(({ column }) => column),
  );
  return facts.table.columns
    .map(({ name }) => name)
    .filter((name) => (kept.has(name) || isSignedBy(name, CHANGED)) && !identity.has(name));
}

const CHANGED = /^(updated|modified|changed|edited|updater|modifier|editor)$/;
const MADE = /^(created|inserted|added|entered|creator)$/;

/** `updated_by`, `modified_by_id`: who did it last. */
function isSignedBy(column: string, did: RegExp): boolean {
  const words = latinWords(column);
  return words.length > 1 && words.includes("by") && words.some((word) => did.test(word));
}

/** `created_by`: it does not change, and to say that it did would be of no use. */
export function isMakersMark(column: string): boolean {
  return isSignedBy(column, MADE);
}

/** Columns that the sample saw change with another one nine times out of ten. */
export function changesWith(sampled: SampledTable | undefined, column: string): readonly string[] {
  const counts = new Map<string, number>();
  let all = 0;
  for (const [names, times] of sampled?.changedTogether ?? []) {
    const together = names.split(TOGETHER);
    if (!together.includes(column)) continue;
    all += times;
    for (const name of together) counts.set(name, (counts.get(name) ?? 0) + times);
  }
  return all < SEEN_MIN
    ? []
    : [...counts]
        .filter(([name, n]) => name !== column && n >= all * SHARE_MIN)
        .map(([name]) => name);
}

const TOGETHER = ", ";
const SEEN_MIN = 3;
const SHARE_MIN = 0.9;
