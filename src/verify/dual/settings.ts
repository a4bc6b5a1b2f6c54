/** How verdicts on dual writes are made; see docs/7-rollout.md. */
export interface DualSettings {
  /** By stream type. */
  readonly normalise: Readonly<Record<string, Normaliser>>;
  /** Whether the events must be the same too, beside what they fold to. */
  readonly compareEvents: boolean;
  /** How long the absence of a captured event says nothing; and how far apart writes are neighbours. */
  readonly windowSeconds: number;
}

/** What may differ between two sides that decided the same. */
export interface Normaliser {
  /** Columns that are not compared: `updated_at` in every table, `payments.captured_at` in one. */
  readonly ignore: readonly string[];
  /** By role: key columns that each side makes up by itself. New rows are matched by the rest of the row. */
  readonly generated: Readonly<Record<string, readonly string[]>>;
  /** Timestamps that are no further apart are equal. */
  readonly timestampsWithinMs: number;
}

export const STRICT: Normaliser = { ignore: [], generated: {}, timestampsWithinMs: 0 };
