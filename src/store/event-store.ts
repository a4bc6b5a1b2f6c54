import type { EventBatch, NewEvent, RecordedEvent } from "../model/event.ts";
import type { MappingDefinition } from "../model/mapping-definition.ts";
import type { Position } from "../model/position.ts";
import type { DualStore } from "./dual-store.ts";
import type { ParityStore } from "./parity-store.ts";
import type { ReverseStore } from "./reverse-store.ts";
import type { ServiceStore } from "./service-store.ts";

/**
 * Append-only log of domain events, one version sequence (1, 2, 3 …) per stream.
 *
 * Every implementation passes test/contract/event-store.contract.ts.
 */
export interface EventStore {
  /** Brings the store's own schema up to date. Idempotent and safe when several start at once. */
  migrate(): Promise<void>;

  /**
   * Appends all events or none. Repeating an append with the same event ids returns the first result.
   *
   * @throws BanyanError `STREAM_VERSION_CONFLICT` when the stream is not as expected
   */
  append(
    stream: string,
    events: readonly NewEvent[],
    expected: ExpectedVersion,
  ): Promise<AppendResult>;

  /** Events of one stream in version order; nothing when the stream does not exist. */
  readStream(
    stream: string,
    range?: { readonly fromVersion?: number; readonly toVersion?: number },
  ): AsyncIterable<RecordedEvent>;

  /** Events of several streams, of one after the other in version order, read many at a time. */
  readStreams(streams: readonly string[]): AsyncIterable<RecordedEvent>;

  /**
   * The next events after `after` in an order that never shows a later event before an earlier one,
   * whoever is writing. None when the rest is not yet safe to show; fewer than `limit` then, and when
   * the events are large: a page ends after some megabytes, with at least one event.
   *
   * @param after cursor of an earlier page; undefined for the beginning
   * @param limit 1 to 10,000
   */
  readAll(after: FeedCursor | undefined, limit: number): Promise<FeedPage>;

  /**
   * What keeps {@link readAll} from showing events that are stored: a transaction that began before
   * them and is still open. Undefined when nothing does.
   */
  feedHold(): Promise<FeedHold | undefined>;

  /**
   * All events of the streams `<streamType>-…`, ordered by stream (bytewise) and version, as of one
   * snapshot taken when the iteration starts.
   */
  readStreamType(streamType: string, signal: AbortSignal): AsyncIterable<readonly FoldEvent[]>;

  /**
   * The streams `<streamType>-…`, ordered bytewise by id, those behind `after`: a page of at most `limit`,
   * fewer only when none is left.
   *
   * @param after id of the last one of an earlier page; undefined for the beginning
   */
  listStreams(
    streamType: string,
    after: string | undefined,
    limit: number,
  ): Promise<readonly ListedStream[]>;

  /**
   * Streams of the newest events, newest first, each with the event's version: the first that a stream
   * comes with is its current one.
   *
   * @param eventsMax how many events to look at
   */
  recentVersions(eventsMax: number, signal: AbortSignal): AsyncIterable<StreamVersionPage>;

  /** Mapping definitions by version, to fold old events as they were meant. */
  mappings(): Promise<ReadonlyMap<number, MappingDefinition>>;

  /** How a pipeline stands, as last committed. Undefined when it never ran. */
  pipeline(name: string): Promise<PipelineRecord | undefined>;

  /**
   * Takes over a pipeline as its only writer: its epoch is raised, and whoever held it before can
   * commit nothing more. The pipeline is made when it does not exist.
   *
   * @param source `SourceIdentity.uri`
   * @param ifFree leaves a pipeline to whoever has it, as far as the store's role may know that
   * @throws BanyanError `PIPELINE_FENCED` when somebody has it and it is taken only if free
   */
  openCapture(pipeline: string, source: string, ifFree?: "if-free"): Promise<CaptureWriter>;

  /** Whether a capture writer of the pipeline is open; false also where the store's role may not know. */
  isCaptured(pipeline: string): Promise<boolean>;

  /** What others ask a pipeline to do; cheap, for whoever runs it looks now and then. */
  requests(pipeline: string): Promise<PipelineRequests>;

  /** Asks that the baseline in chunks rest, or go on. @returns false when there is no such pipeline */
  pauseBaseline(pipeline: string, paused: boolean): Promise<boolean>;

  /**
   * Asks that streams be read anew from the source; carried out by the pipeline, at once when it runs,
   * else at its next start. A stream that is asked for already is not asked for twice.
   *
   * @returns how many were asked for now
   */
  requestRebaseline(pipeline: string, streams: readonly string[], reason: string): Promise<number>;

  /** What was asked for and not carried out, in that order, behind the id `after`. */
  rebaselineRequests(
    pipeline: string,
    after: string,
    limit: number,
  ): Promise<readonly RebaselineRequest[]>;

  /**
   * Counts, durable at once, that requests are about to be carried out (1), or that an attempt has ended
   * and was no death (-1). @param ids those that are settled meanwhile are left as they are
   */
  noteAttempts(ids: readonly string[], by: 1 | -1): Promise<void>;

  /**
   * Settles requests that were not carried out, as if they had not been asked for. One that is being
   * carried out may be done all the same.
   *
   * @param streams undefined for all
   * @returns how many there were
   */
  withdrawRebaselines(pipeline: string, streams?: readonly string[]): Promise<number>;

  /** What has become of the requests behind the id `after`. */
  rebaselineTally(pipeline: string, after: string): Promise<RebaselineTally>;

  /** What was carried out with a fence behind `after`, which the log has yet to pass. */
  rebaselined(pipeline: string, after: Position): Promise<readonly Rebaselined[]>;

  readonly quarantine: Quarantine;

  readonly parity: ParityStore;

  readonly dual: DualStore;
  readonly reverse: ReverseStore;
  readonly services: ServiceStore;

  close(): Promise<void>;
}

/** `none`: the stream must not exist. `exists`: it must. `any`: no check. Else the version of its last event. */
export type ExpectedVersion = number | "none" | "exists" | "any";

export interface AppendResult {
  readonly firstVersion: number;
  readonly lastVersion: number;
}

declare const cursorBrand: unique symbol;
export type FeedCursor = string & { readonly [cursorBrand]: true };

export interface FeedPage {
  readonly events: readonly RecordedEvent[];
  /** Cursor after the last event of the page; the one given when the page is empty. */
  readonly next: FeedCursor | undefined;
}

export interface ListedStream {
  readonly stream: string;
  /** Whether any of its events folds by a mapping; what a program appended by itself does not. */
  readonly isCaptured: boolean;
}

/** Two columns of the same length. */
export interface StreamVersionPage {
  readonly streams: readonly string[];
  readonly versions: readonly number[];
}

export interface FeedHold {
  /** Events stored and not shown, counted up to 10,000. */
  readonly events: number;
  /** Oldest first, at most ten; they have written something, not necessarily here. */
  readonly holders: readonly FeedHolder[];
}

export interface FeedHolder {
  /** The server's process; absent for a transaction that was prepared and left. */
  readonly pid?: number;
  /** For people, e.g. `process 4711 (psql) idle in transaction, in database shop`. */
  readonly what: string;
  readonly openSeconds: number;
}

/** The part of an event that a fold reads. */
export type FoldEvent = Pick<
  RecordedEvent,
  | "stream"
  | "version"
  | "type"
  | "data"
  | "origin"
  | "mappingVersion"
  | "sourceTransaction"
  | "time"
> & {
  /** Of a baseline event: where in the log its rows were read. Absent where only folds are wanted. */
  readonly readAt?: Position;
};

export type PipelinePhase = "new" | "baseline" | "tail" | "stopped";

/** Additive counts. in = claimed + fallback + unchanged + parked + echoed at every checkpoint. */
export interface Ledger {
  /** Row changes of mapped tables that arrived. */
  readonly changesIn: number;
  /** Told wholly by named events. */
  readonly changesClaimed: number;
  /** Told in part or whole by the fallback event. */
  readonly changesFallback: number;
  /** Updates that left every column as it was: no event. */
  readonly changesUnchanged: number;
  /** Put into quarantine. */
  readonly changesParked: number;
  /** Of rows that Banyan itself wrote back from events of a service: no event. */
  readonly changesEchoed: number;
  readonly events: number;
  /** Aggregates that got a baseline event. */
  readonly baselined: number;
  /** Rows that the baseline events hold. */
  readonly baselineRows: number;
  readonly transactions: number;
}

export interface PipelineRecord {
  readonly name: string;
  readonly source: string;
  readonly epoch: number;
  readonly phase: PipelinePhase;
  /** Undefined before the baseline is complete. */
  readonly checkpoint: Position | undefined;
  readonly baselinePosition: Position | undefined;
  readonly ledger: Ledger;
  /** Every table that has a baseline, by name; also those that have left since. */
  readonly tables: readonly CapturedTable[];
  /** Baselines in chunks, begun or done, by stream type; absent when there never was one. */
  readonly baselines?: readonly BaselineRecord[];
  /** What the pipeline last said of itself (see pipeline/status.ts); JSON. */
  readonly status: unknown;
  /** ISO 8601. */
  readonly updatedAt: string;
}

/** A table that a pipeline captures, or once did. */
export interface CapturedTable {
  /** Qualified name. */
  readonly table: string;
  readonly stream: string;
  /** Of its rows in the stream. */
  readonly role: string;
  /** Position of its baseline. */
  readonly since: Position;
  /**
   * Of one that joined a pipeline that ran already: the transactions that its baseline holds, as
   * `ParitySnapshot.seen`. The log tells them once more, before `since`.
   */
  readonly seen?: string;
  /** The checkpoint at which the config no longer had it; absent while it is captured. */
  readonly left?: Position;
}

/** Qualified names. */
export interface RenamedTable {
  readonly from: string;
  readonly to: string;
}

/** How far the baseline of one stream type in chunks has come: all that is needed to go on with it. */
export interface BaselineRecord {
  /** Stream type. */
  readonly stream: string;
  /** The tables whose rows alone are read, because they joined streams that were there; absent for all. */
  readonly tables?: readonly string[];
  /**
   * The tables of whose rows images were kept from here on, so that a row without one is in no aggregate
   * that was read; absent in records of before that was noted.
   */
  readonly imaged?: readonly string[];
  /** Where in the log it began. */
  readonly position: Position;
  /** Why it is read in chunks, for people; absent in records of before that was noted. */
  readonly why?: string;
  /** Key of the root up to which the log alone tells what is; absent before the first chunk is passed. */
  readonly told?: readonly string[];
  /** Finished chunks behind that key, in its order; the log may tell once more what they hold. */
  readonly chunks: readonly ChunkRecord[];
  /** True once the last chunk is written. */
  readonly done: boolean;
  readonly chunksRead: number;
  readonly rowsRead: number;
  readonly rowsEstimated: number;
  readonly bytesRead: number;
  readonly aggregates: number;
  /** Baseline events; the next one is numbered on from here. */
  readonly events: number;
  /** Of one that reads anew what the store knows already, because the place in the log was lost. */
  readonly gap?: GapRecord;
}

/** What events of streams that are read anew say, and how far that has come. */
export interface GapRecord {
  /** Why the place in the log was lost, for people. */
  readonly reason: string;
  /**
   * From where on history is not known of the streams behind a key of the root, in its order. The first
   * has no `after`: all streams from the beginning.
   */
  readonly since: readonly { readonly after?: readonly string[]; readonly from: Position }[];
  /** Aggregates that the source no longer has. */
  readonly gone: number;
  /** Aggregates left as their events have them, because the new service decides over them. */
  readonly moved: number;
}

export interface ChunkRecord {
  /** Key of the root; absent in the last chunk, which has no end. */
  readonly end?: readonly string[];
  /** See `ChunkSnapshot.seen`. */
  readonly seen: string;
  readonly fence: Position;
}

export interface RebaselineTally {
  /** Id of the newest, `after` without one. */
  readonly last: string;
  readonly waiting: number;
  /** The others were refused or withdrawn. */
  readonly readAnew: number;
}

export interface RebaselineRequest {
  readonly id: string;
  readonly stream: string;
  readonly reason: string;
  /** How often it was begun and not ended, see {@link EventStore.noteAttempts}. */
  readonly attempts: number;
}

/** Streams that were read anew under one snapshot. */
export interface Rebaselined {
  readonly streams: readonly string[];
  /** See `ChunkSnapshot.seen`. */
  readonly seen: string;
  readonly fence: Position;
}

export interface PipelineRequests {
  readonly baselinePaused: boolean;
}

/**
 * The one writer of a pipeline. Not for concurrent use: await each call before the next.
 *
 * `stage` opens a transaction when none is open; `commit` makes all that was staged durable together
 * with the checkpoint, or nothing. After any rejection the writer is dead: open a new one and begin
 * again at its checkpoint.
 */
export interface CaptureWriter {
  /** As it stood when the writer was opened, with the new epoch. */
  readonly record: PipelineRecord;

  /** The number of this mapping, made when it is new. @param fingerprint stable hash of the definition */
  mappingVersion(fingerprint: string, definition: MappingDefinition): Promise<number>;

  /**
   * Current version of each stream, 0 when it does not exist; sees what was committed, not what is
   * staged. It and {@link storedVersions} may be called while a `stage` or `commit` is under way.
   */
  versions(streams: readonly string[]): Promise<readonly number[]>;

  /** The same whoever wrote to them meanwhile: to look at, and not to number events by. */
  storedVersions(streams: readonly string[]): Promise<readonly number[]>;

  /**
   * Kept row images, JSON text by column name, as written by earlier `stage`s, staged ones included.
   *
   * @param keys row keys, see `StagedBatch.images`
   */
  images(table: string, keys: readonly string[]): Promise<readonly (string | undefined)[]>;

  /**
   * Removes kept images of a table in the open transaction: the next ones behind `after` by key, bytewise,
   * at most so many.
   *
   * @returns behind which key there may be more; undefined when none is left
   */
  forgetImages(
    table: string,
    after: string | undefined,
    imagesMax: number,
  ): Promise<string | undefined>;

  /** Writes events, images and parked changes into the open transaction. */
  stage(batch: StagedBatch): Promise<void>;

  /**
   * Ends the transaction: ledger added, checkpoint set, all durable.
   *
   * @throws BanyanError `PIPELINE_FENCED` when another writer has taken over: nothing was written;
   *   `AUTHORITY_CHANGED` when an aggregate has moved since its change was mapped, likewise
   */
  commit(progress: Progress): Promise<CommitResult>;

  /** Drops what was staged. */
  rollback(): Promise<void>;

  close(): Promise<void>;
}

export interface StagedBatch {
  readonly events: EventBatch;
  readonly images?: readonly ImageChange[];
  /** Images of rows that have none yet, each row once: quicker than among `images`. */
  readonly newImages?: readonly NewImage[];
  /** Images that are kept only where there is none. */
  readonly missingImages?: readonly NewImage[];
  readonly parked?: readonly ParkedChange[];
  /** Ids of parked changes that these events settle. */
  readonly released?: readonly string[];
  /** Ids of parked changes that are given up. */
  readonly skipped?: readonly string[];
  /** Requests that these events carry out, by id. */
  readonly rebaselined?: Omit<Rebaselined, "streams"> & { readonly ids: readonly string[] };
  /** Requests that are settled without being carried out, by id. */
  readonly refused?: readonly string[];
}

export interface ImageChange {
  readonly table: string;
  /** Canonical text of the row's key columns, joined unambiguously. */
  readonly key: string;
  /** JSON object text by column name; undefined removes the image. The last entry of a key wins. */
  readonly image: string | undefined;
}

export type NewImage = ImageChange & { readonly image: string };

export interface Progress {
  readonly phase: PipelinePhase;
  /** Left as it is when undefined. Must not lie before the present one. */
  readonly checkpoint: Position | undefined;
  readonly baselinePosition?: Position;
  /** Entries to be added, or to replace those of the same table. */
  readonly tables?: readonly CapturedTable[];
  /** Likewise, of the same stream type. */
  readonly baselines?: readonly BaselineRecord[];
  /** Tables whose kept images are found under another name from now on, in place of any that are there. */
  readonly renamed?: readonly RenamedTable[];
  /**
   * Of each stream type that was captured from, the lowest bucket of an aggregate that legacy decided over
   * when it was mapped: events are not stored behind a move that took it from legacy.
   */
  readonly lowestBuckets?: ReadonlyMap<string, number>;
  /** Added to the stored counts. */
  readonly ledger: Partial<Ledger>;
  readonly status: unknown;
}

export interface CommitResult {
  /** Raised by every quarantine decision: when it changed, read the decisions. */
  readonly quarantineGeneration: number;
}

/**
 * Changes that could not be mapped, per stream, in order. A stream with a pending entry takes no
 * events; what comes after the first failure is parked behind it.
 */
export interface Quarantine {
  /** In the order of parking. @param filter all pipelines and streams when empty; `after` is the id of an earlier one */
  list(filter?: ParkedFilter): Promise<readonly ParkedRecord[]>;
  /** Streams with a pending entry, and what was decided for them. */
  streams(pipeline: string): Promise<readonly QuarantinedStream[]>;
  /**
   * Records a decision; the pipeline carries it out, at once when it runs, else at its next start.
   * `retry` maps the stream's parked changes again. `skip` drops the first one, then maps the rest.
   *
   * @returns how many streams the decision concerns
   */
  decide(pipeline: string, stream: string | undefined, decision: "retry" | "skip"): Promise<number>;
  /** Streams parked now, in all; cheap. */
  count(pipeline: string): Promise<number>;
}

export interface ParkedChange {
  readonly stream: string;
  readonly position: Position;
  readonly sourceTransaction: string;
  readonly table: string;
  readonly operation: string;
  /** Error code and message; `BEHIND_QUARANTINE` for a change that only waits behind another. */
  readonly code: string;
  readonly reason: string;
  /** All that is needed to map it again; JSON, holds row contents. */
  readonly change: unknown;
}

export interface ParkedFilter {
  readonly pipeline?: string;
  readonly stream?: string;
  readonly limit?: number;
  readonly after?: string;
}

export interface ParkedRecord extends ParkedChange {
  readonly id: string;
  readonly parkedAt: string;
  readonly decision: "none" | "retry" | "skip";
}

export interface QuarantinedStream {
  readonly stream: string;
  readonly parked: number;
  readonly decision: "none" | "retry" | "skip";
}
