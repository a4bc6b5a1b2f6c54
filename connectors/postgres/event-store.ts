import { setTimeout as sleep } from "node:timers/promises";
import type pg from "pg";
import { PostgresDualStore } from "./dual-store.ts";
import { disconnect } from "./session.ts";
import { appendEvents } from "./store-append.ts";
import { PostgresCaptureWriter } from "./store-capture.ts";
import {
  pauseBaseline,
  readRebaselined,
  readRebaselineRequests,
  readRebaselineTally,
  readRequests,
  noteAttempts,
  requestRebaseline,
  withdrawRebaselines,
} from "./store-baselines.ts";
import { classifyStore } from "./store-errors.ts";
import { readFeed, readStreamPages, VERSION_MAX } from "./store-events.ts";
import { readFeedHold } from "./store-feed-hold.ts";
import { copyStreamType } from "./store-fold.ts";
import { migrateStore } from "./store-migrations.ts";
import { copyRecentVersions } from "./store-recent-versions.ts";
import { PostgresQuarantine } from "./store-quarantine.ts";
import { PostgresParityStore } from "./store-parity.ts";
import { PostgresReverseStore } from "./store-reverse.ts";
import { PostgresServiceStore } from "./store-services.ts";
import { listStreams } from "./store-stream-list.ts";
import {
  EVENT_COLUMNS,
  PIPELINE_COLUMNS,
  pipelineRecord,
  recordedEvent,
  type EventRow,
  type PipelineRow,
} from "./store-rows.ts";
import {
  closePool,
  openPipeliningSession,
  openPool,
  openSession,
  resolveStoreUrl,
} from "./store-session.ts";
import { hasWriter, takeOver } from "./store-takeover.ts";
import { readRanges } from "./stream-ranges.ts";
import type { DualStore } from "../../src/store/dual-store.ts";
import type { ParityStore } from "../../src/store/parity-store.ts";
import type { ReverseStore } from "../../src/store/reverse-store.ts";
import type { ServiceStore } from "../../src/store/service-store.ts";
import type { NewEvent, RecordedEvent } from "../../src/model/event.ts";
import type { MappingDefinition } from "../../src/model/mapping-definition.ts";
import type { Position } from "../../src/model/position.ts";
import type {
  AppendResult,
  CaptureWriter,
  EventStore,
  ExpectedVersion,
  FeedCursor,
  FeedHold,
  FeedPage,
  FoldEvent,
  ListedStream,
  PipelineRecord,
  PipelineRequests,
  Quarantine,
  Rebaselined,
  RebaselineRequest,
  RebaselineTally,
  StreamVersionPage,
} from "../../src/store/event-store.ts";

export interface PostgresEventStoreOptions {
  /** `postgres://user:password@host:port/database?sslmode=…` */
  readonly url: string;
  /** Sessions for short statements, 1 to 100. A capture writer and each reader of a stream type have one of their own beside. */
  readonly sessionsMax?: number;
}

const SESSIONS_MAX_DEFAULT = 4;
/** What is under way when the store is closed gets so long to end. */
const DRAIN_MS_MAX = 5_000;

/**
 * Opens the event store in schema `banyan` of a database. Nothing is made before
 * {@link EventStore.migrate}.
 *
 * @throws BanyanError `STORE_UNREACHABLE`, `STORE_REFUSED`
 */
export async function openPostgresEventStore(
  options: PostgresEventStoreOptions,
): Promise<EventStore> {
  const url = await resolveStoreUrl(options.url);
  return new PostgresEventStore(openPool(url, options.sessionsMax ?? SESSIONS_MAX_DEFAULT), url);
}

class PostgresEventStore implements EventStore {
  readonly quarantine: Quarantine;
  readonly parity: ParityStore;
  readonly dual: DualStore;
  readonly reverse: ReverseStore;
  readonly services: ServiceStore;
  readonly #pool: pg.Pool;
  readonly #url: string;
  /** Short calls under way. */
  readonly #calls = new Set<Promise<unknown>>();
  #closed: Promise<void> | undefined;

  constructor(pool: pg.Pool, url: string) {
    this.#pool = pool;
    this.#url = url;
    this.quarantine = new PostgresQuarantine(pool);
    this.reverse = new PostgresReverseStore(pool);
    this.parity = new PostgresParityStore(pool, () => openSession(url));
    this.dual = new PostgresDualStore(pool);
    this.services = new PostgresServiceStore(pool);
  }

  async migrate(): Promise<void> {
    const client = await openSession(this.#url);
    try {
      await migrateStore(client);
    } catch (error) {
      throw classifyStore(error, "bringing the store's schema up to date");
    } finally {
      await disconnect(client);
    }
  }

  append(
    stream: string,
    events: readonly NewEvent[],
    expected: ExpectedVersion,
  ): Promise<AppendResult> {
    return this.#begun(appendEvents(this.#pool, stream, events, expected));
  }

  async *readStream(
    stream: string,
    range: { readonly fromVersion?: number; readonly toVersion?: number } = {},
  ): AsyncGenerator<RecordedEvent, void, void> {
    try {
      yield* readStreamPages(this.#pool, stream, range);
    } catch (error) {
      throw classifyStore(error, `reading ${stream}`);
    }
  }

  async *readStreams(streams: readonly string[]): AsyncGenerator<RecordedEvent, void, void> {
    const ask = async (sql: string, values: readonly unknown[]): Promise<readonly EventRow[]> =>
      (await this.#pool.query<EventRow>(sql, [...values])).rows;
    const ranges = streams.map((stream) => ({ stream, fromVersion: 1, toVersion: VERSION_MAX }));
    try {
      for await (const rows of readRanges(EVENT_COLUMNS, ask, ranges))
        yield* rows.map(recordedEvent);
    } catch (error) {
      throw classifyStore(error, `reading ${streams.length} streams`);
    }
  }

  readAll(after: FeedCursor | undefined, limit: number): Promise<FeedPage> {
    return this.#read("reading events", () => readFeed(this.#pool, after, limit));
  }

  feedHold(): Promise<FeedHold | undefined> {
    return this.#read("asking what readers wait for", () => readFeedHold(this.#pool));
  }

  async *readStreamType(
    streamType: string,
    signal: AbortSignal,
  ): AsyncGenerator<readonly FoldEvent[], void, void> {
    const client = await openSession(this.#url);
    try {
      yield* copyStreamType(client, streamType, signal);
    } catch (error) {
      throw signal.aborted
        ? signal.reason
        : classifyStore(error, `reading the streams of ${streamType}`);
    } finally {
      await disconnect(client);
    }
  }

  listStreams(
    streamType: string,
    after: string | undefined,
    limit: number,
  ): Promise<readonly ListedStream[]> {
    return this.#read(`listing the streams of ${streamType}`, () =>
      listStreams(this.#pool, streamType, after, limit),
    );
  }

  async *recentVersions(
    eventsMax: number,
    signal: AbortSignal,
  ): AsyncGenerator<StreamVersionPage, void, void> {
    const client = await openSession(this.#url);
    try {
      yield* copyRecentVersions(client, eventsMax, signal);
    } catch (error) {
      throw signal.aborted ? signal.reason : classifyStore(error, "reading where streams stand");
    } finally {
      await disconnect(client);
    }
  }

  mappings(): Promise<ReadonlyMap<number, MappingDefinition>> {
    return this.#read("reading mappings", async () => {
      const { rows } = await this.#pool.query<{ version: number; definition: MappingDefinition }>(
        "SELECT version, definition FROM banyan.mappings ORDER BY version",
      );
      return new Map(rows.map((row) => [row.version, row.definition]));
    });
  }

  pipeline(name: string): Promise<PipelineRecord | undefined> {
    return this.#read("reading the pipeline", async () => {
      const { rows } = await this.#pool.query<PipelineRow & { uri: string }>(
        `SELECT ${PIPELINE_COLUMNS}, s.uri FROM banyan.pipelines p JOIN banyan.sources s ON s.id = p.source_id WHERE p.name = $1`,
        [name],
      );
      return rows[0] === undefined ? undefined : pipelineRecord(rows[0], rows[0].uri);
    });
  }

  async openCapture(pipeline: string, source: string, ifFree?: "if-free"): Promise<CaptureWriter> {
    const client = await openPipeliningSession(this.#url);
    try {
      return new PostgresCaptureWriter(
        client,
        this.#pool,
        await takeOver(client, pipeline, source, ifFree),
      );
    } catch (error) {
      await disconnect(client);
      throw error;
    }
  }

  isCaptured(pipeline: string): Promise<boolean> {
    return this.#read("asking who captures", () => hasWriter(this.#pool, pipeline));
  }

  requests(pipeline: string): Promise<PipelineRequests> {
    return this.#read("asking what is requested", () => readRequests(this.#pool, pipeline));
  }

  pauseBaseline(pipeline: string, paused: boolean): Promise<boolean> {
    return this.#read("pausing the baseline", () => pauseBaseline(this.#pool, pipeline, paused));
  }

  requestRebaseline(pipeline: string, streams: readonly string[], reason: string): Promise<number> {
    return this.#read("asking for a rebaseline", () =>
      requestRebaseline(this.#pool, pipeline, streams, reason),
    );
  }

  rebaselineRequests(
    pipeline: string,
    after: string,
    limit: number,
  ): Promise<readonly RebaselineRequest[]> {
    return this.#read("reading what is to be rebaselined", () =>
      readRebaselineRequests(this.#pool, pipeline, after, limit),
    );
  }

  rebaselineTally(pipeline: string, after: string): Promise<RebaselineTally> {
    return this.#read("counting what is to be rebaselined", () =>
      readRebaselineTally(this.#pool, pipeline, after),
    );
  }

  noteAttempts(ids: readonly string[], by: 1 | -1): Promise<void> {
    return this.#read("noting what is being rebaselined", () => noteAttempts(this.#pool, ids, by));
  }

  withdrawRebaselines(pipeline: string, streams?: readonly string[]): Promise<number> {
    return this.#read("withdrawing what was to be rebaselined", () =>
      withdrawRebaselines(this.#pool, pipeline, streams),
    );
  }

  rebaselined(pipeline: string, after: Position): Promise<readonly Rebaselined[]> {
    return this.#read("reading what was rebaselined", () =>
      readRebaselined(this.#pool, pipeline, after),
    );
  }

  /** Ends after what was begun, which the pool would otherwise leave waiting for a session. */
  async close(): Promise<void> {
    this.#closed ??= this.#end();
    await this.#closed;
  }

  async #end(): Promise<void> {
    const late = new AbortController();
    const begun = Promise.allSettled([...this.#calls]);
    await Promise.race([begun, sleep(DRAIN_MS_MAX, undefined, { signal: late.signal })]);
    late.abort();
    await closePool(this.#pool);
  }

  #read<T>(doing: string, call: () => Promise<T>): Promise<T> {
    const classified = async (): Promise<T> => {
      try {
        return await call();
      } catch (error) {
        throw classifyStore(error, doing);
      }
    };
    return this.#begun(classified());
  }

  #begun<T>(call: Promise<T>): Promise<T> {
    this.#calls.add(call);
    const ended = (): void => void this.#calls.delete(call);
    call.then(ended, ended);
    return call;
  }
}
