import {
  matchAudit,
  type AuditedChange,
  type AuditMatch,
  type ColumnTypes,
} from "../support/crash-audit.ts";
import { groupBy, placeOf, readTold, type AuditedEvent } from "../support/crash-telling.ts";
import { everyPlace, type WitnessedTransaction } from "./witness.ts";

/** Columns that a round adds to the shop's tables. They are null until something else is written into them. */
export const EXTRA_COLUMN = /^extra_/;

export interface Evidence {
  /** What triggers in the source recorded, in the transactions themselves. */
  readonly changes: readonly AuditedChange[];
  /** What the source's log says of order. */
  readonly witnessed: readonly WitnessedTransaction[];
  /** All events of the store, as readers see them. */
  readonly events: readonly AuditedEvent[];
  readonly types: ColumnTypes;
}

/**
 * Holds the events against two records that have nothing to do with the capture: each audited change is
 * told once, in its transaction and with its values; transactions are told in the order of their commits,
 * and the changes of each in the order in which it made them; nothing else is told.
 */
export function judge({ changes, witnessed, events: stored, types }: Evidence): AuditMatch {
  const events = truncatedApart(stored);
  const audited = changes.map(({ was, became, ...change }) => ({
    ...change,
    was: withoutNullExtras(was),
    became: withoutNullExtras(became),
  }));
  const match = matchAudit(
    audited,
    events.map((event) => ({ ...event, data: withoutNullExtrasIn(event.data) })),
    types,
  );
  const problems = [
    ...match.problems,
    ...orderProblems(witnessed, events),
    ...untoldProblems(audited, witnessed, events),
  ];
  return { ...match, problems };
}

/**
 * After the last baseline event everything is told. Before it a change may be in the baseline instead,
 * and of a row that came and went there is nothing in either.
 */
function untoldProblems(
  changes: readonly AuditedChange[],
  witnessed: readonly WitnessedTransaction[],
  events: readonly AuditedEvent[],
): string[] {
  const baselined = events.filter(({ origin }) => origin === "baseline");
  const end = baselined.reduce((last, { position }) => (position > last ? position : last), "");
  const captured = events.filter(({ origin }) => origin === "capture");
  const later = new Set(
    captured.filter(({ position }) => position > end).map(({ transaction }) => transaction),
  );
  const first = witnessed.findIndex(({ xid }) => later.has(xid));
  if (first < 0) return [];
  const told = groupBy(readTold(captured), ({ transaction }) => transaction);
  const made = groupBy(
    changes.filter(({ was, became }) => !isSame(was, became)),
    ({ xid }) => xid,
  );
  return witnessed.slice(first).flatMap(({ xid }) => {
    const [has, had] = [told.get(xid)?.length ?? 0, made.get(xid)?.length ?? 0];
    return has === had ? [] : [`${had} changes of transaction ${xid} are told as ${has}`];
  });
}

function isSame(was: AuditedChange["was"], became: AuditedChange["became"]): boolean {
  if (was === null || became === null) return false;
  const columns = new Set([...Object.keys(was), ...Object.keys(became)]);
  return [...columns].every((column) => was[column] === became[column]);
}

function orderProblems(
  witnessed: readonly WitnessedTransaction[],
  events: readonly AuditedEvent[],
): string[] {
  const problems: string[] = [];
  const commits = new Map(witnessed.map(({ xid, places }, at) => [xid, { at, places }]));
  // Rows that came with their root are told where the root is.
  const captured = events.filter(({ origin }) => origin === "capture").map(withoutChildren);
  let last = -1;
  for (const [xid, tellings] of groupBy(readTold(captured), ({ transaction }) => transaction)) {
    const commit = commits.get(xid);
    if (commit === undefined) {
      problems.push(`transaction ${xid} is told, and the log has no such commit`);
      continue;
    }
    if (commit.at < last) problems.push(`transaction ${xid} is told after a later one`);
    last = commit.at;
    let from = 0;
    for (const { relation, kind, was, now } of tellings) {
      const place = placeOf(relation, kind === "delete" || kind === "move" ? was : now);
      const at = commit.places.indexOf(place, from);
      // A TRUNCATE is one change of the log, and tells of every row.
      const truncated = kind === "delete" ? commit.places.indexOf(everyPlace(relation), from) : -1;
      if (at < 0 && truncated < 0) {
        problems.push(`${place}: told out of order in transaction ${xid}`);
        break;
      }
      from = at < 0 ? truncated : at + 1;
    }
  }
  return problems.slice(0, 10);
}

/** The rows that one TRUNCATE took have one position in the log, and are changes of their own all the same. */
function truncatedApart(events: readonly AuditedEvent[]): readonly AuditedEvent[] {
  const isRemoval = ({ data }: AuditedEvent): boolean => data["$op"] === "delete";
  const groups = groupBy(
    events.filter((event) => event.origin === "capture" && isRemoval(event)),
    ({ position }) => position,
  );
  const apart = new Map<AuditedEvent, string>();
  for (const [position, removed] of groups) {
    const isOneTable = removed.every(({ data }) => data["$row"] === removed[0]!.data["$row"]);
    if (removed.length < 2 || !isOneTable) continue;
    for (const [i, event] of removed.entries())
      apart.set(event, `${position}.${String(i).padStart(8, "0")}`);
  }
  return events.map((event) => ({ ...event, position: apart.get(event) ?? event.position }));
}

function withoutChildren(event: AuditedEvent): AuditedEvent {
  const columns = Object.entries(event.data).filter(([, value]) => !Array.isArray(value));
  return { ...event, data: Object.fromEntries(columns) };
}

/** A row from before a column was added, and one from after it, are the same row while it is null. */
function withoutNullExtras<T extends Readonly<Record<string, unknown>> | null>(row: T): T {
  if (row === null || !Object.entries(row).some(isNullExtra)) return row;
  return Object.fromEntries(Object.entries(row).filter((cell) => !isNullExtra(cell))) as T;
}

function withoutNullExtrasIn(data: AuditedEvent["data"]): AuditedEvent["data"] {
  const entries = Object.entries(withoutNullExtras(data)).map(([name, value]) => {
    if (Array.isArray(value))
      return [name, (value as Readonly<Record<string, unknown>>[]).map(withoutNullExtras)];
    if (name !== "$was") return [name, value];
    const was = value as Readonly<Record<string, unknown>>;
    if (data["$op"] !== "update") return [name, withoutNullExtras(was)];
    // That it was nothing before is what an update tells of it.
    const old = Object.entries(was).map((cell) =>
      isNullExtra(cell) ? [cell[0], undefined] : cell,
    );
    return [name, Object.fromEntries(old) as unknown];
  });
  return Object.fromEntries(entries) as AuditedEvent["data"];
}

function isNullExtra([name, value]: [string, unknown]): boolean {
  return value === null && EXTRA_COLUMN.test(name);
}
