import type { MappingCoverage } from "../mapping/coverage.ts";
import type { Drift } from "../mapping/drift.ts";
import type { Position } from "../model/position.ts";
import type { Ledger, PipelinePhase } from "../store/event-store.ts";

/** How a pipeline stands: one immutable picture, for people, scripts, metrics and gates alike. */
export interface PipelineStatus {
  readonly pipeline: string;
  readonly phase: PipelinePhase;
  readonly processId: number;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly updatedAt: string;
  readonly positions: {
    /** Everything before it is in the store. Undefined before the baseline is complete. */
    readonly checkpoint: Position | undefined;
    readonly baseline: Position | undefined;
    /** Newest position of the source's log when it was last asked. */
    readonly head: Position | undefined;
  };
  readonly lag: { readonly bytes: number; readonly seconds: number };
  /** Over the last ten seconds or so. */
  readonly rates: { readonly changesPerSecond: number; readonly eventsPerSecond: number };
  readonly ledger: Ledger;
  readonly quarantine: { readonly streams: number };
  readonly baseline: BaselineProgress | undefined;
  /** Absent before the first run has looked at the tables. */
  readonly mapping?: MappingNote;
  /** How the changes since the start were told; absent before the first. */
  readonly coverage?: MappingCoverage;
  /** Schema changes seen since the start. */
  readonly drift: readonly DriftNote[];
  /** Streams that were to be read anew and could not be, the last hundred since the start; absent for none. */
  readonly notReadAnew?: readonly NotReadAnew[];
  /** What the last attempt ended with; absent while one runs well, and after one that was stopped. */
  readonly failure?: { readonly code: string; readonly message: string; readonly hint: string };
}

export interface MappingNote {
  /** The store's number of the mapping that events are told by. */
  readonly version: number;
  /** The checkpoint from which on they are; absent for the mapping of the first baseline. */
  readonly since?: Position;
}

export interface BaselineProgress {
  /** Under one snapshot of all tables, or in chunks beside the log. */
  readonly mode: "snapshot" | "chunks";
  /** Why it is made in this way. */
  readonly why: string;
  /** True when an earlier baseline was interrupted and this one began anew. */
  readonly restarted: boolean;
  readonly rowsRead: number;
  /** By what is known now; below `rowsRead` when more was read than was estimated. */
  readonly rowsEstimated: number;
  readonly aggregates: number;
  /** In the last seconds in which it did not rest; 0 as long as that is not known. */
  readonly rowsPerSecond: number;
  /** Length of the baseline events, in characters. */
  readonly bytesRead: number;
  /** At that rate; 0 as long as it is not known, and where no further rows are expected. */
  readonly secondsLeft: number;
  /** Chunks written so far; 0 under one snapshot. */
  readonly chunks: number;
  /** Stream types in chunks. */
  readonly streams: { readonly done: number; readonly total: number };
  /** True while an operator lets it rest. */
  readonly paused: boolean;
  /** What it rests for, altogether or now and then; empty while it is read without rests. */
  readonly backingOff: string;
}

export interface NotReadAnew {
  readonly stream: string;
  /** For people. */
  readonly why: string;
}

export type DriftNote = Omit<Drift, "broken"> & { readonly stops: string | undefined };

export const EMPTY_LEDGER: Ledger = {
  changesIn: 0,
  changesClaimed: 0,
  changesFallback: 0,
  changesUnchanged: 0,
  changesParked: 0,
  changesEchoed: 0,
  events: 0,
  baselined: 0,
  baselineRows: 0,
  transactions: 0,
};

export function addLedger(total: Ledger, delta: Partial<Ledger>): Ledger {
  const sum: Record<string, number> = { ...total };
  for (const [name, value] of Object.entries(delta)) sum[name] = (sum[name] ?? 0) + value;
  return sum as unknown as Ledger;
}
