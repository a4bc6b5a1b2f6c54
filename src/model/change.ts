import type { Cells, SourceTable } from "./table.ts";
import type { Position } from "./position.ts";

export type Operation = "insert" | "update" | "delete";

/**
 * One row change as the log tells it.
 *
 * `before` is absent for inserts, and for updates and deletes of a table whose log does not carry it;
 * with replica identity `default` it may hold only the key columns, the others `undefined`.
 * `after` is absent for deletes.
 */
export interface RowChange {
  readonly kind: Operation;
  readonly table: SourceTable;
  /** Place in the transaction, from 1, counting row changes and truncations. */
  readonly ordinal: number;
  before: Cells | undefined;
  after: Cells | undefined;
  /**
   * Set by the pipeline, never by a source: only this side of a row's move between two streams is
   * meant, because each stream is mapped for itself.
   */
  readonly half?: "left" | "joined";
}

/** TRUNCATE of one table; several tables truncated by one statement are several of these. */
export interface TruncateChange {
  readonly kind: "truncate";
  readonly table: SourceTable;
  readonly ordinal: number;
}

export type Change = RowChange | TruncateChange;

/** Who and why, as the legacy application said it in the transaction. Merged when said more than once. */
export interface Intent {
  readonly actor?: string;
  readonly correlationId?: string;
  readonly causationId?: string;
  /** Everything else that was said, e.g. `reason`. */
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** What all changes of one source transaction share. */
export interface SourceTransaction {
  /** The source's transaction id; for Postgres the 64-bit xid in decimal. */
  readonly id: string;
  /**
   * 16 upper-case hexadecimal digits of a 64-bit number that grows in commit order (the LSN of the
   * commit record, the cluster time); prefix of the positions of the transaction's changes.
   */
  readonly commit: string;
  /** Checkpoint after this transaction: what is acknowledged once its events are durable. */
  readonly end: Position;
  /** Microseconds since 1970-01-01 UTC. */
  readonly committedAtUs: number;
  /**
   * Streams whose rows Banyan itself brought to what the store's events say, as the transaction says of
   * itself. Absent where there are none; complete with the last part at the latest.
   */
  readonly echo?: readonly Echo[];
}

/** What came from the store's events comes back through the log. */
export interface Echo {
  readonly stream: string;
  /** Of the last event that is in the rows. */
  readonly version: number;
}

/**
 * A whole transaction, or one bounded part of a large one.
 *
 * `intent` is complete only in the last part, because it may be said anywhere in the transaction.
 */
export interface TransactionPart {
  readonly transaction: SourceTransaction;
  readonly changes: readonly Change[];
  readonly intent: Intent | undefined;
  /** Bytes of log that the changes came in; for limits on memory, not exact. */
  readonly bytes: number;
  /** True when the transaction ends with this part; only then may its position be acknowledged. */
  readonly last: boolean;
}
