import pg from "pg";
import { child, stream, table, type StreamRef } from "../../src/mapping/rules.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { sourceDatabase, type SourceDatabase } from "../connectors/postgres/source-support.ts";
import { startPipeline, type LivePipeline } from "./live-pipeline.ts";
import type { StreamShape } from "./unbroken-streams.ts";
import type { PipelineOptions } from "../../src/pipeline/pipeline.ts";
import type { EventStore } from "../../src/store/event-store.ts";

const customer = table<{ id: string; n: number }>("customer");
const address = table<{ id: number; customer_id: string; n: number }>("address");
const parcel = table<{ region: string; no: number; n: number }>("parcel");
const leg = table<{ id: number; region: string; no: number; n: number }>("leg");
const ticket = table<{ id: number; n: number }>("ticket");
const remark = table<{ id: number; ticket_id: number; n: number }>("remark");

/** One stream type with a uuid key, one with a key of text and number, one with a number. */
export const STREAMS: Readonly<Record<string, StreamRef>> = {
  customer: stream(customer, {
    children: { addresses: child(address, { customer_id: "id" }) },
    otherwise: "CustomerAmended",
    truncate: "events",
  }),
  parcel: stream(parcel, {
    children: { legs: child(leg, { region: "region", no: "no" }) },
    otherwise: "ParcelAmended",
    truncate: "events",
  }),
  ticket: stream(ticket, {
    children: { remarks: child(remark, { ticket_id: "id" }) },
    otherwise: "TicketAmended",
    truncate: "events",
  }),
};

/** The same as a config, of the variables SOURCE_URL, STORE_URL, SLOT and PUBLICATION. */
export const CONFIG = `
  import { child, defineMigration, env, stream, table } from "banyan";
  const [customer, address, parcel, leg, ticket, remark] =
    ["customer", "address", "parcel", "leg", "ticket", "remark"].map((name) => table(name));
  const of = (root, children, otherwise) => stream(root, { children, otherwise, truncate: "events" });
  export default defineMigration({
    name: "chunks",
    source: { kind: "postgres", url: env("SOURCE_URL"), slot: process.env.SLOT, publication: process.env.PUBLICATION },
    store: { kind: "postgres", url: env("STORE_URL") },
    streams: {
      customer: of(customer, { addresses: child(address, { customer_id: "id" }) }, "CustomerAmended"),
      parcel: of(parcel, { legs: child(leg, { region: "region", no: "no" }) }, "ParcelAmended"),
      ticket: of(ticket, { remarks: child(remark, { ticket_id: "id" }) }, "TicketAmended"),
    },
    limits: { baselineChunkRowsMax: 100, baselineSessionsMax: 1000, baselineSlowdownMax: 1 },
  });`;

/** The variables of {@link CONFIG}. */
export function envOf({ db, storeUrl }: Pick<ChunkBench, "db" | "storeUrl">): NodeJS.ProcessEnv {
  return { SOURCE_URL: db.url, STORE_URL: storeUrl, SLOT: db.slot, PUBLICATION: db.publication };
}

export const SHAPES: Readonly<Record<string, StreamShape>> = {
  customer: { root: "customer", keys: { customer: ["id"], addresses: ["id"] } },
  parcel: { root: "parcel", keys: { parcel: ["region", "no"], legs: ["id"] } },
  ticket: { root: "ticket", keys: { ticket: ["id"], remarks: ["id"] } },
};

export const TABLES = ["customer", "address", "parcel", "leg", "ticket", "remark"];

const uuid = (i: string): string => `md5((${i})::text)::uuid`;
const region = (i: string): string => `('{a,B,ä,Z,_}'::text[])[1 + (${i}) % 5]`;

const DDL = `
  CREATE TABLE customer (id uuid PRIMARY KEY, n int NOT NULL DEFAULT 0);
  CREATE TABLE address (id int PRIMARY KEY, customer_id uuid, n int NOT NULL DEFAULT 0);
  CREATE INDEX ON address (customer_id);
  CREATE TABLE parcel (region text COLLATE "C", no int, n int NOT NULL DEFAULT 0, PRIMARY KEY (region, no));
  CREATE TABLE leg (id int PRIMARY KEY, region varchar(9) COLLATE "C", no bigint, n int NOT NULL DEFAULT 0);
  CREATE INDEX ON leg (region, no);
  CREATE TABLE ticket (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
  CREATE TABLE remark (id int PRIMARY KEY, ticket_id bigint, n int NOT NULL DEFAULT 0);
  CREATE INDEX ON remark (ticket_id);`;

export interface ChunkBench extends AsyncDisposable {
  readonly db: SourceDatabase;
  readonly store: EventStore;
  readonly storeUrl: string;
  readonly sql: (statement: string) => Promise<void>;
  readonly session: () => Promise<pg.Client>;
  readonly start: (more?: Partial<PipelineOptions>) => Promise<LivePipeline>;
}

/** @param rows root rows of each type; as many child rows again and a half */
export async function chunkBench(
  identity: "full" | "default",
  rows: number,
  streams: Readonly<Record<string, StreamRef>> = STREAMS,
): Promise<ChunkBench> {
  const half = Math.ceil(rows * 1.5);
  const db = await sourceDatabase(
    "chunks",
    `${DDL}
     INSERT INTO customer SELECT ${uuid("i")} FROM generate_series(1, ${rows}) i;
     INSERT INTO address SELECT i, CASE WHEN i % 50 = 0 THEN NULL ELSE ${uuid(`1 + i % ${rows}`)} END FROM generate_series(1, ${half}) i;
     INSERT INTO parcel SELECT ${region("i")}, i FROM generate_series(1, ${rows}) i;
     INSERT INTO leg SELECT i, ${region("i")}, CASE WHEN i % 40 = 0 THEN NULL ELSE i END FROM generate_series(1, ${half}) i;
     INSERT INTO ticket SELECT i FROM generate_series(1, ${rows}) i;
     INSERT INTO remark SELECT i, 1 + i % ${rows} FROM generate_series(1, ${half}) i;
     ANALYZE;`,
    TABLES.join(", "),
  );
  const opened = await openTestStore("chunks_store");
  if (identity === "full") {
    for (const name of TABLES) await db.query(`ALTER TABLE ${name} REPLICA IDENTITY FULL`);
  }
  return {
    db,
    store: opened.store,
    storeUrl: opened.database.url,
    sql: async (statement) => void (await db.query(statement)),
    async session() {
      const client = new pg.Client({ connectionString: db.url });
      client.on("error", () => undefined);
      await client.connect();
      return client;
    },
    start: (more = {}) =>
      startPipeline({
        name: "chunks",
        openSource: () => db.open(),
        store: opened.store,
        streams,
        more: { baseline: "chunked", pace: { ...PACE, baselineChunkRowsMax: 100 }, ...more },
      }),
    async [Symbol.asyncDispose]() {
      await opened[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

export const PACE = {
  baselineSessionsMax: 1_000,
  baselineLagSecondsMax: 1_000,
  baselineSlowdownMax: 1,
  baselineChunkRowsMax: 100,
};

/** Statements of one transaction of a busy application, drawn by `random`, which gives 0 to below 1. */
export function randomWork(random: () => number, rows: number): string[] {
  const id = (max = rows): number => 1 + Math.floor(random() * max);
  const half = Math.ceil(rows * 1.5);
  const customerId = (): string => uuid(String(id(Math.ceil(rows * 1.1))));
  const statements: (() => string)[] = [
    () => `UPDATE ticket SET n = n + 1 WHERE id = ${id()}`,
    () => `UPDATE remark SET n = n + 1 WHERE id = ${id(half)}`,
    () => `UPDATE remark SET ticket_id = ${id()}, n = n + 1 WHERE id = ${id(half)}`,
    () => `UPDATE remark SET ticket_id = NULL, n = n + 1 WHERE id = ${id(half)}`,
    () => `DELETE FROM remark WHERE id = ${id(half)}`,
    () => `INSERT INTO remark VALUES (${id(half)}, ${id()}) ON CONFLICT DO NOTHING`,
    () => `DELETE FROM ticket WHERE id = ${id()}`,
    () => `INSERT INTO ticket VALUES (${id(Math.ceil(rows * 1.2))}) ON CONFLICT DO NOTHING`,
    () =>
      `UPDATE ticket SET id = ${id(2 * rows)}, n = n + 1 WHERE id = ${id()} AND NOT EXISTS (SELECT FROM ticket t WHERE t.id BETWEEN ${rows} AND 0)`,
    () => `UPDATE customer SET n = n + 1 WHERE id = ${customerId()}`,
    () => `UPDATE address SET customer_id = ${customerId()}, n = n + 1 WHERE id = ${id(half)}`,
    () => `DELETE FROM address WHERE id = ${id(half)}`,
    () => `INSERT INTO address VALUES (${id(half)}, ${customerId()}) ON CONFLICT DO NOTHING`,
    () => `INSERT INTO customer VALUES (${customerId()}) ON CONFLICT DO NOTHING`,
    () => `UPDATE parcel SET n = n + 1 WHERE no = ${id()}`,
    () => `UPDATE parcel SET region = ${region(String(id()))}, n = n + 1 WHERE no = ${id()}`,
    () =>
      `UPDATE leg SET region = ${region(String(id()))}, no = ${id()}, n = n + 1 WHERE id = ${id(half)}`,
    () => `UPDATE leg SET n = n + 1 WHERE id = ${id(half)}`,
    () => `DELETE FROM leg WHERE id = ${id(half)}`,
    () =>
      `INSERT INTO leg VALUES (${id(half)}, ${region(String(id()))}, ${id()}) ON CONFLICT DO NOTHING`,
  ];
  const some = Array.from({ length: 1 + Math.floor(random() * 4) }, () =>
    statements[Math.floor(random() * statements.length)]!(),
  );
  return random() < 0.15 ? ["SAVEPOINT s", ...some, "ROLLBACK TO s", some[0]!] : some;
}

export interface Traffic {
  /** Transactions committed. */
  readonly count: () => number;
  readonly stop: () => Promise<void>;
}

/** Runs such transactions one after the other on a session of its own; some are rolled back, some stay open for a while. */
export async function startTraffic(
  bench: ChunkBench,
  random: () => number,
  rows: number,
): Promise<Traffic> {
  const client = await bench.session();
  let going = true;
  let count = 0;
  const run = (async () => {
    for (let n = 0; going && n < 1_000_000; n++) {
      await client.query("BEGIN");
      try {
        for (const statement of randomWork(random, rows)) await client.query(statement);
        if (random() < 0.02) await new Promise((resolve) => setTimeout(resolve, 300 * random()));
        await client.query(random() < 0.1 ? "ROLLBACK" : "COMMIT");
        count += 1;
      } catch (error) {
        // Two of them may want the same rows in another order, or the same key.
        if (!["40P01", "23505"].includes((error as { code?: string }).code ?? "")) throw error;
        await client.query("ROLLBACK");
      }
    }
  })();
  // Reported by whoever stops it.
  run.catch(() => undefined);
  return {
    count: () => count,
    async stop() {
      going = false;
      try {
        await run;
      } finally {
        await client.end();
      }
    },
  };
}
