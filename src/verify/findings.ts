import type { Difference, ParityFinding } from "../store/parity-store.ts";

/** Findings that are kept by key. */
export const FINDINGS_MAX = 1_000;

/** What a look came to. */
export interface Look {
  /** As they were kept before the look's snapshot was taken. */
  readonly before: readonly ParityFinding[];
  readonly found: readonly Difference[];
  /** ISO 8601. */
  readonly at: string;
  /** Whether what was found earlier was looked at again; all when absent. */
  readonly isChecked?: (finding: ParityFinding) => boolean;
}

/**
 * What is open after a look: a difference that is there again, with no event of its stream since, was
 * rechecked; any further event begins its clock anew.
 *
 * Several may look at once. What somebody else has seen since the look began stays, because the rows that
 * were looked at may be older; the next look tells. So does what was not looked at. Both come first.
 *
 * @param kept as they are kept now
 */
export function mergeFindings(
  { before, found, at, isChecked = () => true }: Look,
  kept: readonly ParityFinding[] = before,
): readonly ParityFinding[] {
  const [earlier, now] = [byId(before), byId(kept)];
  const seen = new Map(found.map((difference) => [idOf(difference), difference]));
  const isNewer = (finding: ParityFinding): boolean => {
    const known = earlier.get(idOf(finding));
    return known === undefined || !isSame(known, finding) || known.lastSeen !== finding.lastSeen;
  };
  const left = kept.filter(
    (finding) => !seen.has(idOf(finding)) && (!isChecked(finding) || isNewer(finding)),
  );
  const merged = [...seen].map(([id, difference]): ParityFinding => {
    const [known, stored] = [earlier.get(id), now.get(id)];
    if (stored !== undefined && stored.version > difference.version && isNewer(stored))
      return stored;
    // What somebody else found equal meanwhile is looked at as if it were new.
    if (stored === undefined || !isSame(stored, difference))
      return { ...difference, firstSeen: at, lastSeen: at, rechecks: 0 };
    const again = known !== undefined && isSame(known, difference) ? known.rechecks + 1 : 0;
    const rechecks = Math.max(stored.rechecks, again);
    return { ...difference, firstSeen: stored.firstSeen, lastSeen: at, rechecks };
  });
  return [...left, ...merged];
}

function byId(findings: readonly ParityFinding[]): ReadonlyMap<string, ParityFinding> {
  return new Map(findings.map((finding) => [idOf(finding), finding]));
}

function isSame(one: Difference, other: Difference): boolean {
  return one.version === other.version && one.verdict === other.verdict;
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

/** Of each verdict. */
export function countVerdicts(
  differences: readonly Difference[],
): Readonly<Record<Difference["verdict"], number>> {
  const of = (wanted: Difference["verdict"]): number =>
    differences.filter(({ verdict }) => verdict === wanted).length;
  return { missing: of("missing"), extra: of("extra"), different: of("different") };
}
