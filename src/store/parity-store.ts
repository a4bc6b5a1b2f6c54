import type { SomeBuckets } from "../model/buckets.ts";
import type { FeedCursor, FoldEvent } from "./event-store.ts";

/**
 * What a verification keeps beside the events: for each aggregate the hashes of its folded rows, so that
 * the next one need not fold what did not change; and what was found.
 *
 * Every implementation passes test/contract/parity-store.contract.ts.
 */
export interface ParityStore {
  /**
   * How many events the kept folds of a stream type do not have yet, counted up to `limit`. Undefined when
   * none are kept.
   */
  behind(scope: FoldScope, limit: number): Promise<number | undefined>;

  /**
   * Brings the kept folds of a stream type up to date with the events that may be shown (see
   * `EventStore.readAll`), all or nothing. Folds of another fingerprint are thrown away first.
   *
   * @param fold folds whole streams that come ordered by stream and version
   */
  advance(
    scope: FoldScope,
    fold: (events: AsyncIterable<readonly FoldEvent[]>) => AsyncIterable<FoldSums>,
    signal: AbortSignal,
  ): Promise<void>;

  /** Throws away what is kept of folds, of all stream types, and what was counted of events. */
  forget(pipeline: string): Promise<void>;

  /** All that is kept of a stream type and all of its events, as of one moment. */
  openFolds(scope: FoldScope): Promise<FoldSnapshot>;

  /** Events that the pipelines of the store have written: those that are there, and those told of. */
  countEvents(): Promise<EventCounts>;

  /** From now on the difference that there is in {@link countEvents} is known, and only a further one tells. */
  settleEvents(): Promise<void>;

  /** How far what services decided is in the legacy rows, as the reverse sync last said. */
  reverse(pipeline: string): Promise<ReverseState>;

  /**
   * Which streams of some types have events that may be shown now (see `EventStore.readAll`) and could not be
   * shown at a place. Each event is told by one of the calls that follow each other's places.
   *
   * @param since `place` of an earlier answer; without one nothing is told but the place
   * @param limit of streams that are named
   */
  changedSince(
    streamTypes: readonly string[],
    since: string | undefined,
    limit: number,
  ): Promise<StreamChanges>;

  /** The latest report. Undefined when there was none. */
  report(pipeline: string): Promise<SavedReport | undefined>;
  /** Findings that are open now. */
  findings(pipeline: string): Promise<readonly ParityFinding[]>;

  /**
   * Changes what is kept of the findings and the latest report of a pipeline, one caller after the other:
   * each is shown what the one before has left, and nothing comes in between.
   *
   * @param change must have no effect beside what it returns
   */
  update(pipeline: string, change: (kept: KeptParity) => ParityUpdate): Promise<void>;
}

/** Events of all pipelines, as of one moment. What services appended is not among them. */
export interface EventCounts {
  readonly stored: number;
  /** By the pipelines' ledgers, in which each is counted by the transaction that writes it. */
  readonly told: number;
  /** By so many more are stored than told, and that is known. */
  readonly settled: number;
}

export interface StreamChanges {
  readonly streams: readonly string[];
  /** How many there are, also beyond the limit. */
  readonly total: number;
  /** Up to where events were told: a decimal number that never falls. */
  readonly place: string;
  /** What was stored before this was asked lies below it. At or beyond `place`. */
  readonly end: string;
}

export interface KeptParity {
  readonly report: SavedReport | undefined;
  readonly findings: readonly ParityFinding[];
  /** ISO 8601. Now, by the clock that `savedAt` is told by. */
  readonly now: string;
}

export interface ParityUpdate {
  /** All that are open, in place of those of before. */
  readonly findings: readonly ParityFinding[];
  /** Left as it is when absent. */
  readonly report?: unknown;
  /** Whether it is the report of before with something changed: it stays as old as that. */
  readonly isAmended?: boolean;
}

export interface ReverseState {
  /** Events before it are in the rows, or wait in a conflict. Undefined when nothing was written back yet. */
  readonly after: FeedCursor | undefined;
  /** By stream, at most {@link REVERSE_CONFLICTS_MAX}. */
  readonly conflicts: readonly ReverseConflict[];
}

/** A stream whose events are not written back, because a row is not as they were decided on. */
export interface ReverseConflict {
  readonly stream: string;
  /** Of the first event that waits. */
  readonly version: number;
  readonly table: string;
  readonly key: string;
  readonly columns: readonly string[];
  readonly reason: string;
}

export const REVERSE_CONFLICTS_MAX = 10_000;

/** How finely kept folds are summed up at most. */
export const FOLD_BUCKETS_MAX = 2 ** 16;

/** The folds of one stream type of a pipeline. */
export interface FoldScope {
  readonly pipeline: string;
  readonly streamType: string;
  /** Stable hash of all that the hashes depend on beside the events: columns, inverses, the way of hashing. */
  readonly fingerprint: string;
}

/** Sums of whole streams, as columns of the same length; one entry per stream and role that has rows. */
export interface FoldSums {
  /** Every stream that was folded, also those without rows. */
  readonly folded: readonly string[];
  readonly streams: readonly string[];
  /**
   * Number of the role in its stream type; beside its sums -1 marks a stream with events of a service, and
   * -2 one whose events do not follow on from each other, so many times.
   */
  readonly roles: readonly number[];
  /** Hash of the stream's key, see RowHash.key. */
  readonly keys: readonly bigint[];
  readonly counts: readonly number[];
  readonly sums: readonly bigint[];
}

export interface FoldSnapshot {
  /**
   * Of one role, by bucket.
   *
   * @param buckets a power of two, at most {@link FOLD_BUCKETS_MAX}, or any with `within`
   * @param within only of the folds in these buckets, which are all read for it; all when absent
   */
  sums(role: number, buckets: number, within?: SomeBuckets): Promise<FoldBucketSums>;
  /** What is kept of these streams. */
  foldsOf(streams: readonly string[]): Promise<FoldSums>;
  /** What is kept in these buckets. `folded` is empty. */
  foldsIn(buckets: number, wanted: readonly number[], role: number): Promise<FoldSums>;
  /**
   * Streams with events of a service that come after a place in the feed; without one, all that are kept
   * and have any.
   */
  decided(after: FeedCursor | undefined, limit: number): Promise<readonly string[]>;
  /** Kept streams that are marked as flawed (-2), by id. */
  flawed(limit: number): Promise<readonly FlawedStream[]>;
  /** All events of the streams that have one which the kept folds do not have. */
  touched(signal: AbortSignal): AsyncIterable<readonly FoldEvent[]>;
  /** All events of these streams, ordered by stream and version. */
  events(streams: readonly string[], signal: AbortSignal): AsyncIterable<readonly FoldEvent[]>;
  close(): Promise<void>;
}

export interface FlawedStream {
  readonly stream: string;
  /** Whether a change of it that waited in quarantine was skipped, and is not in its events for that. */
  readonly hasSkipped: boolean;
}

/** See BucketSums of the source; the same for folds. */
export interface FoldBucketSums {
  readonly counts: Float64Array;
  readonly sums: BigInt64Array;
}

export interface SavedReport {
  readonly report: unknown;
  /** ISO 8601. */
  readonly savedAt: string;
}

/** A row whose fold is not like it, as seen once. */
export interface Difference {
  readonly stream: string;
  readonly table: string;
  readonly key: string;
  readonly verdict: "missing" | "extra" | "different";
  /** Names of the columns that differ. */
  readonly columns: readonly string[];
  /** Of the stream's last event that was folded; 0 when there is none. */
  readonly version: number;
}

/** A difference, over all the times it was looked at. */
export interface ParityFinding extends Difference {
  /** ISO 8601. Since when it is so without a further event of the aggregate. */
  readonly firstSeen: string;
  readonly lastSeen: string;
  /** How often it was looked at again since, and found the same. */
  readonly rechecks: number;
}
