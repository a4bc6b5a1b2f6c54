import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { expect } from "vitest";
import { seedShop, shopFolder, TABLES } from "../../examples/shop-postgres/seed.ts";
import { connect, disconnect } from "../../connectors/postgres/session.ts";
import { postgresLegacyWriter } from "../../connectors/postgres/legacy-writer.ts";
import { loadConfig } from "../../src/config/load-config.ts";
import type { StreamRef } from "../../src/mapping/rules.ts";
import { CODECS, cellToJson } from "../../src/model/codec.ts";
import { cellOf } from "../../src/model/column-definition.ts";
import type { MappingDefinition, StreamDefinition } from "../../src/model/mapping-definition.ts";
import { Folder, type FoldedRow, type StreamState } from "../../src/projection/fold.ts";
import { newestDefinition } from "../../src/reverse/apply-natives.ts";
import { runReverse, type ReverseOptions } from "../../src/reverse/run-reverse.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { sourceDatabase, type SourceDatabase } from "../connectors/postgres/source-support.ts";
import type { TestDatabase } from "../support/databases.ts";
import { openCapture, type Capture } from "../support/pipeline-capture.ts";

export const PIPELINE = "shop";
const REACH_MS_MAX = 100_000;

export interface NativeEvent {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** A captured database, and a store with its history, to which a service appends. */
export interface ReverseWorld extends AsyncDisposable {
  readonly db: SourceDatabase;
  readonly store: EventStore;
  readonly storeDatabase: TestDatabase;
  readonly streams: Readonly<Record<string, StreamRef>>;
  readonly capture: Capture;
  readonly mappings: ReadonlyMap<number, MappingDefinition>;
  definition(streamType: string): StreamDefinition;
  /** Appends as a service does. @returns the version of the last event */
  append(stream: string, events: readonly NativeEvent[]): Promise<number>;
  /** Writes back until all native events that are stored now were looked at. */
  writeBack(more?: Partial<ReverseOptions>): Promise<void>;
  start(more?: Partial<ReverseOptions>): RunningReverse;
  /** Folds every stream of a type and compares that with the tables, row by row. */
  expectRowsAreFolds(streamType: string): Promise<number>;
}

export interface RunningReverse {
  readonly ended: Promise<void>;
  reach(): Promise<void>;
  stop(): Promise<void>;
}

export async function shopWorld(label: string, orders = 20): Promise<ReverseWorld> {
  const db = await sourceDatabase(label);
  await seedShop({ url: db.url, orders, seed: 7 });
  await db.query(
    `CREATE PUBLICATION "${db.publication.replaceAll('"', '""')}" FOR TABLE ${TABLES.join(", ")}`,
  );
  process.env["SHOP_URL"] = db.url;
  const { streams } = await loadConfig(join(shopFolder(), "banyan.config.ts"));
  return await worldOf(db, streams);
}

/** @param db with its tables and its publication */
export async function worldOf(
  db: SourceDatabase,
  streams: Readonly<Record<string, StreamRef>>,
): Promise<ReverseWorld> {
  const opened = await openTestStore(`${db.name.slice(0, 20)}_store`);
  const { store, database } = opened;
  const capture = await openCapture({
    name: PIPELINE,
    openSource: () => db.open(),
    store,
    streams,
  });
  await capture.catchUp();
  const mappings = await store.mappings();
  const version = Math.max(...mappings.keys());
  const folder = new Folder(mappings, new Map());
  const definition = (type: string): StreamDefinition => newestDefinition(mappings, type)!;
  const start = (more: Partial<ReverseOptions> = {}): RunningReverse =>
    startReverse(store, {
      pipeline: PIPELINE,
      store,
      streams,
      openLegacy: () => postgresLegacyWriter({ url: db.url, pipeline: PIPELINE }),
      ...more,
    });
  return {
    db,
    store,
    storeDatabase: database,
    streams,
    capture,
    mappings,
    definition,
    start,
    append: (stream, events) => appendNative(database, version, stream, events),
    async writeBack(more = {}) {
      const running = start(more);
      try {
        await running.reach();
      } finally {
        await running.stop();
      }
    },
    async expectRowsAreFolds(streamType) {
      return await compareRows(db.url, store, folder, streamType, definition(streamType));
    },
    async [Symbol.asyncDispose]() {
      await capture[Symbol.asyncDispose]();
      await opened[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

export function startReverse(store: EventStore, options: ReverseOptions): RunningReverse {
  const stopping = new AbortController();
  let isOver = false;
  const ended = runReverse(options, stopping.signal).finally(() => (isOver = true));
  ended.catch(() => undefined);
  return {
    ended,
    async reach() {
      const deadline = Date.now() + REACH_MS_MAX;
      for (;;) {
        const status = await store.reverse.status(options.pipeline, 0);
        const page = await store.reverse.natives(status?.cursor, 1);
        if (status !== undefined && page.natives.length === 0 && page.isEnd) return;
        if (isOver) await ended.then(() => Promise.reject(new Error("the way back ended")));
        if (Date.now() > deadline) throw new Error("the way back did not get there in time");
        await sleep(10);
      }
    },
    async stop() {
      stopping.abort();
      await ended;
    },
  };
}

async function appendNative(
  database: TestDatabase,
  mapping: number,
  stream: string,
  events: readonly NativeEvent[],
): Promise<number> {
  const { rows } = await database.query(
    `INSERT INTO banyan.events (event_id, version, time, origin, stream_id, type, mapping_version, data)
     SELECT e.id, e.n + coalesce((SELECT max(version) FROM banyan.events WHERE stream_id = $1), 0), now(), 'native', $1, e.type, $2, e.data
       FROM unnest($3::uuid[], $4::text[], $5::jsonb[]) WITH ORDINALITY e (id, type, data, n) ORDER BY e.n
     RETURNING version`,
    [
      stream,
      mapping,
      events.map(() => randomUUID()),
      events.map(({ type }) => type),
      events.map(({ data }) => JSON.stringify(data)),
    ],
  );
  return (rows.at(-1) as { version: number }).version;
}

/** Cells as the data of an event. */
export function dataOf(
  definition: StreamDefinition,
  role: string,
  row: Readonly<Record<string, string | null>>,
): Record<string, unknown> {
  const { columns } = definition.roles[role]!;
  return Object.fromEntries(
    Object.entries(row).map(([name, cell]) => {
      const { codec } = columns.find((column) => column.name === name)!;
      return [name, JSON.parse(cellToJson(CODECS[codec], cell)) as unknown];
    }),
  );
}

export async function compareRows(
  url: string,
  store: EventStore,
  folder: Folder,
  streamType: string,
  { roles }: StreamDefinition,
): Promise<number> {
  const folded = new Map(Object.keys(roles).map((role) => [role, [] as FoldedRow[]]));
  let stream = "";
  let state: StreamState = new Map();
  const collect = (): void => {
    for (const [role, rows] of state) folded.get(role)!.push(...rows.values());
  };
  for await (const events of store.readStreamType(streamType, AbortSignal.timeout(REACH_MS_MAX))) {
    for (const event of events) {
      if (event.stream !== stream) {
        collect();
        stream = event.stream;
        state = new Map();
      }
      folder.apply(state, event);
    }
  }
  collect();
  let count = 0;
  const client = await connect({ url, applicationName: "test" });
  try {
    for (const [role, { table, columns }] of Object.entries(roles)) {
      const names = columns.map(({ name }) => name);
      const list = names.map((name) => pg.escapeIdentifier(name));
      const cells = list.map(
        (name) => `CASE WHEN num_nulls(${name}) = 0 THEN concat(${name}) END AS ${name}`,
      );
      const { rows } = await client.query<Record<string, string | null>>(
        `SELECT ${cells.join(", ")} FROM ${table}`,
      );
      const expected = folded
        .get(role)!
        .map((row) =>
          Object.fromEntries(columns.map((column) => [column.name, cellOf(row, column)])),
        );
      expect(sorted(rows), `rows of ${table}`).toEqual(sorted(expected));
      count += rows.length;
    }
  } finally {
    await disconnect(client);
  }
  return count;
}

function sorted(rows: readonly object[]): string[] {
  return rows.map((row) => JSON.stringify(row)).sort();
}
