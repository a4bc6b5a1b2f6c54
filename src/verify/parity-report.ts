import type { Flaw } from "./history-check.ts";
import type { Position } from "../model/position.ts";
import type { ReverseConflict } from "../store/parity-store.ts";

/** Equal, different, or could not tell. The third is never the first. */
export type ParityState = "equal" | "different" | "inconclusive";

export interface ParityReport {
  readonly state: ParityState;
  /** False when something was left out or could not be read: then nothing is called equal. */
  readonly conclusive: boolean;
  /** Why it could not be told, and what may explain a difference. */
  readonly reasons: readonly string[];
  readonly pipeline: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly finishedAt: string;
  /** Rows and events were compared as of the same snapshot, which this position lies after. */
  readonly fence: Position | undefined;
  /** Rows compared, of the rows that are there. */
  readonly compared: number;
  readonly present: number;
  /** Rows without a fold. */
  readonly missing: number;
  /** Folds without a row. */
  readonly extra: number;
  /** Rows whose fold says something else. */
  readonly different: number;
  /** Aggregates at least whose sums differ as well, and which were not looked into because so many do. */
  readonly unexamined: number;
  readonly tables: readonly TableParity[];
  readonly excluded: {
    /** Streams that wait in quarantine, or were read anew since the snapshot was taken: not compared. */
    readonly streams: number;
    readonly rows: number;
  };
  /** Streams whose events are not written back, because a row is not as they were decided on. */
  readonly reverseConflicts: {
    readonly streams: number;
    readonly samples: readonly ReverseConflict[];
  };
  /** What is wrong with the events themselves, whatever they fold to. */
  readonly history: HistoryParity;
  readonly samples: readonly ParitySample[];
  /** What it took: sums compared, those that differed, and aggregates compared row by row for them. */
  readonly effort: {
    readonly buckets: number;
    readonly bucketsDiffering: number;
    readonly aggregatesExamined: number;
  };
  /** Commands to run next. */
  readonly nextSteps: readonly string[];
}

export interface HistoryParity {
  /** Streams whose events do not follow on from each other. */
  readonly streams: number;
  /** Events of the store's pipelines beyond those that their ledgers tell of; lost ones below zero. */
  readonly untold: number;
  readonly samples: readonly Flaw[];
}

export interface TableParity {
  readonly table: string;
  readonly streamType: string;
  readonly present: number;
  readonly compared: number;
  readonly missing: number;
  readonly extra: number;
  readonly different: number;
  /** Aggregates at least whose sums differ as well, and which were not looked into because so many do. */
  readonly unexamined: number;
  /** Columns that were compared. */
  readonly columns: number;
  /** Generated columns that the log does not carry; not compared. */
  readonly columnsLeftOut: readonly string[];
}

export interface ParitySample {
  readonly verdict: "missing" | "extra" | "different";
  readonly table: string;
  readonly stream: string;
  readonly key: string;
  /** The columns that differ; all for a missing or extra row are left out. */
  readonly columns: readonly {
    readonly column: string;
    /** Canonical text, or `‹12 characters›` where values are redacted; null for NULL. */
    readonly row: string | null;
    readonly fold: string | null;
  }[];
  /** Of a stream that waits in a reverse conflict: why. */
  readonly reason?: string;
}
