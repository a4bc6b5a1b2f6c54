/** A write that legacy was asked, and the new service in shadow. */
export interface ShadowWrite {
  readonly correlationId: string;
  readonly streamType: string;
  /** Undefined for a creation that carries no id, or a write that names none clearly. */
  readonly streamId: string | undefined;
  /** `POST /orders/:id/pay`. */
  readonly route: string;
  /** Undefined: legacy gave no answer. */
  readonly legacyStatus: number | undefined;
  /** Undefined: the service gave none. */
  readonly newStatus: number | undefined;
  readonly askedAt: Date;
  /** When both had answered, or were given up. */
  readonly answeredAt: Date;
}

/** A read whose answers differ, and stay so. */
export interface ShadowSample {
  readonly streamType: string;
  readonly route: string;
  /** Path without the query. */
  readonly target: string;
  readonly differences: readonly SampleDifference[];
  readonly seenAt: Date;
}

export interface SampleDifference {
  readonly place: string;
  readonly legacy: string;
  readonly new: string;
}

/** Samples kept of each route: the newest. */
export const SAMPLES_PER_ROUTE_MAX = 20;

/**
 * Keeps what proxies see in shadow, for the judge and for people. Every implementation passes
 * test/contract/shadow-log.contract.ts.
 */
export interface ShadowLog {
  /**
   * Adds writes and samples, all or nothing. A write that is there already stays as it is, so that the same
   * rows can be added again when it is not known whether they were. Ends within seconds, one way or the other.
   *
   * @throws BanyanError `STORE_UNREACHABLE`, `STORE_REFUSED`
   */
  add(writes: readonly ShadowWrite[], samples: readonly ShadowSample[]): Promise<void>;
  close(): Promise<void>;
}
