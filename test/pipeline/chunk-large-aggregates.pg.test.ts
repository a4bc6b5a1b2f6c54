import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { chunkBench, PACE, SHAPES, STREAMS, startTraffic } from "../support/chunk-bench.ts";
import { overriding } from "../support/overriding.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { brokenStreams } from "../support/unbroken-streams.ts";
import type { CaptureWriter, EventStore } from "../../src/store/event-store.ts";

const ROOTS = 60;
/** Of each root, of some kB each: about 120 MB, which are as many events of at most 1 MB. */
const CHILDREN = 400;
const STAGE_MS = 400;
/** Without an end before the one that was meant, all is one chunk. */
const SHARE_MAX = 0.6;

/** Takes its time to stage, and tells how long the log was kept from being written. */
function slowStore(inner: EventStore, betweenCommitsMs: number[]): EventStore {
  return overriding(inner, {
    openCapture: async (...args: Parameters<EventStore["openCapture"]>) => {
      const writer = await inner.openCapture(...args);
      let sinceMs: number | undefined;
      return overriding<CaptureWriter>(writer, {
        stage: async (batch) => {
          sinceMs ??= performance.now();
          if (batch.events.length > 0 && batch.newImages !== undefined) await sleep(STAGE_MS);
          await writer.stage(batch);
        },
        commit: async (progress) => {
          const result = await writer.commit(progress);
          if (sinceMs !== undefined) betweenCommitsMs.push(performance.now() - sinceMs);
          sinceMs = undefined;
          return result;
        },
      });
    },
  });
}

test.each(["full", "default"] as const)(
  "few roots with very many children hold up the log no longer than a chunk may be read, replica identity %s",
  async (identity) => {
    const { customer, ticket } = STREAMS;
    const streams = { customer: customer!, ticket: ticket! };
    await using b = await chunkBench(identity, ROOTS, streams);
    await b.sql(
      `ALTER TABLE remark ADD pad text;
       INSERT INTO remark SELECT 1000 + i, 1 + i % ${ROOTS}, 0, repeat('x', 5000) FROM generate_series(1, ${ROOTS * CHILDREN}) i;
       ANALYZE remark`,
    );
    const betweenCommitsMs: number[] = [];
    const busy = await startTraffic(b, seededRandom(7), ROOTS);
    await using running = await b.start({
      streams,
      store: slowStore(b.store, betweenCommitsMs),
      pace: { ...PACE, baselineChunkRowsMax: 100_000 },
    });
    await running.until(() => running.status()?.phase === "tail");
    await busy.stop();
    await running.reach();
    const { baselines = [] } = (await b.store.pipeline("chunks"))!;
    const of = baselines.find(({ stream }) => stream === "ticket")!;
    process.stderr.write(`${of.chunksRead} chunks, the longest between commits ${Math.round(Math.max(...betweenCommitsMs))} ms\n`); // prettier-ignore
    expect(of.chunksRead).toBeGreaterThan(2);
    const sumMs = betweenCommitsMs.reduce((sum, ms) => sum + ms, 0);
    expect(Math.max(...betweenCommitsMs)).toBeLessThan(SHARE_MAX * sumMs);
    expect(await brokenStreams(b.store, SHAPES)).toEqual([]);
    expect(await running.verify()).toMatchObject({ state: "equal", samples: [] });
    await running.stop();
  },
);
