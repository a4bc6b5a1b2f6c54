import {
  isJoining,
  LAST_KEY,
  ROOT,
  type ModelTransaction,
  type Scenario,
} from "./handover-scenario.ts";

/**
 * `open`: has an id and has written its changes. `logged`: its commit is in the log, and no snapshot
 * sees it yet. `visible`: every snapshot from now on sees it, and others may write its rows. `gone`: a
 * crash of the source took it back.
 */
export type Status = "idle" | "open" | "logged" | "visible" | "rolled back" | "gone";

/** All that there is: the source, the slot in it, the store, and the process between them. Plain data. */
export interface State {
  readonly status: readonly Status[];
  /** Ids of the transactions; one that a crash took back leaves its own to another. */
  readonly ids: readonly number[];
  /** Transactions in the order of their commits. A place in it is a position. */
  readonly log: readonly number[];
  /** Up to here a crash of the source leaves the log, and nobody is told of more. */
  readonly flushed: number;
  readonly published: boolean;
  /** Those that wrote before there was a publication: the log does not tell their changes. */
  readonly unsent: readonly number[];
  /** `waitsFor`: it is being created, and these have to end first. */
  readonly slot: { readonly waitsFor: readonly number[] } | { readonly confirmed: number } | null;
  readonly store: Store;
  readonly process: Process;
  readonly mishapsLeft: number;
}

/** What survives a crash. */
export interface Store {
  readonly checkpoint: number | null;
  /** Whether it is noted that a baseline goes on in chunks. */
  readonly isBegun: boolean;
  /** Progress of the baseline: the chunks that are finished. */
  readonly chunks: readonly ReadChunk[];
  /** The aggregate that was asked for was read anew. */
  readonly anew: Snapshot | null;
  /** Events of each aggregate, by key. */
  readonly events: readonly (readonly ModelEvent[])[];
  /** Rows as they were told last, where the log does not tell what was before. By row. */
  readonly images: Images;
}

export interface Snapshot {
  /** The transactions that it sees. See snapshot-visibility.test.ts. */
  readonly seen: readonly number[];
  readonly fence: number;
}

export interface ReadChunk extends Snapshot {
  readonly to: number;
  /** What was read, where the log does not say it any more. Only with a fault. */
  readonly rows?: readonly (readonly [key: number, cells: Cells])[];
}

/** Under which root a row was, and who wrote it. */
export type Image = readonly [key: number, value: number];
export type Images = Readonly<Record<string, Image>>;
/** Row → the transaction that wrote it (0: was there from the first); null: it is gone. */
export type Cells = Readonly<Record<string, number | null>>;
export type ModelEvent =
  /** Of a chunk. */
  | { readonly kind: "baseline"; readonly cells: Cells }
  /** In place of all before, as of a snapshot. */
  | { readonly kind: "anew"; readonly cells: Cells }
  | { readonly kind: "change"; readonly by: number; readonly cells: Cells };

/** What a crash takes away. */
export interface Process {
  /** The first checkpoint is not noted before these are visible. */
  readonly waitsFor: readonly number[] | null;
  /** Up to here the log is written; from here to `position` is the batch. */
  readonly written: number;
  /** Up to here the log is read. */
  readonly position: number;
  /** A chunk that is being read. */
  readonly chunk: OpenSnapshot | null;
  /** A chunk that is on its way to the store: a crash may come before or after it is durable. */
  readonly sent: ReadChunk | null;
  /** What is being read anew. */
  readonly anew: OpenSnapshot | null;
  /** Of a commit in two transactions the first is done. Only with a fault. */
  readonly half: "batch" | "chunk" | null;
  /** Why it can't go on. */
  readonly failed: string | null;
}

export interface OpenSnapshot {
  /** Null while the snapshot is asked for. */
  readonly seen: readonly number[] | null;
  /** The end of the log, asked for after the snapshot; null until the process knows both. */
  readonly fence: number | null;
  /** The last key that it is meant to have; absent where it is read up to there in the same step. */
  readonly until?: number;
  /** The last key read; null until then. */
  readonly to: number | null;
  /** Of a source that has started again, whose log is soon as long as it was. Only with a fault. */
  readonly rows?: NonNullable<ReadChunk["rows"]>;
}

export function started(position: number): Process {
  return {
    waitsFor: null,
    written: position,
    position,
    chunk: null,
    sent: null,
    anew: null,
    half: null,
    failed: null,
  };
}

export function isOver(status: Status): boolean {
  return status === "visible" || status === "rolled back" || status === "gone";
}

/** All that was committed is told, durable and acknowledged. */
export function isFinished(
  { status, log, slot, store, process }: State,
  scenario: Scenario,
): boolean {
  return (
    status.every(isOver) &&
    store.checkpoint === log.length &&
    slot !== null && "confirmed" in slot && slot.confirmed === log.length &&
    store.chunks.at(-1)?.to === LAST_KEY &&
    (scenario.anew === undefined || store.anew !== null) &&
    process.half === null
  ); // prettier-ignore
}

export function confirmedOf({ slot }: State): number {
  return slot !== null && "confirmed" in slot ? slot.confirmed : 0;
}

/** Transactions that are in progress for the server: also those that are in the log already. */
export function inProgress({ status }: State): readonly number[] {
  return [...status.keys()].filter((t) => status[t] === "open" || status[t] === "logged");
}

/** The transactions that a snapshot taken now sees. */
export function visible({ status }: State): readonly number[] {
  return [...status.keys()].filter((t) => status[t] === "visible");
}

type Rows = ReadonlyMap<number, Cells>;
const rowsKnown = new WeakMap<Scenario, Map<string, Rows>>();

/** Rows by key of the root, after some of the transactions in the log. */
export function rowsAfter(
  scenario: Scenario,
  log: readonly number[],
  isIn: (transaction: number) => boolean,
): Rows {
  let known = rowsKnown.get(scenario);
  if (known === undefined) rowsKnown.set(scenario, (known = new Map<string, Rows>()));
  const transactions = log.filter(isIn);
  const key = transactions.join(" ");
  let rows = known.get(key);
  if (rows === undefined) known.set(key, (rows = rowsOf(scenario, transactions)));
  return rows;
}

function rowsOf(scenario: Scenario, transactions: readonly number[]): Rows {
  const rows = new Map<number, Record<string, number>>();
  const put = (row: string, key: number, by: number): void => {
    rows.set(key, { ...rows.get(key), [row]: by });
  };
  for (const [row, key] of scenario.rows) put(row, key, 0);
  for (const transaction of transactions) {
    for (const { row, from, to } of scenario.transactions[transaction]!.changes) {
      if (from !== undefined) delete rows.get(from)?.[row];
      if (to !== undefined) put(row, to, transaction + 1);
    }
  }
  return new Map([...rows].map(([key, cells]) => [key, sorted(cells)]));
}

export function rowsSeen({ log }: State, seen: readonly number[], scenario: Scenario): Rows {
  return rowsAfter(scenario, log, (t) => seen.includes(t));
}

/** Roots of the rows, in order. */
export function rootsOf(rows: Rows): number[] {
  return [...rows].filter(([, cells]) => cells[ROOT] !== undefined).map(([key]) => key).sort((a, b) => a - b); // prettier-ignore
}

/** What a transaction did to each aggregate: its true sides, whatever the log tells. */
export function sidesOf({ changes }: ModelTransaction, by: number): ReadonlyMap<number, Cells> {
  const sides = new Map<number, Cells>();
  for (const { row, from, to } of changes) {
    if (from !== undefined && from !== to) sides.set(from, { ...sides.get(from), [row]: null });
    if (to !== undefined) sides.set(to, { ...sides.get(to), [row]: by + 1 });
  }
  return sides;
}

/** Whether the chunks hold a row: where a table joins, that one's alone. */
export function isChunked(row: string, scenario: Scenario): boolean {
  return row !== ROOT || !isJoining(scenario);
}

/** Of a root the key is part of what it is; a child is one row wherever it hangs. */
export function imageName(row: string, key: number): string {
  return row === ROOT ? `${ROOT} ${key}` : row;
}

/** The same cells always print alike. */
export function sorted<T>(cells: Readonly<Record<string, T>>): Readonly<Record<string, T>> {
  return Object.fromEntries(Object.entries(cells).sort(([a], [b]) => (a < b ? -1 : 1)));
}

export function textOf({ to, seen, fence }: Partial<OpenSnapshot>): string {
  return `${to}:${seen?.join()}:${fence}`;
}

/** What was made of a store, and is made again in all states that differ in something else. */
export class MadeOf<T> {
  readonly #made = new WeakMap<Store, Map<string, T>>();

  once(store: Store, how: string, make: () => T): T {
    let made = this.#made.get(store);
    if (made === undefined) this.#made.set(store, (made = new Map<string, T>()));
    if (!made.has(how)) made.set(how, make());
    return made.get(how)!;
  }
}

export function names(transactions: readonly number[]): string {
  if (transactions.length === 0) return "none";
  return transactions.map((t) => `T${t + 1}`).join(", ");
}

export function ascending(a: number, b: number): number {
  return a - b;
}
