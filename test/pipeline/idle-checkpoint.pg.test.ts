import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { expect, test } from "vitest";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { sourceDatabase } from "../connectors/postgres/source-support.ts";
import { stream, table } from "../../src/mapping/rules.ts";
import { runPipeline } from "../../src/pipeline/pipeline.ts";
import type { PipelineStatus } from "../../src/pipeline/status.ts";

const STREAMS = { item: stream(table("item"), { otherwise: "ItemAmended" }) };
const LIMITS = {
  batchChangesMax: 100,
  batchBytesMax: 1024 * 1024,
  lingerMs: 0,
  transactionChangesMax: 1_000,
  transactionBytesMax: 1024 * 1024,
  idleMs: 500,
};

/**
 * The pipeline believes itself idle while its last commit still waits for the store. What the log
 * brings meanwhile is read but not applied: the idle checkpoint must not pass it.
 */
test("an idle checkpoint never passes changes that wait to be applied", async () => {
  await using source = await sourceDatabase(
    "idle",
    "CREATE TABLE item (id int PRIMARY KEY)",
    "item",
  );
  await using opened = await openTestStore("idle_store");
  const spillDirectory = await mkdtemp(join(tmpdir(), "banyan-spill-"));
  const stop = new AbortController();
  let status: PipelineStatus | undefined;
  let ticks = 0;
  const running = runPipeline(
    {
      name: "idle",
      source: source.open(),
      store: opened.store,
      streams: STREAMS,
      limits: LIMITS,
      spillDirectory,
      onProgress: (now) => {
        status = now;
        ticks += 1;
      },
    },
    stop.signal,
  );
  const until = async (done: () => boolean): Promise<void> => {
    for (let waited = 0; waited < 2_400 && !done(); waited++) await sleep(25);
    expect(done()).toBe(true);
  };
  const blocker = new pg.Client(opened.database.url);
  try {
    await until(() => status?.phase === "tail");
    await blocker.connect();
    // Just after an idle tick, so that the next commit is that of the change.
    const before = ticks;
    await until(() => ticks > before + 1);
    await blocker.query("BEGIN; SELECT FROM banyan.pipelines FOR NO KEY UPDATE");
    await source.query("INSERT INTO item VALUES (1)");
    // Longer than an idle interval: the pipeline gives up waiting for more, while its commit waits.
    await sleep(1_000);
    await source.query("INSERT INTO item VALUES (2)");
    // Moves the end of the log past the change, so that the server has something to tell.
    await source.query("SELECT pg_logical_emit_message(true, 'noise', '')");
    await sleep(400);
    await blocker.query("COMMIT");
    await until(() => (status?.ledger.changesIn ?? 0) >= 2);
    stop.abort();
    await running;
    const events = (await opened.store.readAll(undefined, 10)).events;
    expect(events.map(({ stream: id }) => id)).toEqual(["item-1", "item-2"]);
  } finally {
    stop.abort();
    await blocker.end();
    await running.catch(() => undefined);
    await rm(spillDirectory, { recursive: true, force: true });
  }
});
