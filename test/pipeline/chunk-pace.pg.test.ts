import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { chunkBench, PACE, type ChunkBench } from "../support/chunk-bench.ts";
import type { LivePipeline } from "../support/live-pipeline.ts";

const ROWS = 25_000;
const CLIENTS = 4;
const WATCHED_MS = 4_000;
const WORK_EVERY_MS = 60;
/** Takes ten times as long while a chunk is read, however large the machine is that this runs on. */
const WORK = `
  SELECT pg_sleep(CASE WHEN EXISTS (
    SELECT FROM pg_stat_activity
     WHERE application_name = 'banyan' AND backend_type = 'client backend' AND datname = current_database()
       AND (state = 'idle in transaction' OR query LIKE 'COPY%' AND state = 'active')) THEN 0.05 ELSE 0.005 END)`;

/** Clients of an application that is in the baseline's way, each at its own pace, until disposed of. */
async function work(b: ChunkBench): Promise<AsyncDisposable> {
  let isOver = false;
  const clients = await Promise.all(Array.from({ length: CLIENTS }, () => b.session()));
  const working = clients.map(async (client) => {
    while (!isOver) {
      const due = sleep(WORK_EVERY_MS);
      await client.query(WORK);
      await due;
    }
    await client.end();
  });
  return {
    async [Symbol.asyncDispose]() {
      isOver = true;
      await Promise.all(working);
    },
  };
}

async function rowsPerSecond(running: LivePipeline): Promise<number> {
  const rows = (): number => running.status()!.baseline!.rowsRead;
  const [before, startedMs] = [rows(), performance.now()];
  const isOver = (): boolean =>
    running.status()!.phase === "tail" || performance.now() - startedMs > WATCHED_MS;
  await running.until(isOver);
  return ((rows() - before) * 1000) / (performance.now() - startedMs);
}

test("a baseline makes room for an application at work, says so, and takes all the time again afterwards", async () => {
  await using b = await chunkBench("full", ROWS);
  const pace = { ...PACE, baselineSlowdownMax: 0.1, baselineChunkRowsMax: 1_000 };
  const application = await work(b);
  await using running = await b.start({ pace });
  const backingOff = (): string => running.status()?.baseline?.backingOff ?? "";
  let busy: number;
  try {
    const told =
      /^others at work in the source take ([\d.]+) times as long while it reads, it reads (\d+) % of the time$/;
    await running.until(() => Number(told.exec(backingOff())?.[1] ?? 1) > 1.5);
    expect(Number(told.exec(backingOff())![2])).toBeLessThanOrEqual(30);
    busy = await rowsPerSecond(running);
  } finally {
    await application[Symbol.asyncDispose]();
  }
  expect(busy).toBeGreaterThan(0);
  expect(running.status()!.phase).toBe("baseline");
  await running.until(() => backingOff() === "");
  expect(await rowsPerSecond(running)).toBeGreaterThan(2 * busy);
  await running.stop();
});
