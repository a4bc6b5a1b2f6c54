import { ask } from "./crash-store.ts";
import {
  groupBy,
  placeOf,
  readBaseline,
  readTold,
  streamOf,
  type AuditedEvent,
  type Json,
  type Row,
  type Told,
} from "./crash-telling.ts";

/** What a trigger of the shop recorded, see examples/shop-postgres/audit.sql. */
export interface AuditedChange {
  readonly xid: string;
  readonly relation: string;
  /** Rows as the server's own text of each column; null when there is none. */
  readonly was: Readonly<Record<string, string | null>> | null;
  readonly became: Readonly<Record<string, string | null>> | null;
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
  /** Audited changes that came before the baseline, or before their row was read in another way. */
  readonly before: number;
}

const PROBLEMS_MAX = 10;

/** All that was audited in a shop, in the order recorded: for each row the order of its changes. */
export async function readAudit(shopUrl: string): Promise<readonly AuditedChange[]> {
  return await ask<AuditedChange>(
    shopUrl,
    `SELECT xid::text AS xid, relation, old_row AS was, new_row AS became FROM audit.changes ORDER BY seq`,
  );
}

export async function readColumnTypes(shopUrl: string): Promise<ColumnTypes> {
  const rows = await ask<{ name: string; type: string }>(
    shopUrl,
    `SELECT table_name || '.' || column_name AS name, data_type AS type FROM information_schema.columns WHERE table_schema = 'public'`,
  );
  return new Map(rows.map(({ name, type }) => [name, type]));
}

/** All events of a store, in the order in which readers see them. */
export async function readEvents(storeUrl: string): Promise<readonly AuditedEvent[]> {
  return await ask<AuditedEvent>(
    storeUrl,
    `SELECT event_id AS id, stream_id AS stream, version, type, origin, source_transaction AS transaction,
            source_position AS position, causation_id AS causation, data
       FROM banyan.events ORDER BY transaction_id, banyan.events.position`,
  );
}

/**
 * Matches the audited changes with the events, one to one: each change is told by events of exactly
 * its transaction, with its old and its new values, and no captured event tells anything else.
 *
 * A change that no event tells of must have come before the baseline of its row, which need not be that
 * of other rows of its transaction: the baseline must have the row as the change left it, and nothing
 * may be told of it earlier. So a lost change cannot pass for an early one.
 */
export function matchAudit(
  changes: readonly AuditedChange[],
  events: readonly AuditedEvent[],
  types: ColumnTypes,
): AuditMatch {
  const problems = [...streamProblems(events), ...lateBaselines(events)];
  const captured = readTold(events.filter(({ origin }) => origin === "capture"));
  const told = groupBy(captured, ({ transaction }) => transaction);
  const early = new EarlyRows(readBaseline(events));
  const counts = { told: 0, unchanged: 0, before: 0 };
  for (const { xid, relation, ...rows } of changes) {
    const was = toJson(relation, rows.was, types);
    const became = toJson(relation, rows.became, types);
    if (was !== undefined && became !== undefined && same(was, became)) {
      counts.unchanged += 1;
      continue;
    }
    const place = placeOf(relation, (was ?? became)!);
    const tellings = told.get(xid) ?? [];
    const at = tellings.findIndex((telling) => toldPlace(telling) === place);
    const telling = tellings[at];
    if (telling === undefined) {
      counts.before += 1;
      if (!early.note(relation, was, became))
        problems.push(`${place}: a change of transaction ${xid} is told by no event`);
      continue;
    }
    tellings.splice(at, 1);
    counts.told += 1;
    const wrong = differences(telling, was, became);
    if (wrong !== undefined) problems.push(`${place} in transaction ${xid}: ${wrong}`);
    early.end(relation, was, became);
  }
  for (const telling of [...told.values()].flat())
    problems.push(`${toldPlace(telling)}: transaction ${telling.transaction} did nothing like it`);
  problems.push(...early.problems());
  return { ...counts, problems: problems.slice(0, PROBLEMS_MAX) };
}

/** Streams are numbered without a gap, and all captured events stand in the order of the log's commits. */
export function streamProblems(events: readonly AuditedEvent[]): string[] {
  const problems: string[] = [];
  const versions = new Map<string, number>();
  const commits = new Map<string, string>();
  let last = "";
  for (const { stream, version, type, position, transaction } of events) {
    const before = versions.get(stream) ?? 0;
    if (version !== before + 1)
      problems.push(`${stream}: ${type} has version ${version} and follows ${before}`);
    versions.set(stream, version);
    if (transaction === null) continue;
    if (position < last) problems.push(`${stream}: ${type} at ${position} follows ${last}`);
    last = position;
    const commit = position.slice(0, 16);
    if ((commits.get(transaction) ?? commit) !== commit)
      problems.push(`${stream}: transaction ${transaction} has two places in the log`);
    commits.set(transaction, commit);
  }
  if (new Set(commits.values()).size !== commits.size)
    problems.push("two transactions have one place in the log");
  return problems;
}

/** What no transaction caused begins a stream. */
function lateBaselines(events: readonly AuditedEvent[]): string[] {
  const late = events.filter(({ transaction, version }) => transaction === null && version > 1);
  return late.map(({ stream, type }) => `${stream}: ${type} is not its first`);
}

/** The rows that are not told of yet: as the baseline has them, and as the audit says that they were then. */
class EarlyRows {
  readonly #baseline: ReadonlyMap<string, Row>;
  readonly #audited = new Map<string, Row | undefined>();
  readonly #ended = new Set<string>();

  constructor(baseline: ReadonlyMap<string, Row>) {
    this.#baseline = baseline;
  }

  /** Notes a change of which no event tells. @returns false when the row has been told of already */
  note(relation: string, was: Row | undefined, became: Row | undefined): boolean {
    const places = [was, became].flatMap((row) =>
      row === undefined ? [] : placeOf(relation, row),
    );
    if (was !== undefined) this.#audited.set(placeOf(relation, was), undefined);
    if (became !== undefined) this.#audited.set(placeOf(relation, became), became);
    return !places.some((place) => this.#ended.has(place));
  }

  /** Notes a change that is told: what the row was before it, is what it was in the baseline. */
  end(relation: string, was: Row | undefined, became: Row | undefined): void {
    for (const row of [was, became]) {
      if (row === undefined) continue;
      const place = placeOf(relation, row);
      if (!this.#ended.has(place) && !this.#audited.has(place))
        this.#audited.set(place, row === was ? was : undefined);
      this.#ended.add(place);
    }
  }

  problems(): string[] {
    return [...this.#audited].flatMap(([place, row]) => {
      const known = this.#baseline.get(place);
      const agrees = row === undefined || known === undefined ? row === known : same(row, known);
      return agrees ? [] : [`${place}: the baseline has it otherwise than it was`];
    });
  }
}

/** The row that a told change begins with. */
function toldPlace({ relation, kind, was, now }: Told): string {
  return placeOf(relation, kind === "delete" || kind === "move" ? was : now);
}

/** @returns in what the telling of a change differs from the change, or undefined */
function differences(
  { relation, kind, was, now, streams }: Told,
  before: Row | undefined,
  after: Row | undefined,
): string | undefined {
  const rows = [before, after].filter((row) => row !== undefined);
  const between = rows.map((row) => streamOf(relation, row));
  const isMove =
    rows.length === 2 &&
    (between[0] !== between[1] || placeOf(relation, before!) !== placeOf(relation, after!));
  const actual = isMove
    ? "move"
    : before === undefined
      ? "insert"
      : after === undefined
        ? "delete"
        : "update";
  if (kind !== actual) return `a ${actual} is told as ${kind}`;
  const expected = isMove ? between : between.slice(0, 1);
  if (streams.join(" ") !== expected.join(" "))
    return `told in ${streams.join(" and ")}, not in ${expected.join(" and ")}`;
  const agrees = (row: Row): boolean =>
    Object.entries(now).every(([column, value]) => row[column] === value);
  if (actual !== "update") {
    const isOldRight = before === undefined || same(was, before);
    const isNewRight = after === undefined ? agrees(before!) : same(now, after);
    return isOldRight && isNewRight ? undefined : "told with other values";
  }
  const changed = Object.keys(after!).filter((column) => before![column] !== after![column]);
  const old = Object.fromEntries(changed.map((column) => [column, before![column]!]));
  if (!same(was, old)) return "told with other old values, or of other columns";
  if (changed.some((column) => now[column] === undefined)) return "a new value is not told";
  return agrees(after!) ? undefined : "told with other new values";
}

export function same(a: Row, b: Row): boolean {
  const columns = Object.keys(a);
  return (
    columns.length === Object.keys(b).length && columns.every((column) => a[column] === b[column])
  );
}

/** A row in the JSON form that docs/mapping.md promises for each type. */
export function toJson(
  relation: string,
  row: AuditedChange["was"],
  types: ColumnTypes,
): Row | undefined {
  if (row === null) return undefined;
  return Object.fromEntries(
    Object.entries(row).map(([column, text]) => [
      column,
      text === null ? null : valueOf(types.get(`${relation}.${column}`)!, text),
    ]),
  );
}

function valueOf(type: string, text: string): Json {
  switch (type) {
    case "integer":
      return Number(text);
    case "boolean":
      return text === "true";
    case "bytea":
      return Buffer.from(text.slice(2), "hex").toString("base64");
    case "timestamp with time zone":
      return `${text.replace(" ", "T").slice(0, -"+00".length)}Z`;
    default:
      return text;
  }
}
