import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { endOfRecords } from "../../connectors/postgres/log-flush.ts";
import { parseLsn } from "../../connectors/postgres/lsn.ts";
import { openPostgresSource } from "../../connectors/postgres/source.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { beforeChunks } from "../support/before-chunks.ts";
import { STREAMS } from "../support/chunk-bench.ts";
import type { TestDatabase } from "../support/databases.ts";
import { startTestServer, type TestServer } from "../support/faults-server.ts";
import { startPipeline } from "../support/live-pipeline.ts";
import { overriding } from "../support/overriding.ts";
import { requestRebaseline } from "../../src/pipeline/rebaseline-plan.ts";
import type { ChangeSource, ChunkSnapshot } from "../../src/source/change-source.ts";
import type { CaptureWriter, EventStore } from "../../src/store/event-store.ts";

/*
 * A commit that nobody waits for is seen by others before it is on the disk, and a crash may undo it. What a
 * chunk saw must never be in the store before it is on the source's disk: here nothing is flushed for ten
 * seconds unless somebody asks for it.
 */

const FLAGS = ["-c", "wal_level=logical", "-c", "wal_writer_delay=10s"];
const TABLES = `
  CREATE TABLE ticket (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
  CREATE TABLE remark (id int PRIMARY KEY, ticket_id bigint, n int NOT NULL DEFAULT 0);
  CREATE INDEX ON remark (ticket_id);
  INSERT INTO ticket SELECT generate_series(1, 20);
  CREATE PUBLICATION tickets FOR TABLE ticket, remark`;
/** Before the log writer would do it by itself. */
const AT_ONCE_MS_MAX = 8_000;
const ATTEMPTS_MAX = 5;
const never = new AbortController().signal;

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer(FLAGS);
});
afterAll(() => server[Symbol.asyncDispose]());

const openOn = ({ url, name }: TestDatabase): ChangeSource =>
  openPostgresSource({ url, slot: name, publication: "tickets" });

/** A store that does something as soon as a commit that tells of a baseline, or of streams read anew, is durable. */
function afterChunks(store: EventStore, act: () => Promise<void>): EventStore {
  return overriding(store, {
    openCapture: async (...args: Parameters<EventStore["openCapture"]>) => {
      const writer = await store.openCapture(...args);
      let isTold = false;
      return overriding<CaptureWriter>(writer, {
        stage: async (batch) => {
          isTold ||= batch.rebaselined !== undefined;
          await writer.stage(batch);
        },
        commit: async (progress) => {
          const result = await writer.commit(progress);
          if (isTold || (progress.baselines ?? []).length > 0) await act();
          return result;
        },
      });
    },
  });
}

async function crash(): Promise<void> {
  await server.stop("immediate");
  await server.start(FLAGS);
}

test.each(["a baseline in chunks", "streams that are read anew"])(
  "a crash of the source leaves no row in the store that the source has lost: %s",
  async (what) => {
    const isBaseline = what.startsWith("a baseline");
    const db = await server.createDatabase(isBaseline ? "durable" : "durable_anew");
    await db.query(TABLES);
    await using opened = await openTestStore("chunk_durability");
    const { store } = opened;
    const common = {
      name: "durable",
      streams: { ticket: STREAMS["ticket"]! },
      more: { baseline: "chunked" as const },
    };
    const insert = `BEGIN; SET LOCAL synchronous_commit = off; INSERT INTO ticket VALUES (1000) ON CONFLICT DO NOTHING; COMMIT`;
    let crashes = 0;
    if (!isBaseline) {
      await using before = await startPipeline({ ...common, openSource: () => openOn(db), store });
      await before.until(() => before.status()?.phase === "tail");
      await before.reach();
      await before.stop();
      expect(await requestRebaseline(store, "durable", ["ticket-1000"], "a test")).toBeDefined();
    }
    {
      await using first = await startPipeline({
        ...common,
        openSource: () => beforeChunks(openOn(db), () => db.query(insert)),
        store: afterChunks(store, async () => {
          crashes += 1;
          await crash();
        }),
      });
      await expect(first.until(() => false)).rejects.toMatchObject({
        code: "SOURCE_UNREACHABLE",
      });
    }
    expect(crashes).toBeGreaterThan(0);
    await using second = await startPipeline({ ...common, openSource: () => openOn(db), store });
    await second.until(() => second.status()?.phase === "tail");
    await second.reach();
    expect(await second.verify()).toMatchObject({ state: "equal", samples: [] });
    await second.stop();
  },
);

async function withChunk(
  db: TestDatabase,
  use: (chunk: ChunkSnapshot, source: ChangeSource) => Promise<void>,
): Promise<void> {
  const source = openOn(db);
  const [table] = await source.discover([{ name: "ticket" }]);
  const reader = source.openChunks([{ table: table!, columns: [0] }]);
  const chunk = await reader.open(never);
  try {
    await use(chunk, source);
  } finally {
    await chunk.close();
    await source.close();
  }
}

const LOG = "SELECT pg_current_wal_insert_lsn() AS insert, pg_current_wal_flush_lsn() AS flushed";

test("nothing is written to make a chunk durable of which the log is flushed, also at the end of a page of it", async () => {
  const db = await server.createDatabase("page_ends");
  await db.query(TABLES);
  const log = async (): Promise<{ insert: string; flushed: string }> =>
    (await db.query(LOG)).rows[0] as { insert: string; flushed: string };
  const size = async (length: number): Promise<number> => {
    const from = parseLsn((await log()).flushed);
    await db.query(`SELECT pg_logical_emit_message(true, 'x', repeat('y', ${length}))`);
    return Number(parseLsn((await log()).flushed) - from);
  };
  const left = async (): Promise<number> =>
    8_192 - Number(parseLsn((await log()).flushed) % 8_192n);
  // So much that the last record ends with its page. Others write now and then: then it is tried again.
  const atPageEnd = async (): Promise<boolean> => {
    // Beyond a page's end there is a header, which would be counted.
    while ((await left()) < 4_000) await size(1_000);
    const more = (await size(1_000)) - 1_000;
    await size((await left()) - more);
    const now = await log();
    return now.flushed !== now.insert && parseLsn(now.flushed) % 8_192n === 0n;
  };
  // The first to read a catalogue may tidy up its pages, which is in the log.
  await withChunk(db, (chunk) => chunk.durable(never));
  let before = await log();
  let after = before;
  // Every quarter of a minute the server itself writes a record, which may be just then.
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    let isThere = false;
    for (let n = 0; n < 50 && !isThere; n++) isThere = await atPageEnd();
    expect(isThere).toBe(true);
    before = await log();
    await withChunk(db, (chunk) => chunk.durable(never));
    after = await log();
    if (after.insert === before.insert && after.flushed === before.flushed) break;
  }
  expect(after).toEqual(before);
});

test("what an open transaction has written last is flushed for a chunk, in bounded time", async () => {
  const db = await server.createDatabase("open_writer");
  await db.query(TABLES);
  const writer = new pg.Client({ connectionString: db.url });
  await writer.connect();
  await writer.query("BEGIN; INSERT INTO ticket VALUES (1000)");
  const log = async (): Promise<{ insert: string; flushed: string }> =>
    (await db.query(LOG)).rows[0] as { insert: string; flushed: string };
  await withChunk(db, async (chunk) => {
    const startedMs = performance.now();
    const { insert, flushed } = await log();
    expect(parseLsn(flushed) < parseLsn(insert)).toBe(true);
    await chunk.durable(never);
    expect(parseLsn((await log()).flushed) >= parseLsn(insert)).toBe(true);
    expect(performance.now() - startedMs).toBeLessThan(AT_ONCE_MS_MAX);
  });
  await writer.end();
});

test("the end of the records is that of a page where the next one begins behind the next page's header", () => {
  const sizes = { page: 8_192, segment: 16 * 1024 * 1024 };
  const ends = ["0/3002018", "0/3002020", "0/3000028", "0/3000018", "0/3001FF8"].map((text) =>
    endOfRecords(parseLsn(text), sizes).toString(16),
  );
  expect(ends).toEqual(["3002000", "3002020", "3000000", "3000018", "3001ff8"]);
});
