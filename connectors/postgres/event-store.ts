import pg from "pg";
import { connect, disconnect } from "./session.ts";
import { classify } from "./sqlstate.ts";
import { classifyStore, PostgresCaptureWriter } from "./store-capture.ts";
import { migrateStore } from "./store-migrations.ts";
import { PostgresQuarantine } from "./store-quarantine.ts";
import {
  EVENT_COLUMNS, EVENT_TABLES, pipelineRecord, recordedEvent, type EventRow, type PipelineRow,
} from "./store-rows.ts";
import { BanyanError, invariant } from "../../src/model/errors.ts";
import type { NewEvent, Origin, RecordedEvent } from "../../src/model/event.ts";
import type { MappingDefinition } from "../../src/model/mapping-definition.ts";
import type {
  AppendResult, CaptureWriter, EventStore, ExpectedVersion, FeedCursor, FeedPage, FoldEvent,
  PipelineRecord, Quarantine,
} from "../../src/store/event-store.ts";

const APPLICATION = "banyan-store";
const SESSIONS_MAX = 6;
const PAGE = 1_000;
const FOLD_PAGE = 2_000;

/** Opens the event store in schema `banyan` of a database. Nothing is made before {@link EventStore.migrate}. */
export async function openPostgresEventStore(options: {
  readonly url: string;
}): Promise<EventStore> {
  const pool = new pg.Pool({
    connectionString: options.url,
    max: SESSIONS_MAX,
    application_name: APPLICATION,
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
  });
  // An idle session that breaks is replaced; without a listener it would end the process.
  pool.on("error", () => undefined);
  const store = new PostgresEventStore(pool, options.url);
  try {
    await store.ping();
  } catch (error) {
    await store.close();
    throw error;
  }
  return store;
}

class PostgresEventStore implements EventStore {
  readonly quarantine: Quarantine;
  readonly #pool: pg.Pool;
  readonly #url: string;

  constructor(pool: pg.Pool, url: string) {
    this.#pool = pool;
    this.#url = url;
    this.quarantine = new PostgresQuarantine(pool);
  }

  async ping(): Promise<void> {
    await this.#query("connecting", "SELECT 1", []);
  }

  async migrate(): Promise<void> {
    const client = await this.#session();
    try {
      await migrateStore(client);
    } catch (error) {
      throw classify(error, "store", "bringing the store's schema up to date");
    } finally {
      await disconnect(client);
    }
  }

  async append(
    stream: string,
    events: readonly NewEvent[],
    expected: ExpectedVersion,
  ): Promise<AppendResult> {
    invariant(events.length > 0, "an append holds at least one event");
    const client = await this.#pool.connect().catch((error: unknown) => {
      throw classify(error, "store", "appending");
    });
    try {
      await client.query("BEGIN");
      const result = await appendIn(client, stream, events, expected);
      await client.query("COMMIT");
      return result;
    } catch (error) {
      await client.query("ROLLBACK").catch(() => undefined);
      const classified = classifyStore(error, "appending");
      // The same ids may have been written by a twin of this call just now.
      if (isDuplicateId(error)) return await this.#firstResult(stream, events, classified);
      throw classified;
    } finally {
      client.release();
    }
  }

  async *readStream(
    stream: string,
    range: { readonly fromVersion?: number; readonly toVersion?: number } = {},
  ): AsyncGenerator<RecordedEvent, void, void> {
    let next = range.fromVersion ?? 1;
    const last = range.toVersion ?? 2 ** 31 - 1;
    for (;;) {
      const rows = await this.#query<EventRow>(
        "reading a stream",
        `SELECT ${EVENT_COLUMNS} FROM ${EVENT_TABLES}
          WHERE e.stream_id = $1 AND e.version BETWEEN $2 AND $3 ORDER BY e.version LIMIT ${PAGE}`,
        [stream, next, last],
      );
      for (const row of rows) yield recordedEvent(row);
      if (rows.length < PAGE) return;
      next = rows.at(-1)!.version + 1;
    }
  }

  async readAll(after: FeedCursor | undefined, limit: number): Promise<FeedPage> {
    invariant(limit >= 1 && limit <= 10_000, "a page holds 1 to 10,000 events");
    const [transaction, position] = after === undefined ? ["0", "0"] : after.split("/");
    const rows = await this.#query<EventRow>(
      "reading events",
      `SELECT ${EVENT_COLUMNS} FROM ${EVENT_TABLES}
        WHERE (e.transaction_id, e.position) > ($1::xid8, $2::bigint)
          AND e.transaction_id < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY e.transaction_id, e.position LIMIT $3`,
      [transaction, position, limit],
    );
    const last = rows.at(-1);
    const next =
      last === undefined ? after : (`${last.transaction_id}/${last.position}` as FeedCursor);
    return { events: rows.map(recordedEvent), next };
  }

  async *readStreamType(
    streamType: string,
    signal: AbortSignal,
  ): AsyncGenerator<readonly FoldEvent[], void, void> {
    const client = await this.#session();
    try {
      await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
      // The prefix as a range of the index: "." follows "-" in byte order.
      await client.query(
        `DECLARE folds NO SCROLL CURSOR FOR
         SELECT stream_id, version, type, data, origin, mapping_version, source_transaction, time
           FROM banyan.events WHERE stream_id >= ${pg.escapeLiteral(`${streamType}-`)} AND stream_id < ${pg.escapeLiteral(`${streamType}.`)}
          ORDER BY stream_id, version`,
      );
      const fetch = (): Promise<pg.QueryArrayResult<FoldRow>> =>
        client.query<FoldRow>({ text: `FETCH ${FOLD_PAGE} FROM folds`, rowMode: "array" });
      let page = await fetch();
      while (page.rows.length > 0 && !signal.aborted) {
        const following = fetch();
        following.catch(() => undefined);
        yield page.rows.map(foldEvent);
        page = await following;
      }
    } catch (error) {
      throw classify(error, "store", `reading the streams of ${streamType}`);
    } finally {
      await disconnect(client);
    }
  }

  async mappings(): Promise<ReadonlyMap<number, MappingDefinition>> {
    const rows = await this.#query<{ version: number; definition: MappingDefinition }>(
      "reading mappings",
      "SELECT version, definition FROM banyan.mappings ORDER BY version",
      [],
    );
    return new Map(rows.map((row) => [row.version, row.definition]));
  }

  async pipeline(name: string): Promise<PipelineRecord | undefined> {
    const rows = await this.#query<PipelineRow & { uri: string }>(
      "reading the pipeline",
      "SELECT p.*, s.uri FROM banyan.pipelines p JOIN banyan.sources s ON s.id = p.source_id WHERE p.name = $1",
      [name],
    );
    const row = rows[0];
    return row === undefined ? undefined : pipelineRecord(row, row.uri);
  }

  async openCapture(pipeline: string, source: string): Promise<CaptureWriter> {
    const client = await this.#session();
    try {
      return await PostgresCaptureWriter.open(client, this.#pool, pipeline, source);
    } catch (error) {
      await disconnect(client);
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.#pool.end().catch(() => undefined);
  }

  #session(): Promise<pg.Client> {
    return connect({ url: this.#url, applicationName: APPLICATION, side: "store" });
  }

  async #firstResult(
    stream: string,
    events: readonly NewEvent[],
    failure: BanyanError,
  ): Promise<AppendResult> {
    const first = await findRepeat(this.#pool, stream, events);
    if (first === undefined) throw failure;
    return first;
  }

  async #query<R extends object>(doing: string, sql: string, values: unknown[]): Promise<R[]> {
    try {
      return (await this.#pool.query<R>(sql, values)).rows;
    } catch (error) {
      throw classify(error, "store", doing);
    }
  }
}

type FoldRow = [string, number, string, Record<string, unknown>, Origin, number | null, string | null, Date];

function foldEvent(row: FoldRow): FoldEvent {
  return {
    stream: row[0],
    version: row[1],
    type: row[2],
    data: row[3],
    origin: row[4],
    mappingVersion: row[5] ?? undefined,
    sourceTransaction: row[6] ?? undefined,
    time: String(row[7]),
  };
}

function isDuplicateId(error: unknown): boolean {
  const { code, constraint } = error as { code?: string; constraint?: string };
  return code === "23505" && constraint === "events_event_id_key";
}

async function appendIn(
  client: pg.PoolClient,
  stream: string,
  events: readonly NewEvent[],
  expected: ExpectedVersion,
): Promise<AppendResult> {
  const repeat = await findRepeat(client, stream, events);
  if (repeat !== undefined) return repeat;
  const { rows } = await client.query<{ version: number }>(
    "SELECT coalesce(max(version), 0) AS version FROM banyan.events WHERE stream_id = $1",
    [stream],
  );
  const current = rows[0]!.version;
  if (!isAsExpected(current, expected)) {
    throw new BanyanError(
      "STREAM_VERSION_CONFLICT",
      `${stream} is at version ${current}, expected ${expected}`,
      { detail: { current } },
    );
  }
  const of = <T>(pick: (event: NewEvent) => T): T[] => events.map(pick);
  await client.query(
    `INSERT INTO banyan.events (event_id, version, time, origin, stream_id, type, schema_version, correlation_id, causation_id, actor, metadata, data)
     SELECT e.id, $2 + e.n, coalesce(e.time, now()), e.origin, $1, e.type, e.schema, e.correlation, e.causation, e.actor, e.metadata, e.data
       FROM unnest($3::uuid[], $4::timestamptz[], $5::banyan.event_origin[], $6::text[], $7::smallint[], $8::text[], $9::text[], $10::text[], $11::jsonb[], $12::jsonb[])
            WITH ORDINALITY AS e(id, time, origin, type, schema, correlation, causation, actor, metadata, data, n)`,
    [
      stream,
      current,
      of((e) => e.id),
      of((e) => e.time ?? null),
      of((e) => e.origin ?? "native"),
      of((e) => e.type),
      of((e) => e.schemaVersion ?? 1),
      of((e) => e.correlationId ?? null),
      of((e) => e.causationId ?? null),
      of((e) => e.actor ?? null),
      of((e) => (e.metadata === undefined ? null : JSON.stringify(e.metadata))),
      of((e) => JSON.stringify(e.data)),
    ],
  );
  return { firstVersion: current + 1, lastVersion: current + events.length };
}

/** The first result of the same append, when all of its ids stand in the stream already, in order. */
async function findRepeat(
  client: pg.PoolClient | pg.Pool,
  stream: string,
  events: readonly NewEvent[],
): Promise<AppendResult | undefined> {
  const ids = events.map((event) => event.id);
  const { rows } = await client.query<{ event_id: string; stream_id: string; version: number }>(
    "SELECT event_id, stream_id, version FROM banyan.events WHERE event_id = ANY($1::uuid[]) ORDER BY version",
    [ids],
  );
  if (rows.length === 0) return undefined;
  const same = rows.length === ids.length && rows.every((row, i) => row.stream_id === stream && row.event_id === ids[i]!.toLowerCase());
  if (!same) {
    throw new BanyanError("STREAM_VERSION_CONFLICT", `some of these events of ${stream} are stored already, but not as one append`, {
      detail: { known: rows.length, given: ids.length },
    });
  }
  return { firstVersion: rows[0]!.version, lastVersion: rows.at(-1)!.version };
}

export function isAsExpected(current: number, expected: ExpectedVersion): boolean {
  switch (expected) {
    case "any":
      return true;
    case "none":
      return current === 0;
    case "exists":
      return current > 0;
    default:
      return current === expected;
  }
}
