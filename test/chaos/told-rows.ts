import { same, toJson, type AuditedChange, type ColumnTypes } from "../support/crash-audit.ts";
import {
  groupBy,
  placeOf,
  readTold,
  SHOP_TABLES,
  streamOf,
  type AuditedEvent,
  type Row,
  type Told,
} from "../support/crash-telling.ts";

/** One row's part of a change: a row that goes to another place leaves one and comes to another. */
interface Half {
  /** The row, and the stream in which it is. */
  readonly place: string;
  readonly stream: string;
  readonly op: "insert" | "update" | "delete";
}

/** Half of what the events of one change tell. */
interface ToldHalf extends Half {
  readonly told: Told;
  readonly version: number;
  readonly events: readonly AuditedEvent[];
  /** It came with its root: the log has it elsewhere. */
  readonly isWithRoot: boolean;
}

/** Half of an audited change. */
export interface AuditedHalf extends Half {
  readonly change: RowChange;
  readonly was: Row | undefined;
  readonly became: Row | undefined;
  told?: ToldHalf;
}

/** A change of the audit, in the JSON of events. */
export interface RowChange {
  readonly xid: string;
  readonly relation: string;
  readonly was: Row | undefined;
  readonly became: Row | undefined;
}

export interface ToldChange {
  readonly change: RowChange;
  readonly position: string;
  readonly events: readonly AuditedEvent[];
  readonly isWithRoot: boolean;
  /** The row moved, and of its two halves one alone is told: the other was read after that. */
  readonly isHalf: boolean;
}

export interface RowsMatch {
  readonly problems: string[];
  /** Audited updates that changed nothing: there is nothing to tell. */
  readonly unchanged: number;
  /** Audited changes of which events tell at least one half. */
  readonly told: readonly ToldChange[];
  readonly halves: readonly AuditedHalf[];
  readonly untold: number;
}

/**
 * Matches audited changes with captured events, one to one, by transaction, row and stream: with their
 * old and new values, each in the stream that it belongs to. A row that moves is told in two streams, of
 * which one may have been read after the move, and then has no more to tell; both halves are one change
 * where both are told. What no event tells is left for {@link untoldProblems}.
 */
export function matchRows(
  changes: readonly AuditedChange[],
  captured: readonly AuditedEvent[],
  types: ColumnTypes,
): RowsMatch {
  const problems: string[] = [];
  const rows = changes.map(({ xid, relation, was, became }): RowChange => ({
    ...{ xid, relation },
    ...{ was: toJson(relation, was, types), became: toJson(relation, became, types) },
  }));
  const changed = rows.filter(
    ({ was, became }) => was === undefined || became === undefined || !same(was, became),
  );
  const halvesByChange = changed.map((change) => halvesOf(change));
  const halves = halvesByChange.flat();
  const told = tellings(captured, problems);
  const audited = groupBy(halves, ({ change, place }) => `${change.xid} ${place}`);
  for (const [at, tellingsThere] of groupBy(
    told,
    ({ told: { transaction }, place }) => `${transaction} ${place}`,
  )) {
    const { place } = tellingsThere[0]!;
    const { transaction } = tellingsThere[0]!.told;
    const made = audited.get(at) ?? [];
    if (made.length === 0)
      problems.push(`${place}: transaction ${transaction} did nothing like it`);
    else if (made.length !== tellingsThere.length)
      problems.push(
        `${place}: ${made.length} changes of transaction ${transaction} are told as ${tellingsThere.length}`,
      );
    else for (const [n, half] of made.entries()) half.told = tellingsThere[n]!;
  }
  const toldChanges: ToldChange[] = [];
  for (const parts of halvesByChange) {
    const { change } = parts[0]!;
    const halvesTold = parts.flatMap((half) => half.told ?? []);
    const [first] = halvesTold;
    if (first === undefined) continue;
    const { events, isWithRoot } = first;
    const isHalf = halvesTold.length < parts.length;
    toldChanges.push({ change, events, isWithRoot, isHalf, position: events[0]!.position });
    const wrong = differences(parts);
    if (wrong !== undefined)
      problems.push(`${parts[0]!.place} in transaction ${change.xid}: ${wrong}`);
  }
  return {
    problems,
    unchanged: rows.length - changed.length,
    told: toldChanges,
    halves,
    untold: changed.length - toldChanges.length,
  };
}

export function placeIn(relation: string, row: Row, stream = streamOf(relation, row)): string {
  return `${placeOf(relation, row)} in ${stream}`;
}

function halvesOf(change: RowChange): AuditedHalf[] {
  const { relation, was, became } = change;
  const at = (row: Row): Pick<Half, "place" | "stream"> => ({
    place: placeIn(relation, row),
    stream: streamOf(relation, row),
  });
  if (was !== undefined && became !== undefined && at(was).place === at(became).place)
    return [{ change, ...at(was), op: "update", was, became }];
  const left: AuditedHalf[] =
    was === undefined ? [] : [{ change, ...at(was), op: "delete", was, became: undefined }];
  const joined: AuditedHalf[] =
    became === undefined ? [] : [{ change, ...at(became), op: "insert", was: undefined, became }];
  return [...left, ...joined];
}

function tellings(captured: readonly AuditedEvent[], problems: string[]): ToldHalf[] {
  const groups = groupBy(captured, ({ transaction, position }) => `${transaction} ${position}`);
  return [...groups.values()].flatMap((events) =>
    readTold(events).flatMap((told, n): ToldHalf[] => {
      const { relation, kind, was, now, streams } = told;
      if (!(relation in SHOP_TABLES) || kind === "unclear") {
        const { stream, version, type } = events[0]!;
        problems.push(`${stream}: ${type} at version ${version} does not say what it tells`);
        return [];
      }
      const half = (op: Half["op"], stream: string, event: AuditedEvent): ToldHalf => ({
        ...{ told, op, stream, events, version: event.version, isWithRoot: n > 0 },
        place: placeIn(relation, op === "delete" ? was : now, stream),
      });
      if (kind !== "move") return [half(kind, streams[0]!, events[0]!)];
      return [half("delete", streams[0]!, events[0]!), half("insert", streams[1]!, events.at(-1)!)];
    }),
  );
}

/** @returns in what the telling of a change differs from the change, or undefined */
function differences(halves: readonly AuditedHalf[]): string | undefined {
  const told = halves.flatMap((half) => half.told ?? []);
  const isMove = halves.length > 1;
  // Of a move of which both halves are told, each is to say that it is one.
  if (isMove && told.length === halves.length && told.some((half) => half.told !== told[0]!.told))
    return "a move is told as two changes";
  if (isMove && told.length < halves.length && told[0]!.told.kind === "move")
    return "a move is told, of which one half is to be told";
  for (const half of halves) {
    const wrong = half.told === undefined ? undefined : differencesOf(half, half.told);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}

function differencesOf({ op, was, became }: AuditedHalf, { told, op: toldOp }: ToldHalf) {
  if (op !== toldOp) return `a ${op} is told as ${toldOp}`;
  const agrees = (row: Row): boolean =>
    Object.entries(told.now).every(([column, value]) => row[column] === value);
  if (op === "insert") return same(told.now, became!) ? undefined : "told with other values";
  if (op === "delete") {
    const isRight = same(told.was, was!) && (told.kind === "move" || agrees(was!));
    return isRight ? undefined : "told with other values";
  }
  const columns = Object.keys(became!).filter((column) => was![column] !== became![column]);
  const old = Object.fromEntries(columns.map((column) => [column, was![column]!]));
  if (!same(told.was, old)) return "told with other old values, or of other columns";
  if (columns.some((column) => told.now[column] === undefined)) return "a new value is not told";
  return agrees(became!) ? undefined : "told with other new values";
}
