import type { FoldEvent } from "./event-store.ts";

/**
 * Writes that both sides were asked, what a service in shadow would have appended for them, and the
 * verdict on each. The proxy and the services write the first two; here they are read and judged.
 *
 * Every implementation passes test/contract/dual-store.contract.ts.
 */
export interface DualStore {
  /**
   * The next writes that have no verdict, oldest answer first, with all that was proposed for them.
   *
   * @param answeredBefore milliseconds since 1970; a later answer is not yet looked at
   * @param after the last one of an earlier page
   * @param windowMs how far another write of the same stream is a neighbour
   */
  waiting(
    pipeline: string,
    page: {
      readonly answeredBefore: number;
      readonly after: ShadowWrite | undefined;
      readonly windowMs: number;
      readonly limit: number;
    },
  ): Promise<readonly WaitingWrite[]>;

  /** Streams that captured events of these requests are in, at most {@link STREAMS_PER_WRITE_MAX} of each. */
  streamsOf(correlationIds: readonly string[]): Promise<readonly CorrelatedStream[]>;

  /** Version of the last event of each stream, 0 when there is none. */
  heads(streams: readonly string[]): Promise<readonly number[]>;

  /** All events of these streams, ordered by stream and version. The caller bounds how many. */
  events(pipeline: string, streams: readonly string[]): Promise<readonly DualEvent[]>;

  /** Those of these streams that wait in quarantine. */
  quarantined(pipeline: string, streams: readonly string[]): Promise<ReadonlySet<string>>;

  /**
   * Writes of which an input may have stood elsewhere for legacy than for the service: it has an event
   * behind that version, or recorded since the write was asked, which is neither the write's own nor known to come from
   * a later one.
   *
   * @returns their correlation ids
   */
  inputsMoved(pipeline: string, inputs: readonly InputOfWrite[]): Promise<ReadonlySet<string>>;

  /** Keeps verdicts, each only where there is none. @returns how many were kept */
  save(pipeline: string, verdicts: readonly SavedVerdict[]): Promise<number>;

  /**
   * Verdicts on writes that were asked since then, by stream type, route, verdict and reason; those that
   * wait have no reason.
   *
   * @param since milliseconds since 1970
   */
  counts(
    pipeline: string,
    streamTypes: readonly string[],
    since: number,
  ): Promise<readonly VerdictCount[]>;

  /** The newest failures on writes that were asked since then. @param perRoute at most so many of each route */
  failures(
    pipeline: string,
    streamTypes: readonly string[],
    since: number,
    perRoute: number,
  ): Promise<readonly FailedWrite[]>;

  /**
   * Forgets writes and proposals of before that time, judged or not, at most `limit` of each.
   *
   * @returns how many rows went
   */
  purge(
    pipeline: string,
    streamTypes: readonly string[],
    before: number,
    limit: number,
  ): Promise<number>;
}

/** A request that changed as many streams is not judged. */
export const STREAMS_PER_WRITE_MAX = 1_000;

export interface ShadowWrite {
  readonly correlationId: string;
  readonly streamType: string;
  /** Undefined for a creation that carries no id. */
  readonly stream: string | undefined;
  readonly route: string;
  /** Undefined when that side gave no answer. */
  readonly legacyStatus: number | undefined;
  readonly newStatus: number | undefined;
  /** Milliseconds since 1970, by the clock of the proxy. */
  readonly askedAtMs: number;
  /** When both had answered, or were given up. */
  readonly answeredAtMs: number;
}

export interface Proposal {
  readonly stream: string;
  /** Version of the stream that it was decided on; 0 when it does not exist. */
  readonly decidedOn: number;
  /** None for a refusal, or when there was nothing to do. */
  readonly events: readonly ProposedEvent[];
  /** Versions of other streams that the decision rests on; absent when it names none. */
  readonly inputs?: Readonly<Record<string, number>>;
}

/** A stream that the service looked at while it decided on a write. */
export interface InputOfWrite {
  readonly correlationId: string;
  readonly stream: string;
  readonly version: number;
  readonly askedAtMs: number;
  readonly answeredAtMs: number;
}

/** Clocks of the proxy, of the store and of whoever judges may be so far apart. */
export const SKEW_MS = 1_000;

export interface ProposedEvent {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface WaitingWrite {
  readonly write: ShadowWrite;
  /** In the order in which they were made. */
  readonly proposals: readonly Proposal[];
  /** Whether another write of the same stream was under way at the same time. */
  readonly isParallel: boolean;
  /** Whether there was one in the window before or behind it. */
  readonly hasNeighbours: boolean;
}

export interface CorrelatedStream {
  readonly correlationId: string;
  readonly stream: string;
}

/** An event as a verdict needs it. */
export interface DualEvent extends FoldEvent {
  readonly correlationId: string | undefined;
  /** Milliseconds since 1970. */
  readonly recordedAtMs: number;
  /** When the shadow write was asked that it came from; undefined when it came from none that is known. */
  readonly askedAtMs: number | undefined;
}

export type DualVerdict = "pass" | "fail" | "inconclusive";

export interface SavedVerdict {
  readonly correlationId: string;
  readonly verdict: DualVerdict;
  readonly reason: string;
  /** Of a failure. */
  readonly detail?: unknown;
}

export interface VerdictCount {
  readonly streamType: string;
  readonly route: string;
  readonly verdict: DualVerdict | "waiting";
  /** Empty while it waits. */
  readonly reason: string;
  readonly count: number;
}

export interface FailedWrite {
  readonly write: ShadowWrite;
  readonly reason: string;
  readonly detail: unknown;
}
