import { LAST_KEY, ROOT, type ModelTransaction, type Scenario } from "./handover-scenario.ts";

/**
 * `open`: has an id and has written its changes. `logged`: its commit is in the log, and no snapshot
 * sees it yet. `visible`: every snapshot from now on sees it, and others may write its rows.
 */
export type Status = "idle" | "open" | "logged" | "visible" | "rolled back";

/** All that there is: the source, the slot in it, the store, and the process between them. Plain data. */
export interface State {
  readonly status: readonly Status[];
  /** Transactions in the order of their commits. A place in it is a position. */
  readonly log: readonly number[];
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
  /** Progress of the baseline: the chunks that are finished. */
  readonly chunks: readonly DurableChunk[];
  /** Events of each aggregate, by key. */
  readonly events: readonly (readonly ModelEvent[])[];
  /** Under which root a child was last seen, where the log does not tell. By row. */
  readonly images: Images;
}

export interface DurableChunk {
  readonly to: number;
  /** The transactions that its snapshot sees. See snapshot-visibility.test.ts. */
  readonly seen: readonly number[];
  readonly fence: number;
}

export type Images = Readonly<Record<string, number>>;
/** Row → the transaction that wrote it (0: was there from the first); null: it is gone. */
export type Cells = Readonly<Record<string, number | null>>;
export type ModelEvent =
  | { readonly kind: "baseline"; readonly cells: Cells }
  | { readonly kind: "change"; readonly by: number; readonly cells: Cells };

/** What a crash takes away. */
export interface Process {
  /** The first checkpoint is not noted before these are visible. */
  readonly waitsFor: readonly number[];
  /** Up to here the log is written; from here to `position` is the batch. */
  readonly written: number;
  /** Up to here the log is read. */
  readonly position: number;
  readonly chunk: OpenChunk | null;
  /** Of a commit in two transactions the first is done. Only with a fault. */
  readonly half: "batch" | "chunk" | null;
  /** Why it can't go on. */
  readonly failed: string | null;
}

export interface OpenChunk {
  /** Null while its snapshot is asked for. */
  readonly seen: readonly number[] | null;
  /** Whether the process has heard of it: a snapshot is taken a moment before. */
  readonly isKnown: boolean;
  readonly fence: number;
  /** The last key that it is meant to have; absent where it is read up to there in the same step. */
  readonly until?: number;
  /** The last key read; null until then. */
  readonly to: number | null;
}

export function isOver(status: Status): boolean {
  return status === "visible" || status === "rolled back";
}

/** All that was committed is told, durable and acknowledged. */
export function isFinished({ status, log, slot, store, process }: State): boolean {
  return (
    status.every(isOver) &&
    store.checkpoint === log.length &&
    slot !== null && "confirmed" in slot && slot.confirmed === log.length &&
    store.chunks.at(-1)?.to === LAST_KEY &&
    process.half === null
  ); // prettier-ignore
}

/** Transactions that are in progress for the server: also those that are in the log already. */
export function inProgress({ status }: State): readonly number[] {
  return [...status.keys()].filter((t) => status[t] === "open" || status[t] === "logged");
}

/** The transactions that a snapshot taken now sees. */
export function visible({ status }: State): readonly number[] {
  return [...status.keys()].filter((t) => status[t] === "visible");
}

/** Rows by key of the root, after some of the transactions in the log. */
export function rowsAfter(
  scenario: Scenario,
  log: readonly number[],
  isIn: (transaction: number) => boolean,
): ReadonlyMap<number, Cells> {
  const rows = new Map<number, Record<string, number>>();
  const put = (row: string, key: number, by: number): void => {
    rows.set(key, { ...rows.get(key), [row]: by });
  };
  for (const [row, key] of scenario.rows) put(row, key, 0);
  for (const transaction of log) {
    if (!isIn(transaction)) continue;
    for (const { row, from, to } of scenario.transactions[transaction]!.changes) {
      if (from !== undefined) delete rows.get(from)?.[row];
      if (to !== undefined) put(row, to, transaction + 1);
    }
  }
  return new Map([...rows].map(([key, cells]) => [key, sorted(cells)]));
}

/** Roots of the rows, in order. */
export function rootsOf(rows: ReadonlyMap<number, Cells>): number[] {
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

/** The same cells always print alike. */
export function sorted<T>(cells: Readonly<Record<string, T>>): Readonly<Record<string, T>> {
  return Object.fromEntries(Object.entries(cells).sort(([a], [b]) => (a < b ? -1 : 1)));
}
