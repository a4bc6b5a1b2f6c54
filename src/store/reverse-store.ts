import type { FeedCursor, FoldEvent } from "./event-store.ts";

/**
 * What the way back into the legacy rows keeps in the store: how far it has come, what it could not
 * write, and the ids that were taken from the legacy database for the new service.
 *
 * Which events of a stream are in its rows is not kept here, but beside the rows; see `LegacyWriter`.
 */
export interface ReverseStore {
  /** Makes the caller the one that writes back: whoever did before can save nothing more. */
  takeOver(pipeline: string): Promise<ReverseHold>;

  /**
   * The next native events behind `after`, of any stream type, in the order of `EventStore.readAll`. Others
   * are passed over, so many at once at most; the cursor moves behind them.
   *
   * @param limit 1 to 10,000
   */
  natives(after: FeedCursor | undefined, limit: number): Promise<NativePage>;

  /** Stream types whose events are no longer written back. */
  completed(pipeline: string): Promise<ReadonlySet<string>>;

  /** Events of several streams: those of one range after the other, each in version order, in pages. */
  readStreams(ranges: readonly StreamRange[]): AsyncIterable<readonly FoldEvent[]>;

  /**
   * Notes progress, all of it or nothing.
   *
   * @throws BanyanError `PIPELINE_FENCED` when somebody else has taken over: nothing was noted
   */
  save(pipeline: string, epoch: number, progress: ReverseProgress): Promise<void>;

  /** Streams in conflict that were asked for, or not tried for so long; the oldest first. */
  conflictsToTry(pipeline: string, idleSeconds: number, limit: number): Promise<readonly string[]>;

  /** Asks that conflicts be tried again soon. @param stream all when absent @returns how many */
  retryConflicts(pipeline: string, stream?: string): Promise<number>;

  /**
   * What became of an event in the legacy rows; of a stream in conflict all events from the first that waits on.
   * An event that nobody has looked at yet, or that there is not, waits.
   */
  outcomeOf(pipeline: string, stream: string, version: number): Promise<WrittenBack>;

  /** How it stands; undefined when it never ran. @param samples conflicts to show */
  status(pipeline: string, samples: number): Promise<ReverseStatus | undefined>;

  /**
   * Stream types that the service may make aggregates of: at canary, new and complete, and about to be
   * promoted there. With how many of their ids are at hand.
   */
  reservations(pipeline: string): Promise<readonly ReservedType[]>;

  /**
   * Keeps ids, each once, with the buckets that they fall into: all of those that are of use, and of the
   * others as many as there is room for.
   */
  reserveIds(
    pipeline: string,
    streamType: string,
    ids: readonly string[],
    of: ReservedBuckets,
  ): Promise<void>;

  /** Ids that are kept under this name. @param below buckets below it */
  idsAtHand(pipeline: string, streamType: string, below: number): Promise<number>;
}

/**
 * - `written`: it is in the rows.
 * - `conflict`: the rows cannot be written as they are to be, see `ReverseConflict`.
 * - `waiting`: it is not known yet.
 * - `ended`: its stream type is complete, and nothing of it is written back any more.
 */
export type WrittenBack =
  | { readonly outcome: "written" | "waiting" | "ended" }
  | { readonly outcome: "conflict"; readonly reason: string };

export interface ReverseHold {
  readonly epoch: number;
  readonly cursor: FeedCursor | undefined;
}

export interface NativePage {
  readonly natives: readonly { readonly stream: string; readonly version: number }[];
  /** Behind all that was looked at; the one given when that was nothing. */
  readonly next: FeedCursor | undefined;
  /** True when there was nothing more to look at. */
  readonly isEnd: boolean;
}

export interface StreamRange {
  readonly stream: string;
  readonly fromVersion: number;
  readonly toVersion: number;
}

export interface ReverseProgress {
  /** Left as it is when absent. */
  readonly cursor?: FeedCursor | undefined;
  /** Events that are in the rows now and were not before; added. */
  readonly applied?: number;
  /** Streams whose native events are all in the rows: conflicts of theirs are over. */
  readonly settled?: readonly string[];
  readonly conflicts?: readonly ReverseConflict[];
}

/** Native events that could not be written into the rows. */
export interface ReverseConflict {
  readonly stream: string;
  /** Of the first event that waits. */
  readonly version: number;
  /** Qualified name; empty when it did not come to a row. */
  readonly table: string;
  /** Key of the row, its columns joined by commas. */
  readonly key: string;
  /** Columns that hold something else than they should; empty when the whole row is not as it should be. */
  readonly columns: readonly string[];
  readonly reason: string;
}

export interface ReverseStatus {
  /** Events written into rows, ever. */
  readonly applied: number;
  /** Age of the oldest event that was not looked at yet. */
  readonly lagSeconds: number;
  readonly cursor: FeedCursor | undefined;
  readonly conflicts: number;
  readonly samples: readonly (ReverseConflict & { readonly foundAt: string })[];
  /** ISO 8601. Kept current about once a second while it runs. */
  readonly updatedAt: string;
}

export interface ReservedBuckets {
  /** Absent for ids that are of no aggregate's own: their bucket is 0. */
  readonly salt?: string;
  /** Buckets below it are of use. */
  readonly below: number;
  readonly room: number;
}

export interface ReservedType {
  readonly streamType: string;
  /** Buckets below it have moved, 1 to 10,000. */
  readonly share: number;
  readonly salt: string;
  /** Ids at hand whose bucket has moved. */
  readonly usable: number;
  /** All of them. */
  readonly kept: number;
}
