import { same } from "../support/crash-audit.ts";
import { groupBy, SHOP_TABLES, type AuditedEvent, type Row } from "../support/crash-telling.ts";
import { EXTRA_COLUMN } from "./extra-columns.ts";
import { placeIn, type AuditedHalf, type RowChange } from "./told-rows.ts";

/** The rows of a stream as they were read: a baseline, that of a table which joined, or after a gap. */
interface Statement {
  readonly version: number;
  readonly position: string;
  readonly isGap: boolean;
  /** Of which tables it says all that is in the stream. */
  readonly relations: ReadonlySet<string>;
  readonly rows: ReadonlyMap<string, Row>;
}

/** What the capture was to read. */
export interface Read {
  /** Where the log stood when all rows of a table had been read, by table. */
  readonly whole: ReadonlyMap<string, string>;
  /** Tables that came into the config later than the others. */
  readonly joined: readonly string[];
}
/** Whether a transaction came before all that is told of what was committed behind a place in the log. */
export type IsBefore = (xid: string, position: string) => boolean;

/**
 * Finds what should have been told. A change of which no event tells must be in rows that were read after it,
 * before the next change of its row that is told: these must be as the change left them. So of each row
 * what is told and what was read follow from each other, nothing twice, and a lost change cannot pass for one
 * that was read.
 */
export function untoldProblems(
  halves: readonly AuditedHalf[],
  events: readonly AuditedEvent[],
  { whole, joined }: Read,
  isBefore: IsBefore,
): string[] {
  const problems: string[] = [];
  const statements = readStatements(events, joined, problems);
  const changes = groupBy(halves, ({ place }) => place);
  const late = new Set<RowChange>();
  for (const [place, own] of changes) {
    const { stream, change } = own[0]!;
    const read = (statements.get(stream) ?? []).filter(({ relations }) =>
      relations.has(change.relation),
    );
    const end = whole.get(change.relation) ?? "";
    const wrong = follow(place, own, read, (half, by) => {
      if (!isBefore(half.change.xid, by ?? end)) late.add(half.change);
    });
    if (wrong !== undefined) problems.push(`${place}: ${wrong}`);
  }
  problems.push(...lateProblems(late, halves));
  for (const [stream, read] of statements) problems.push(...unmoved(stream, read, changes));
  return problems;
}

/** All of a transaction, as one: what is told of it, and what should be. */
function lateProblems(late: ReadonlySet<RowChange>, halves: readonly AuditedHalf[]): string[] {
  const xids = new Set([...late].map(({ xid }) => xid));
  return [...xids].map((xid) => {
    const own = halves.filter(({ change }) => change.xid === xid);
    const made = new Set(own.map(({ change }) => change));
    const told = new Set(own.flatMap(({ change, told: telling }) => (telling ? [change] : [])));
    return `${made.size} changes of transaction ${xid} are told as ${told.size}`;
  });
}

/**
 * Follows one row through what is told of it and what was read of it.
 *
 * @param onUntold told of each change that is not told, and where the rows were read that must hold it
 */
function follow(
  place: string,
  changes: readonly AuditedHalf[],
  read: readonly Statement[],
  onUntold: (half: AuditedHalf, position: string | undefined) => void,
): string | undefined {
  // How many of the changes are told, or in rows that were read.
  let done = 0;
  /** Read behind what was told last. */
  let last: Statement | undefined;
  let version = 0;
  const after = (n: number): Row | undefined =>
    n === 0 ? changes[0]!.was : changes[n - 1]!.became;
  const leaveOut = (to: number): void => {
    for (; done < to; done++) onUntold(changes[done]!, last?.position);
  };
  const readUpTo = (below: number, n: number): string | undefined => {
    for (const statement of read) {
      if (statement.version <= version || statement.version > below) continue;
      if (!statement.isGap && version > 0) return "it is told of before its baseline";
      const row = statement.rows.get(place);
      // As it was after the fewest changes possible.
      let known = done;
      while (known < n && !isSameRow(row, after(known))) known += 1;
      if (!isSameRow(row, after(known)))
        return `it was read at version ${statement.version} otherwise than it ever was then`;
      last = statement;
      leaveOut(known);
    }
    const row = last?.rows.get(place);
    // Of a stream that was never read, the row had no part then.
    const isKnown = last !== undefined || done === 0 ? isSameRow(row, after(n)) : done === n;
    if (!isKnown)
      return last === undefined
        ? `a change of transaction ${changes[Math.min(done, n - 1)]?.change.xid ?? "0"} is told by no event`
        : "it was read otherwise than it was before what follows";
    leaveOut(n);
    return undefined;
  };
  for (const [n, { told }] of changes.entries()) {
    if (told === undefined) continue;
    if (told.version <= version) return "its changes are told in another order";
    const wrong = readUpTo(told.version, n);
    if (wrong !== undefined) return wrong;
    [done, version, last] = [n + 1, told.version, undefined];
  }
  return readUpTo(Infinity, changes.length);
}

/** Rows that nobody changed were read the same each time. */
function unmoved(
  stream: string,
  read: readonly Statement[],
  changes: ReadonlyMap<string, unknown>,
): string[] {
  const problems: string[] = [];
  for (const relation of new Set(read.flatMap(({ relations }) => [...relations]))) {
    const covering = read.filter(({ relations }) => relations.has(relation));
    const places = new Set(
      covering.flatMap(({ rows }) =>
        [...rows.keys()].filter((place) => place.startsWith(`${relation} `)),
      ),
    );
    for (const place of places) {
      if (changes.has(place)) continue;
      const [first, ...rest] = covering.map(({ rows }) => rows.get(place));
      if (first === undefined || rest.some((row) => !isSameRow(row, first)))
        problems.push(`${place}: it was read in several ways, and nobody changed it`);
    }
  }
  return problems.map((problem) => `${stream}: ${problem}`);
}

function readStatements(
  events: readonly AuditedEvent[],
  joined: readonly string[],
  problems: string[],
): Map<string, Statement[]> {
  const all = new Map<string, Statement[]>();
  for (const [stream, own] of groupBy(events, (event) => event.stream)) {
    const baselined = new Set<string>();
    const read: Statement[] = [];
    for (const event of own) {
      if (event.origin !== "baseline") continue;
      const statement = readStatement(event, joined, problems);
      read.push(statement);
      if (statement.isGap) continue;
      for (const relation of statement.relations) {
        if (baselined.has(relation)) problems.push(`${stream}: ${relation} is baselined twice`);
        baselined.add(relation);
      }
    }
    if (read.length > 0) all.set(stream, read);
  }
  return all;
}

function readStatement(
  { stream, version, type, position, data }: AuditedEvent,
  joined: readonly string[],
  problems: string[],
): Statement {
  const isGap = data["$gap"] !== undefined;
  const root = rootOf(stream);
  const rows = new Map<string, Row>();
  const relations = new Set<string>();
  const state = (relation: string, row: Row): void => {
    const place = placeIn(relation, row);
    if (place !== placeIn(relation, row, stream))
      problems.push(`${stream}: ${type} holds ${place}`);
    rows.set(place, row);
  };
  // Only tables that join have a baseline in a stream that is there, and that is of their rows alone.
  const isJoin = !isGap && version > 1;
  if (!isJoin) relations.add(root);
  if (data["$root"] !== null) state(root, columnsOf(data));
  for (const [relation, { role, stream: streamType }] of Object.entries(SHOP_TABLES)) {
    if (streamType !== typeOf(stream) || relation === root || !Array.isArray(data[role])) continue;
    if (!isJoin || joined.includes(relation)) relations.add(relation);
    for (const row of data[role] as Row[]) state(relation, row);
  }
  const isAlien = [...rows.keys()].some((place) => !relations.has(place.split(" ")[0]!));
  if (isAlien) problems.push(`${stream}: ${type} is not its first`);
  return { version, position, isGap, relations, rows };
}

function typeOf(stream: string): string {
  return stream.slice(0, stream.indexOf("-"));
}

function rootOf(stream: string): string {
  const type = typeOf(stream);
  return Object.keys(SHOP_TABLES).find((relation) => SHOP_TABLES[relation]!.role === type)!;
}

function columnsOf(data: Readonly<Record<string, unknown>>): Row {
  return Object.fromEntries(
    Object.entries(data).filter(([name, value]) => !name.startsWith("$") && !Array.isArray(value)),
  ) as Row;
}

/** Columns that came, went or got other names since then are compared by `verify`. */
function isSameRow(a: Row | undefined, b: Row | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return same(withoutExtras(a), withoutExtras(b));
}

function withoutExtras(row: Row): Row {
  return Object.fromEntries(Object.entries(row).filter(([name]) => !EXTRA_COLUMN.test(name)));
}
