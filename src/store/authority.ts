/**
 * Which side decides over an aggregate, as somebody else has it. What is known is a moment old: ask
 * {@link refresh} before anything is refused for it.
 */
export interface Authority {
  /** Whether any aggregate has moved to the new service; cheap enough to be asked for every batch. */
  readonly hasMoved: boolean;
  /** Whether any aggregate of a stream type has. */
  hasMovedOf(streamType: string): boolean;
  /** Raised with every decision about aggregates of a stream type. */
  epochOf(streamType: string): number;
  /** Whether the new service decides over the aggregate of this stream. */
  isMoved(stream: string): boolean;
  /** Whether any stream type has begun to move. */
  readonly hasBegun: boolean;
  /** 0 to 9,999; undefined for a stream whose type has not begun to move. See rollout/bucket.ts. */
  bucketOf(stream: string): number | undefined;
  /** Learns how it stands now. @throws BanyanError `STORE_UNREACHABLE`, `STORE_REFUSED` */
  refresh(): Promise<void>;
  /**
   * Keeps what is known current until the signal aborts.
   *
   * @throws BanyanError as {@link refresh}, when it could not be learnt for some seconds
   */
  run(signal: AbortSignal): Promise<void>;
}

/** Of a migration in which legacy decides over everything. */
export const NOTHING_MOVED: Authority = {
  hasMoved: false,
  hasMovedOf: () => false,
  epochOf: () => 0,
  isMoved: () => false,
  hasBegun: false,
  bucketOf: () => undefined,
  refresh: () => Promise.resolve(),
  run: () => Promise.resolve(),
};
