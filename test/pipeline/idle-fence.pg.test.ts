import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { expect, test } from "vitest";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { sourceDatabase } from "../connectors/postgres/source-support.ts";
import { checkpointAt, lsnDigits, parseLsn } from "../../connectors/postgres/lsn.ts";
import { stream, table } from "../../src/mapping/rules.ts";
import type { Position } from "../../src/model/position.ts";
import { startPipeline } from "../support/live-pipeline.ts";

/*
 * Whoever waits at a fence (a move holds back writes meanwhile) waits for the log and the store, not for the
 * tick of an idle pipeline. That tick passes whatever the log does not tell of.
 */

const NAME = "fenced";
const STREAMS = { item: stream(table("item"), { otherwise: "ItemAmended" }) };
/** No tick comes within a test. */
const NEVER_MS = 60_000;
/** Far below that, and far above what it takes. */
const AT_ONCE_MS = 15_000;

const database = () => sourceDatabase("fenced", "CREATE TABLE item (id int PRIMARY KEY)", "item");

test("a fence over an idle source is passed at once, however seldom an idle pipeline says where it stands", async () => {
  await using db = await database();
  await using opened = await openTestStore("fenced_store");
  await using pipeline = await started(db, opened, NEVER_MS);
  const marks = db.open();
  for (let round = 0; round < 5; round++) {
    const startedMs = performance.now();
    const fence = await marks.fence();
    await pipeline.until(() => isPast(opened, fence));
    expect(performance.now() - startedMs).toBeLessThan(AT_ONCE_MS);
  }
  const startedMs = performance.now();
  expect(await pipeline.verify()).toMatchObject({ state: "equal" });
  expect(performance.now() - startedMs).toBeLessThan(2 * AT_ONCE_MS);
});

test("what the log tells nobody of is passed by the tick of an idle pipeline, and not before", async () => {
  await using db = await database();
  await using opened = await openTestStore("fenced_store");
  const unheard = async (): Promise<Position> => {
    const { rows } = await db.query(
      "SELECT pg_logical_emit_message(true, 'unheard', '')::text AS lsn",
    );
    return checkpointAt(lsnDigits(parseLsn((rows[0] as { lsn: string }).lsn)));
  };
  {
    await using pipeline = await started(db, opened, NEVER_MS);
    const mark = await unheard();
    await sleep(1_000);
    expect(await isPast(opened, mark)).toBe(false);
    await pipeline.stop();
  }
  await using pipeline = await started(db, opened, 200);
  const mark = await unheard();
  await pipeline.until(() => isPast(opened, mark));
});

test("a fence is never passed before the changes ahead of it are in the store", async () => {
  await using db = await database();
  await using opened = await openTestStore("fenced_store");
  await using pipeline = await started(db, opened, NEVER_MS);
  const marks = db.open();
  const blocker = new pg.Client(opened.database.url);
  await blocker.connect();
  try {
    // Commits of the pipeline wait.
    await blocker.query("BEGIN; SELECT FROM banyan.pipelines FOR NO KEY UPDATE");
    await db.query("INSERT INTO item VALUES (1)");
    await sleep(200);
    await db.query("INSERT INTO item VALUES (2)");
    const fence = await marks.fence();
    await sleep(500);
    expect(await isPast(opened, fence)).toBe(false);
    await blocker.query("COMMIT");
    await pipeline.until(() => isPast(opened, fence));
    const { events } = await opened.store.readAll(undefined, 10);
    expect(events.map(({ stream: id }) => id)).toEqual(["item-1", "item-2"]);
  } finally {
    await blocker.end();
  }
});

type Database = Awaited<ReturnType<typeof database>>;
type Opened = Awaited<ReturnType<typeof openTestStore>>;

async function started(db: Database, { store }: Opened, idleMs: number) {
  const openSource = () => db.open();
  const limits = { idleMs };
  const pipeline = await startPipeline({ name: NAME, openSource, store, streams: STREAMS, limits });
  await pipeline.until(() => pipeline.status()?.phase === "tail");
  // The reader of the log is at its end.
  await pipeline.reach();
  return pipeline;
}

async function isPast({ store }: Opened, position: Position): Promise<boolean> {
  const record = await store.pipeline(NAME);
  return record?.checkpoint !== undefined && record.checkpoint >= position;
}
