import type { Position } from "./position.ts";

/** Where an event came from. */
export type Origin = "baseline" | "capture" | "native" | "import";

/** What the events of one source transaction share; one object per transaction, held by reference. */
export interface EventContext {
  readonly origin: Origin;
  readonly sourceTransaction: string | undefined;
  readonly correlationId: string | undefined;
  readonly causationId: string | undefined;
  readonly actor: string | undefined;
  /** JSON object text, or undefined. */
  readonly metadata: string | undefined;
  readonly mappingVersion: number;
}

/**
 * Events on their way to the store, column by column: row `i` is the `i`-th entry of each array.
 *
 * Arrays rather than objects because this is the path of every change; `length` says how many rows.
 */
export interface EventBatch {
  readonly length: number;
  /** Event ids, 16 bytes each. */
  readonly ids: Uint8Array;
  readonly streams: readonly string[];
  readonly versions: readonly number[];
  readonly types: readonly string[];
  /** Valid time, microseconds since 1970-01-01 UTC. */
  readonly timesUs: readonly number[];
  readonly positions: readonly Position[];
  /** JSON object text. */
  readonly data: readonly string[];
  readonly contexts: readonly EventContext[];
  /** Overrides `contexts[i].causationId` where set (sparse). */
  readonly causationIds: ReadonlyMap<number, string>;
}

/** An event read back from the store. */
export interface RecordedEvent {
  readonly id: string;
  readonly source: string;
  readonly stream: string;
  readonly version: number;
  readonly type: string;
  /** Valid time: when it happened in the business. ISO 8601 with microseconds, UTC. */
  readonly time: string;
  /** When Banyan stored it. ISO 8601 with microseconds, UTC. */
  readonly recordedTime: string;
  readonly origin: Origin;
  readonly schemaVersion: number;
  readonly sourcePosition: Position | undefined;
  readonly sourceTransaction: string | undefined;
  readonly mappingVersion: number | undefined;
  readonly correlationId: string | undefined;
  readonly causationId: string | undefined;
  readonly actor: string | undefined;
  readonly metadata: Readonly<Record<string, unknown>> | undefined;
  readonly data: Readonly<Record<string, unknown>>;
}

/** What a service appends. The store adds stream, version, recorded time and position. */
export interface NewEvent {
  /** UUID; made by the caller so that repeating the append is harmless. */
  readonly id: string;
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** ISO 8601; now when absent. */
  readonly time?: string;
  readonly origin?: Origin;
  readonly schemaVersion?: number;
  readonly correlationId?: string;
  readonly causationId?: string;
  readonly actor?: string;
  readonly metadata?: Readonly<Record<string, unknown>>;
}
