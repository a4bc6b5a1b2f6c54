import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { event } from "../contract/event-batches.ts";
import { chunkBench, STREAMS } from "../support/chunk-bench.ts";
import { overriding } from "../support/overriding.ts";
import type { CaptureWriter, EventStore } from "../../src/store/event-store.ts";

const ROWS = 60;
const END_MS_MAX = 20_000;
const STAGE_MS = 100;

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
