import {
  streamProblems,
  type AuditedChange,
  type AuditMatch,
  type ColumnTypes,
} from "../support/crash-audit.ts";
import { groupBy, placeOf, type AuditedEvent } from "../support/crash-telling.ts";
import { timeProblems } from "./event-times.ts";
import { changeWithoutNullExtras, eventWithoutNullExtras } from "./extra-columns.ts";
import { matchRows, type ToldChange } from "./told-rows.ts";
import { untoldProblems, type IsBefore, type Read } from "./untold-rows.ts";
import { everyPlace, type WitnessedTransaction } from "./witness.ts";

/** An event with its time, in microseconds. */
export interface TimedEvent extends AuditedEvent {
  readonly timeUs: string;
}

export interface Evidence {
  /** What triggers in the source recorded, in the transactions themselves; of captured tables. */
  readonly changes: readonly AuditedChange[];
  /** What the source's log says of order and time. */
  readonly witnessed: readonly WitnessedTransaction[];
  /** All events of the store, as readers see them. */
  readonly events: readonly TimedEvent[];
  readonly types: ColumnTypes;
  readonly read: Read;
}

const PROBLEMS_MAX = 20;

/**
 * Holds the events against two records that have nothing to do with the capture: each audited change is
 * told once, in its transaction, with its values and at its time, or was made before its row was read;
 * transactions are told in the order of their commits, and the changes of each in the order in which it made
 * them; nothing else is told.
 */
export function judge({ changes, witnessed, events: stored, types, read }: Evidence): AuditMatch {
  const events = truncatedApart(stored).map(eventWithoutNullExtras);
  const captured = events.filter(({ origin }) => origin === "capture");
  const match = matchRows(changes.map(changeWithoutNullExtras), captured, types);
  const isBefore = tellerOfOrder(witnessed, captured);
  const problems = [
    ...streamProblems(events),
    ...match.problems,
    ...untoldProblems(match.halves, events, read, isBefore),
    ...orderProblems(witnessed, match.told),
    ...timeProblems(witnessed, match.told),
  ];
  return {
    problems: problems.slice(0, PROBLEMS_MAX),
    told: match.told.length,
    unchanged: match.unchanged,
    before: match.untold,
  };
}

/** Knows which transactions were committed before the first that is told of those behind a place in the log. */
function tellerOfOrder(
  witnessed: readonly WitnessedTransaction[],
  captured: readonly AuditedEvent[],
): IsBefore {
  const places = new Map(witnessed.map(({ xid }, at) => [xid, at]));
  const told = [...groupBy(captured, ({ transaction }) => transaction!)]
    .map(([xid, [event]]) => ({ commit: event!.position.slice(0, 16), at: places.get(xid) }))
    .toSorted((a, b) => (a.commit < b.commit ? -1 : 1));
  const known = new Map<string, number>();
  const firstBehind = (position: string): number => {
    const commit = position.slice(0, 16);
    const found =
      known.get(commit) ??
      told.find((one) => one.at !== undefined && one.commit > commit)?.at ??
      Infinity;
    known.set(commit, found);
    return found;
  };
  return (xid, position) => (places.get(xid) ?? Infinity) < firstBehind(position);
}

function orderProblems(
  witnessed: readonly WitnessedTransaction[],
  told: readonly ToldChange[],
): string[] {
  const problems: string[] = [];
  const commits = new Map(witnessed.map(({ xid, places }, at) => [xid, { at, places }]));
  const inOrder = told.toSorted((a, b) => (a.position < b.position ? -1 : 1));
  let last = -1;
  for (const [xid, changes] of groupBy(inOrder, ({ change }) => change.xid)) {
    const commit = commits.get(xid);
    if (commit === undefined) {
      problems.push(`transaction ${xid} is told, and the log has no such commit`);
      continue;
    }
    if (commit.at < last) problems.push(`transaction ${xid} is told after a later one`);
    last = commit.at;
    let from = 0;
    for (const { change, isWithRoot } of changes) {
      // Rows that came with their root are told where the root is.
      if (isWithRoot) continue;
      const { relation, was, became } = change;
      const place = placeOf(relation, (was ?? became)!);
      const at = commit.places.indexOf(place, from);
      // A TRUNCATE is one change of the log, and tells of every row.
      const truncated =
        became === undefined ? commit.places.indexOf(everyPlace(relation), from) : -1;
      if (at < 0 && truncated < 0) {
        problems.push(`${place}: told out of order in transaction ${xid}`);
        break;
      }
      from = at < 0 ? truncated : at + 1;
    }
  }
  return problems;
}

/** The rows that one TRUNCATE took have one position in the log, and are changes of their own all the same. */
function truncatedApart<Event extends AuditedEvent>(events: readonly Event[]): readonly Event[] {
  const isRemoval = ({ data }: AuditedEvent): boolean => data["$op"] === "delete";
  const groups = groupBy(
    events.filter((event) => event.origin === "capture" && isRemoval(event)),
    ({ position }) => position,
  );
  const apart = new Map<Event, string>();
  for (const [position, removed] of groups) {
    const isOneTable = removed.every(({ data }) => data["$row"] === removed[0]!.data["$row"]);
    if (removed.length < 2 || !isOneTable) continue;
    for (const [i, event] of removed.entries())
      apart.set(event, `${position}.${String(i).padStart(8, "0")}`);
  }
  return events.map((event) => ({ ...event, position: apart.get(event) ?? event.position }));
}
