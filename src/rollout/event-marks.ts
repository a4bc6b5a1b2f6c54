/** Which aggregates have had events, and how far they are in the legacy rows; asked by moves. */
export interface EventMarks {
  /** Everything before it is stored and seen by all, of any stream: where a later look begins. */
  eventsSeen(): Promise<string>;
  /** Everything that is stored now is before it. */
  eventsEnd(): Promise<string>;
  /**
   * Streams of a type with events stored since then, bounded.
   *
   * @param since a place of {@link eventsSeen}, or for the first look an ISO time of the store's clock
   * @returns undefined when there are more than `streamsMax`, or too many events to look through
   */
  changedSince(
    type: string,
    since: { readonly place: string } | { readonly time: string },
    streamsMax: number,
  ): Promise<readonly string[] | undefined>;
  /**
   * Whether reverse sync has applied every native event of a type before a place of {@link eventsEnd}.
   * Undefined when it has never run, or said nothing for a while.
   */
  reverseReached(type: string, place: string): Promise<boolean | undefined>;
  /** Aggregates of a type that wait in a conflict of reverse sync. */
  reverseConflicts(type: string): Promise<number>;
}
