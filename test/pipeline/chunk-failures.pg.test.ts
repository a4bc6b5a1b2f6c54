import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { event } from "../contract/event-batches.ts";
import { chunkBench, PACE, STREAMS } from "../support/chunk-bench.ts";
import { overriding } from "../support/overriding.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";
import type { ChangeSource } from "../../src/source/change-source.ts";
import type { CaptureWriter, EventStore } from "../../src/store/event-store.ts";

const ROWS = 60;
const END_MS_MAX = 90_000;
const STAGE_MS = 100;
const REWRITES = 2;
const FAR_ROWS = 12_000;
const FAR_MS = 50;

/** Takes its time to stage, so that others come to wait for their turn meanwhile. */
function slowStore(inner: EventStore): EventStore {
  return overriding(inner, {
    openCapture: async (...args: Parameters<EventStore["openCapture"]>) => {
      const writer = await inner.openCapture(...args);
      return overriding<CaptureWriter>(writer, {
        stage: async (batch) => {
          await sleep(STAGE_MS);
          await writer.stage(batch);
        },
      });
    },
  });
}

/** A source that tells how many root rows a chunk is to have, once it is opened. */
function spying(source: ChangeSource, onBound: (rows: number) => Promise<void>): ChangeSource {
  return overriding(source, {
    openChunks: (tables) => {
      const reader = source.openChunks(tables);
      return overriding(reader, {
        open: async (signal) => {
          const chunk = await reader.open(signal);
          return overriding(chunk, {
            bound: async (after, rows) => {
              await onBound(rows);
              return await chunk.bound(after, rows);
            },
          });
        },
      });
    },
  });
}

test("a chunk of many stages that the store refuses ends the run, also while the log waits for its turn to write", async () => {
  const { customer, ticket } = STREAMS;
  const streams = { customer: customer!, ticket: ticket! };
  await using b = await chunkBench("full", ROWS, streams);
  // A stage is full at 8 MiB: more of them than may wait in line.
  await b.sql("ALTER TABLE ticket ADD pad text; UPDATE ticket SET pad = repeat('x', 1000000)");
  await b.store.migrate();
  await b.store.append("ticket-1", [event()], "any");
  await using running = await b.start({ streams, store: slowStore(b.store) });
  const deadline = Date.now() + END_MS_MAX;
  const ended = running.until(async () => {
    await b.sql("UPDATE customer SET n = n + 1 WHERE id = (SELECT id FROM customer LIMIT 1)");
    return Date.now() > deadline;
  });
  await expect(ended).rejects.toMatchObject({ code: "STORE_OCCUPIED" });
});

test("chunks do not get smaller because the source is far away", async () => {
  const streams = { ticket: STREAMS["ticket"]! };
  await using b = await chunkBench("full", FAR_ROWS, streams);
  const { hostname, port } = new URL(b.db.url);
  await using wire = await startTcpProxy({ host: hostname, port: Number(port) });
  wire.delay(FAR_MS);
  const asked: number[] = [];
  const source = spying(b.db.open({ url: wire.url(b.db.url) }), (rows) => {
    asked.push(rows);
    return Promise.resolve();
  });
  const pace = { ...PACE, baselineChunkRowsMax: 100_000 };
  await using running = await b.start({ streams, source, pace });
  await running.until(() => running.status()?.phase === "tail");
  await running.stop();
  expect(asked.length).toBeGreaterThan(2);
  // The first may have to connect.
  expect(Math.min(...asked)).toBeGreaterThanOrEqual(asked[0]! / 2);
  expect(asked.at(-1)).toBeGreaterThan(asked[0]!);
});

test("a chunk below which a table is rewritten is read again after a rest, smaller, and the table is told", async () => {
  const streams = { ticket: STREAMS["ticket"]! };
  await using b = await chunkBench("full", ROWS, streams);
  await b.store.migrate();
  const asked: number[] = [];
  const source = spying(b.db.open(), async (rows) => {
    asked.push(rows);
    if (asked.length <= REWRITES) await b.sql("TRUNCATE remark; INSERT INTO remark VALUES (1, 1)");
  });
  await using running = await b.start({ streams, source });
  const reasons = new Set<string>();
  await running.until(() => {
    reasons.add(running.status()?.baseline?.backingOff ?? "");
    return running.status()?.phase === "tail";
  });
  expect([...reasons].join()).toMatch(
    /the last chunk failed: public.remark was truncated or rewritten while it was read/,
  );
  expect(asked.slice(0, REWRITES + 1)).toEqual([100, 50, 25]);
  await running.reach();
  expect(await running.verify()).toMatchObject({ state: "equal", samples: [] });
  await running.stop();
});
