import { expect, test } from "vitest";
import type { Ask } from "../../../connectors/postgres/catalogue.ts";
import { ControlSession } from "../../../connectors/postgres/control-session.ts";
import { PostgresChunkReader } from "../../../connectors/postgres/chunks.ts";
import { sourceDatabase, type SourceDatabase } from "./source-support.ts";
import { startTcpProxy, type TcpProxy } from "../../support/tcp-proxy.ts";
import type { ChunkSnapshot, KeyedTable } from "../../../src/source/change-source.ts";

/** A chunk must end in bounded time whatever becomes of its sessions, and at once when it is given up. */

const TABLE = `CREATE TABLE item (id int PRIMARY KEY, at timestamp NOT NULL DEFAULT now());
  INSERT INTO item SELECT generate_series(1, 100)`;
const AT_ONCE_MS_MAX = 10_000;
/** Of a server that answers, also beside other tests. */
const ANSWER_MS_MAX = 1_500;

interface Bench extends AsyncDisposable {
  readonly wire: TcpProxy;
  readonly reader: PostgresChunkReader;
  readonly beside: ControlSession;
}

async function bench(
  db: SourceDatabase,
  tables: readonly KeyedTable[],
  answerMsMax?: number,
): Promise<Bench> {
  const { hostname, port } = new URL(db.url);
  const wire = await startTcpProxy({ host: hostname, port: Number(port) });
  const options = {
    url: wire.url(db.url),
    applicationName: "chunks under test",
    publication: db.publication,
    keys: new Map(),
    silenceMs: 60_000,
    ...(answerMsMax === undefined ? {} : { answerMsMax }),
  };
  const beside = new ControlSession(options.url, options.applicationName, undefined, answerMsMax);
  const ask: Ask = (doing, sql, params) => beside.query(doing, sql, params);
  await ask("connecting", "SELECT", []);
  const reader = new PostgresChunkReader(options, tables, ask);
  return {
    wire,
    reader,
    beside,
    async [Symbol.asyncDispose]() {
      await wire[Symbol.asyncDispose]();
      await reader.close();
      await beside.close();
    },
  };
}

async function itemOf(db: SourceDatabase, column = 0): Promise<KeyedTable> {
  const [table] = await db.open().discover([{ name: "item" }]);
  return { table: table!, columns: [column] };
}

const QUESTIONS: Readonly<Record<string, (chunk: ChunkSnapshot) => Promise<unknown>>> = {
  "the end of a chunk": (chunk) => chunk.bound(undefined, 10),
  "whether a table was rewritten": (chunk) => chunk.rewritten(),
  "how far the log is flushed": (chunk) => chunk.durable(new AbortController().signal),
};

test.each(Object.entries(QUESTIONS))(
  "a server that does not answer any more is given up when it was asked for %s",
  async (_, ask) => {
    await using db = await sourceDatabase("chunks", TABLE, "item");
    await using b = await bench(db, [await itemOf(db)], ANSWER_MS_MAX);
    const chunk = await b.reader.open(new AbortController().signal);
    b.wire.stall();
    await expect(ask(chunk)).rejects.toMatchObject({ code: "SOURCE_UNREACHABLE" });
    b.wire.cut();
    await chunk.close();
  },
);

test("a chunk does not outlive the session beside it: the source may have crashed and gone on since", async () => {
  await using db = await sourceDatabase("chunks", TABLE, "item");
  await using b = await bench(db, [await itemOf(db)]);
  const { signal } = new AbortController();
  const chunk = await b.reader.open(signal);
  await chunk.durable(signal);
  await b.beside
    .query("ending itself", "SELECT pg_terminate_backend(pg_backend_pid())")
    .catch(() => 0);
  await expect(chunk.durable(signal)).rejects.toMatchObject({ code: "SOURCE_UNREACHABLE" });
  await expect(chunk.durable(signal)).rejects.toThrow(/may have forgotten/);
  await chunk.close();
});

test.each(Object.entries(QUESTIONS))(
  "an abort ends the wait for an answer, when it was asked for %s",
  async (_, ask) => {
    await using db = await sourceDatabase("chunks", TABLE, "item");
    await using b = await bench(db, [await itemOf(db)]);
    const over = new AbortController();
    const chunk = await b.reader.open(over.signal);
    b.wire.stall();
    const startedMs = performance.now();
    setTimeout(() => over.abort(), 50);
    await expect(ask(chunk)).rejects.toMatchObject({ code: "SOURCE_UNREACHABLE" });
    await chunk.close();
    expect(performance.now() - startedMs).toBeLessThan(AT_ONCE_MS_MAX);
  },
);

test("an abort ends the opening of a chunk, while it connects and while it waits for an answer", async () => {
  await using db = await sourceDatabase("chunks", TABLE, "item");
  await using b = await bench(db, [await itemOf(db)]);
  for (const round of ["connecting", "asking"]) {
    // The second time there is a session that is kept from a chunk before.
    if (round === "asking") await (await b.reader.open(new AbortController().signal)).close();
    const over = new AbortController();
    b.wire.stall();
    const startedMs = performance.now();
    setTimeout(() => over.abort(new Error("enough")), 100);
    await expect(b.reader.open(over.signal), round).rejects.toThrow("enough");
    expect(performance.now() - startedMs).toBeLessThan(AT_ONCE_MS_MAX);
    b.wire.resume();
  }
  const chunk = await b.reader.open(new AbortController().signal);
  expect(await chunk.bound(undefined, 10)).toEqual(["10"]);
  await chunk.close();
});

test("a key that its column cannot hold is told from a failure", async () => {
  await using db = await sourceDatabase("chunks", TABLE, "item");
  await using b = await bench(db, [await itemOf(db, 1)]);
  const never = new AbortController().signal;
  const read = async (key: string): Promise<void> => {
    const chunk = await b.reader.open(never);
    try {
      const range = { keys: [[key]] };
      for await (const rows of chunk.readRange(chunk.tables[0]!, range, never))
        expect(rows).toEqual([]);
    } finally {
      await chunk.close();
    }
  };
  await read("2026-01-01 00:00:00");
  for (const key of ["yesterdays", "2026-13-01 00:00:00"])
    await expect(read(key)).rejects.toMatchObject({ code: "VALUE_UNMAPPABLE" });
});

test("a snapshot whose session is ended before others have joined it can be taken again", async () => {
  await using db = await sourceDatabase(
    "chunks",
    `${TABLE}; CREATE TABLE part (id int PRIMARY KEY, item int)`,
    "item, part",
  );
  const [item, part] = await db.open().discover([{ name: "item" }, { name: "part" }]);
  const tables = [
    { table: item!, columns: [0] },
    { table: part!, columns: [1] },
  ];
  await using b = await bench(db, tables);
  const never = new AbortController().signal;
  const chunk = await b.reader.open(never);
  const end = await chunk.bound(undefined, 10);
  const ended = await db.query(
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'chunks under test' AND state = 'idle in transaction'",
  );
  expect(ended.rowCount).toBe(1);
  const read = async (n: number): Promise<number> => {
    let count = 0;
    const range = { after: undefined, end };
    for await (const rows of chunk.readRange(chunk.tables[n]!, range, never)) count += rows.length;
    return count;
  };
  const outcomes = await Promise.allSettled([read(0), read(1)]);
  for (const outcome of outcomes)
    expect(outcome).toMatchObject({ reason: { code: "SOURCE_UNREACHABLE" } });
  await chunk.close();
  await (await b.reader.open(never)).close();
});
