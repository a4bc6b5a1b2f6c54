import { expect } from "vitest";
import type { TestDatabase } from "./databases.ts";

type Query = Pick<TestDatabase, "query">;
type Row = Readonly<Record<string, string | null>>;

interface AuditedChange {
  readonly seq: number;
  readonly xid: string;
  readonly relation: string;
  readonly operation: "insert" | "update" | "delete";
  readonly was: Row | null;
  readonly now: Row | null;
}

interface StoredEvent {
  readonly stream: string;
  readonly version: number;
  readonly origin: string;
  readonly xid: string | null;
  readonly position: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** What an event says, in words that audit and event share: all values as text. */
interface Told {
  readonly stream: string;
  readonly operation: string;
  readonly key: string;
  readonly now: Row;
  readonly was: Row;
}

const KEYS: Readonly<Record<string, readonly string[]>> = {
  account: ["id"],
  entry: ["account_id", "no"],
};
const ROLES: Readonly<Record<string, string>> = { account: "account", entries: "entry" };

/**
 * Holds the events of a bank against what its triggers wrote down: every audited change of a
 * transaction is one event of that transaction, in its order, saying the same, and there is no other
 * event. Transactions without events are those that the baseline has seen, so that replaying exactly
 * these must give the baseline's rows.
 */
export async function expectExactEvents(bank: Query, store: Query): Promise<{ events: number }> {
  const audited = await readAudit(bank);
  const events = await readEvents(store);
  expectOrder(events);
  const captured = groupBy(
    events.filter(({ origin }) => origin === "capture"),
    ({ xid }) => xid!,
  );
  const transactions = groupBy(audited, ({ xid }) => xid);
  const before: AuditedChange[] = [];
  for (const [xid, changes] of transactions) {
    const told = captured.get(xid);
    captured.delete(xid);
    const wanted = changes.flatMap(tellingOf);
    if (told === undefined && wanted.length > 0) before.push(...changes);
    else expect((told ?? []).map(tellingOfEvent), `transaction ${xid}`).toEqual(wanted);
  }
  expect([...captured.keys()], "transactions that nobody made").toEqual([]);
  expect(rowsOfBaseline(events)).toEqual(replay(before.toSorted((a, b) => a.seq - b.seq)));
  return { events: events.length };
}

async function readAudit({ query }: Query): Promise<AuditedChange[]> {
  const asText = (column: string): string =>
    `(SELECT jsonb_object_agg(key, value) FROM jsonb_each_text(${column}))`;
  const { rows } = await query(
    `SELECT seq::int, xid::text, relation, operation, ${asText("old_row")} AS was, ${asText("new_row")} AS now
       FROM audit.changes ORDER BY seq`,
  );
  return rows as AuditedChange[];
}

async function readEvents({ query }: Query): Promise<StoredEvent[]> {
  const { rows } = await query(
    `SELECT stream_id AS stream, version, origin::text, source_transaction AS xid, source_position AS position, data
       FROM banyan.events ORDER BY transaction_id, position`,
  );
  return rows as StoredEvent[];
}

/** Positions never go back, versions count from one without a gap. */
function expectOrder(events: readonly StoredEvent[]): void {
  const versions = new Map<string, number>();
  let last = "";
  for (const { stream, version, position, origin } of events) {
    const grows = origin === "capture" ? position > last : position >= last;
    expect(grows, `${stream} ${version} at ${position} after ${last}`).toBe(true);
    last = position;
    expect(version, `version of ${stream}`).toBe((versions.get(stream) ?? 0) + 1);
    versions.set(stream, version);
  }
}

function tellingOf({ relation, operation, was, now }: AuditedChange): Told[] {
  const keys = KEYS[relation]!;
  const row = (now ?? was)!;
  const changed = Object.keys(row).filter((name) => was?.[name] !== now?.[name]);
  if (operation === "update" && changed.length === 0) return [];
  const only = (from: Row | null): Row =>
    from === null ? {} : Object.fromEntries(changed.map((name) => [name, from[name] ?? null]));
  const key = keys.map((name) => row[name]).join("/");
  const told = { stream: `account-${row[keys[0]!]}`, operation, key };
  const withoutKey = (cells: Row): Row =>
    Object.fromEntries(Object.entries(cells).filter(([name]) => !keys.includes(name)));
  return [{ ...told, now: withoutKey(only(now)), was: withoutKey(only(was)) }];
}

function tellingOfEvent({ stream, data }: StoredEvent): Told {
  const { $row, $op, $was, ...rest } = data;
  const keys = KEYS[ROLES[String($row)]!]!;
  const key = keys.map((name) => String(rest[name])).join("/");
  const cells = (from: unknown): Row =>
    Object.fromEntries(
      Object.entries((from ?? {}) as Record<string, unknown>)
        .filter(([name]) => !keys.includes(name))
        .map(([name, value]) => [name, text(value)]),
    );
  return { stream, operation: String($op), key, now: cells(rest), was: cells($was) };
}

/** Rows by `relation/key`. */
type Rows = Readonly<Record<string, Row>>;

function replay(changes: readonly AuditedChange[]): Rows {
  const rows: Record<string, Row> = {};
  for (const { relation, was, now } of changes) {
    const id = (row: Row): string =>
      [relation, ...KEYS[relation]!.map((name) => row[name])].join("/");
    if (was !== null) delete rows[id(was)];
    if (now !== null) rows[id(now)] = now;
  }
  return rows;
}

function rowsOfBaseline(events: readonly StoredEvent[]): Rows {
  const rows: Record<string, Row> = {};
  for (const { origin, data } of events) {
    if (origin !== "baseline") continue;
    const { entries, ...account } = data as { entries: Record<string, unknown>[] };
    const put = (relation: string, row: Record<string, unknown>): void => {
      const cells = Object.fromEntries(Object.entries(row).map(([name, v]) => [name, text(v)]));
      rows[[relation, ...KEYS[relation]!.map((name) => cells[name])].join("/")] = cells;
    };
    put("account", account);
    for (const row of entries) put("entry", row);
  }
  return rows;
}

function text(value: unknown): string | null {
  return value === null || value === undefined ? null : String(value as string | number | boolean);
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(keyOf(item));
    if (group === undefined) groups.set(keyOf(item), [item]);
    else group.push(item);
  }
  return groups;
}
