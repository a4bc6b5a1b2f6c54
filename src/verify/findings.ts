import type { Difference, ParityFinding } from "../store/parity-store.ts";

/** Findings that are kept by key. */
export const FINDINGS_MAX = 1_000;

/**
 * What is open after a look: a difference that is there again, with no event of its stream since, was
 * rechecked; any further event begins its clock anew.
 *
 * @param checked streams that were looked at; all when absent
 * @param now ISO 8601
 */
export function mergeFindings(
  before: readonly ParityFinding[],
  found: readonly Difference[],
  now: string,
  checked?: ReadonlySet<string>,
): readonly ParityFinding[] {
  const known = new Map(before.map((finding) => [idOf(finding), finding]));
  const kept = checked === undefined ? [] : before.filter(({ stream }) => !checked.has(stream));
  const seen = found.map((difference): ParityFinding => {
    const earlier = known.get(idOf(difference));
    const isSame =
      earlier?.version === difference.version && earlier.verdict === difference.verdict;
    return {
      ...difference,
      firstSeen: isSame ? earlier.firstSeen : now,
      lastSeen: now,
      rechecks: isSame ? earlier.rechecks + 1 : 0,
    };
  });
  return [...kept, ...seen].slice(0, FINDINGS_MAX);
}

/** Whether it outlived a recheck: until then a difference may be a passing one. */
function isSettled({ rechecks }: ParityFinding): boolean {
  return rechecks > 0;
}

export interface FindingCounts {
  readonly open: number;
  /** Of them those that outlived a recheck. */
  readonly settled: number;
}

export function countFindings(findings: readonly ParityFinding[]): FindingCounts {
  return { open: findings.length, settled: findings.filter(isSettled).length };
}

function idOf({ table, stream, key }: Difference): string {
  return JSON.stringify([table, stream, key]);
}
