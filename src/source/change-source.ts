import type { SomeBuckets } from "../model/buckets.ts";
import type { TransactionPart } from "../model/change.ts";
import type { Position } from "../model/position.ts";
import type { Cell } from "../model/cell.ts";
import type { Cells, SourceTable } from "../model/table.ts";
import type { AggregateSum, BucketSums, RowHashPlan } from "./row-hash.ts";

/**
 * A legacy database, seen as rows at a point and a log of what changed since.
 *
 * Every adapter passes test/contract/change-source.contract.ts.
 */
export interface ChangeSource {
  /**
   * Stable identity of the database and its history (system, timeline, database), as a URI without
   * secrets. It enters every captured event's id.
   */
  identify(): Promise<SourceIdentity>;

  /**
   * The current shape of the named tables, in the order asked.
   *
   * @throws BanyanError `TABLE_MISSING` naming all that do not exist
   */
  discover(tables: readonly PlannedTable[]): Promise<readonly SourceTable[]>;

  /** Everything that stands in the way of capturing these tables, all at once. Changes nothing. */
  check(plan: CapturePlan): Promise<readonly Finding[]>;

  /**
   * Starts history: makes the log retained from one exact point and opens a snapshot at that point.
   *
   * @throws BanyanError `PUBLICATION_MISSING`, `REPLICA_IDENTITY_UNUSABLE`, `SLOT_IN_USE`,
   *   `SLOT_CREATION_BLOCKED` (names the blocking sessions), `SOURCE_NOT_READY` (the publication is
   *   incomplete, or somebody else may need the slot)
   */
  openBaseline(plan: BaselinePlan, signal: AbortSignal): Promise<BaselineSnapshot>;

  /**
   * Whole transactions that committed at or after `from`, in commit order, from the first change on.
   *
   * Pulled: the log is not read on while the consumer holds a group. Each item is a group of what has
   * arrived, so a slow consumer gets larger ones; a group may end inside a large transaction (`last`
   * is false). A large transaction's parts are bounded in bytes. Abort ends the iteration normally.
   *
   * A transaction without changes is left out, but that of a {@link ChangeSource.fence} comes as a part
   * without any, where the log tells of it: else {@link ChangeSource.idlePosition} passes it.
   *
   * @throws BanyanError `SLOT_LOST`, `SLOT_IN_USE`, `SLOT_AHEAD`, `PUBLICATION_MISSING`,
   *   `SOURCE_CHANGED` (another server or timeline), `SOURCE_UNREACHABLE`
   */
  stream(from: Position, signal: AbortSignal): AsyncIterable<readonly TransactionPart[]>;

  /**
   * Where the log has been read to with nothing in flight, when that is past the last transaction
   * delivered: an idle database still moves on. Undefined when there is nothing new, and while the
   * consumer of the stream holds a group. It lies after everything delivered, so the caller must have
   * applied all of that; it makes the position durable as a checkpoint before acknowledging it.
   */
  idlePosition(): Position | undefined;

  /** Everything before `position` is durable in the store; the source may forget it. Never goes back. */
  acknowledge(position: Position): void;

  /**
   * Writes a mark into the log, which whoever reads the stream comes upon at once, also when nothing else
   * is written.
   *
   * @returns a position after all that was committed before the call, and before the mark's end
   */
  fence(): Promise<Position>;

  /** Rows as of one snapshot whose visible transactions are known, with a fence written after it. */
  openParity(tables: readonly SourceTable[], signal: AbortSignal): Promise<ParitySnapshot>;

  /**
   * The same for tables that join a stream that is read already. Whatever the snapshot does not see of
   * them will be in the stream: transactions that might have changed them before they were published
   * have ended.
   *
   * @param from where the stream will be read on
   * @throws BanyanError `SOURCE_NOT_READY`, `REPLICA_IDENTITY_UNUSABLE`, `ADDITION_BLOCKED` (names the
   *   sessions that are waited for), and when the log since `from` is gone as {@link ChangeSource.stream}
   */
  openAddition(plan: CapturePlan, from: Position, signal: AbortSignal): Promise<ParitySnapshot>;

  /**
   * Why the log since `from` cannot be had any more; undefined when it can.
   *
   * @throws BanyanError when that cannot be told
   */
  placeLost(from: Position): Promise<string | undefined>;

  /** Whether a snapshot of this source saw a transaction. @param seen `ParitySnapshot.seen` */
  visibility(seen: string): (transaction: string) => boolean;

  /** Which transactions a snapshot that is taken now would see, as `ParitySnapshot.seen`. */
  seenNow(): Promise<string>;

  /**
   * Marks this moment. Not on a standby.
   *
   * @returns to be asked whether all transactions have ended, and can be seen, that had begun by then
   */
  markTransactions(): Promise<() => Promise<boolean>>;

  /** How large tables are, and whether they can be read in chunks. @param tables of one stream type, its root first */
  surveyChunks(tables: readonly KeyedTable[]): Promise<ChunkSurvey>;

  /**
   * Reads the tables of one stream type in chunks, each under a short snapshot of its own, and writes
   * nothing. Connects when the first chunk is opened.
   *
   * @param tables its root first
   */
  openChunks(tables: readonly KeyedTable[]): ChunkReader;

  /** What else the source has to do now, as far as it tells. */
  load(): Promise<SourceLoad>;

  /** Newest position in the source's log now, and how far `from` is behind it. */
  head(from: Position | undefined): Promise<SourceHead>;

  close(): Promise<void>;
}

export interface SourceIdentity {
  /** e.g. `postgres://7301…/1/shop`: kind, system, timeline, database. */
  readonly uri: string;
  /** e.g. `PostgreSQL 18.4`. */
  readonly server: string;
}

export interface SourceHead {
  readonly position: Position;
  readonly lagBytes: number;
  /** Absent when the source keeps its log for us without limit. */
  readonly logLeft?: LogLeft;
}

/** How much log may still be written before the source gives up what was not acknowledged. */
export interface LogLeft {
  readonly bytes: number;
  /** Until then, at the rate at which log is written; absent when that is not known or next to nothing. */
  readonly seconds?: number;
}

/** Below this much log or time to go it is worth a warning. */
export function isShort({ bytes, seconds }: LogLeft): boolean {
  return bytes < 256 * 1024 * 1024 || (seconds !== undefined && seconds < 3_600);
}

export interface CapturePlan {
  readonly tables: readonly PlannedTable[];
}

export interface BaselinePlan extends CapturePlan {
  /**
   * True when this pipeline had begun a baseline before: what that left behind is removed. Otherwise
   * what is found under our name may be another pipeline's place in the log, and is left alone.
   */
  readonly isRestart?: boolean;
  /**
   * Awaited once nothing stands in the way, ahead of the first thing made in the source: the place to
   * note durably that the next attempt is a restart.
   */
  readonly onBegin?: () => Promise<void>;
}

export interface PlannedTable {
  readonly name: string;
  /** Of a child: its columns that hold the root's key. */
  readonly parent?: readonly string[];
  /** Key columns named by the config, for a table without primary key. */
  readonly key?: readonly string[];
}

export interface Finding {
  readonly severity: "error" | "warning" | "info";
  /** Short kebab-case name of the problem, stable for scripts, e.g. `publication-missing`. */
  readonly code: string;
  readonly table?: string;
  readonly message: string;
  /** SQL that mends it, ready to run; absent when only a person can decide. */
  readonly mend?: string;
}

/**
 * One column to order by, nulls last. `timestamp` orders dates and timestamps by time, `bytes` the canonical
 * text by its UTF-8 bytes, `padded` the same without the blanks at its end. See key-order.ts.
 */
export interface OrderColumn {
  readonly column: number;
  readonly as: "integer" | "decimal" | "timestamp" | "padded" | "bytes";
}

export interface RowSnapshot {
  /**
   * All rows of a table in groups, pulled. Several tables may be read at once, each on its own connection.
   *
   * @param orderBy empty for storage order
   */
  readRows(
    table: SourceTable,
    orderBy: readonly OrderColumn[],
    signal: AbortSignal,
  ): AsyncIterable<readonly Cells[]>;
  /** Rows according to the server's statistics; an estimate. */
  estimateRows(table: SourceTable): Promise<number>;
  /**
   * Names of the tables that were truncated, rewritten or dropped since the snapshot was taken: it may
   * not have seen their rows, although they were there. Asked after reading.
   */
  rewritten(): Promise<readonly string[]>;
  close(): Promise<void>;
}

export interface BaselineSnapshot extends RowSnapshot {
  /** The stream continues exactly here. */
  readonly position: Position;
  /** The tables as the snapshot sees them, in the plan's order. */
  readonly tables: readonly SourceTable[];
  /** True when something of an interrupted baseline was found and removed. */
  readonly restarted: boolean;
}

export interface ParitySnapshot extends RowSnapshot {
  /** Lies before the snapshot was taken: what another one saw that was read at a place before it, this one sees. */
  readonly begin: Position;
  /** Lies after every transaction that the snapshot sees. */
  readonly fence: Position;
  /** The tables as the snapshot sees them, in the order asked. */
  readonly tables: readonly SourceTable[];
  /** By table name, columns that the log does not carry and nobody can compare: generated ones. */
  readonly columnsLeftOut: ReadonlyMap<string, readonly string[]>;
  /**
   * Sums of row hashes by bucket of the aggregate's key, of all rows: one pass, computed where the rows
   * are. See row-hash.ts.
   *
   * @param within only of the rows of these buckets; all when absent
   */
  sumRows(
    table: SourceTable,
    plan: RowHashPlan,
    signal: AbortSignal,
    within?: SomeBuckets,
  ): Promise<BucketSums>;
  /**
   * The same by aggregate, for the rows of some of the buckets; in groups, in any order. An aggregate may
   * come more than once, each time with some of its rows.
   */
  sumAggregates(
    table: SourceTable,
    plan: RowHashPlan,
    buckets: readonly number[],
    signal: AbortSignal,
  ): AsyncIterable<readonly AggregateSum[]>;
  /**
   * All rows of some aggregates, perhaps with others among them.
   *
   * @param keys each as long as `plan.key`
   */
  readAggregates(
    table: SourceTable,
    plan: RowHashPlan,
    keys: readonly (readonly Cell[])[],
    signal: AbortSignal,
  ): AsyncIterable<readonly Cells[]>;
  /**
   * How far the rows of some streams hold the events of a service: the version of the last one that was
   * written back. A stream of which nothing was is not in it.
   *
   * @throws BanyanError `SOURCE_NOT_READY` when the role may not read that
   */
  applied(streams: readonly string[]): Promise<ReadonlyMap<string, number>>;
  /** Which transactions it sees, as text to be kept; see {@link ChangeSource.visibility}. */
  readonly seen: string;
  /** Whether the snapshot sees what this transaction wrote. @param transaction `SourceTransaction.id` */
  sees(transaction: string): boolean;
}

/** A table and those of its columns that hold the key of the root row that a row belongs to, in the order of that key. */
export interface KeyedTable {
  readonly table: SourceTable;
  readonly columns: readonly number[];
}

export interface ChunkSurvey {
  /** According to the server's statistics; an estimate. */
  readonly rows: number;
  /** With out-of-line values, without indexes. */
  readonly bytes: number;
  /** Why these tables cannot be read in chunks; absent when they can. */
  readonly obstacle?: string;
  /** Tables without an index that begins with the root's key: whatever is read of one, all of it is. */
  readonly unindexed?: readonly string[];
}

/** Key of a root row: canonical text of its key columns. */
export type ChunkKey = readonly string[];

/**
 * Which rows of a table to read, by the key of their root: those behind `after` up to and with `end`,
 * or those of the named keys. Without `end` all that follow, also those whose key has a NULL.
 */
export type ChunkRange =
  | { readonly after: ChunkKey | undefined; readonly end: ChunkKey | undefined }
  | { readonly keys: readonly (readonly (string | null)[])[] };

export interface ChunkReader {
  /**
   * Opens a snapshot whose visible transactions are known before rows are read. One at a time.
   *
   * @throws BanyanError `TABLE_MISSING`, `SOURCE_NOT_READY` on a standby
   */
  open(signal: AbortSignal): Promise<ChunkSnapshot>;
  close(): Promise<void>;
}

export interface ChunkSnapshot {
  /** Lies after every transaction that the snapshot sees. */
  readonly fence: Position;
  /** The tables as the snapshot sees them, in the order asked. */
  readonly tables: readonly SourceTable[];
  /** As `ParitySnapshot.seen`. */
  readonly seen: string;
  readonly sees: (transaction: string) => boolean;
  /** Key of the n-th root row behind `after`; undefined when there are fewer. */
  bound(after: ChunkKey | undefined, rows: number): Promise<ChunkKey | undefined>;
  /** Key of the last root row behind `after`; undefined when there is none. */
  last(after: ChunkKey | undefined): Promise<ChunkKey | undefined>;
  /**
   * Rows of one of the tables in the order of their root's key, NULLs last, in groups, pulled. Several
   * tables may be read at once, each on its own connection.
   *
   * @throws BanyanError `VALUE_UNMAPPABLE` when one of named keys is none that the column could hold
   */
  readRange(
    table: SourceTable,
    range: ChunkRange,
    signal: AbortSignal,
  ): AsyncIterable<readonly Cells[]>;
  /** As {@link RowSnapshot.rewritten}. */
  rewritten(): Promise<readonly string[]>;
  /**
   * Resolves once a crash of the source can undo nothing of what the snapshot sees: a source may show a
   * commit to others before it is on its disk. Nothing of the snapshot may be kept before.
   *
   * @throws BanyanError `SOURCE_UNREACHABLE` when that takes too long; the signal's reason
   */
  durable(signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** What a source that works for others has to do; undefined where the role may not know. */
export interface SourceLoad {
  /** Sessions of others that are at work. */
  readonly activeSessions: number | undefined;
  /** Of the standby that is the furthest behind; undefined also when there is none. */
  readonly standbyLagSeconds: number | undefined;
  /** Transactions that write, begun so far in the whole source, our own among them: for differences only. */
  readonly transactionsBegun: number | undefined;
}
