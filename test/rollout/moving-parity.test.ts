import { expect, test } from "vitest";
import { MemoryEventStore } from "../../connectors/memory/event-store.ts";
import { newRecord } from "../../src/pipeline/baseline-record.ts";
import { MovingParity } from "../../src/rollout/moving-parity.ts";
import type { EventMarks } from "../../src/rollout/event-marks.ts";
import type { Move } from "../../src/rollout/rollout-store.ts";
import type { VerifyOptions } from "../../src/verify/prepare.ts";
import { position } from "../contract/event-batches.ts";

const never = new AbortController().signal;
const MOVE = {
  type: "order",
  from: { stage: "shadow", share: 0 },
  to: { stage: "canary", share: 100 },
} as unknown as Move;

/** A store in which nothing happened since the last verification. */
async function optionsOf(done: boolean): Promise<VerifyOptions> {
  const store = new MemoryEventStore();
  const writer = await store.openCapture("shop", "test://source");
  const record = newRecord("order", position(1), { rowsEstimated: 10, why: "large" });
  await writer.commit({
    phase: done ? "tail" : "baseline",
    checkpoint: position(1),
    baselines: [{ ...record, done }],
    ledger: {},
    status: {},
  });
  const now = new Date().toISOString();
  const report = { startedAt: now, finishedAt: now, state: "equal" };
  await store.parity.update("shop", () => ({ findings: [], report }));
  const source = { fence: () => Promise.resolve(position(1)) };
  return { store, source, pipeline: "shop" } as unknown as VerifyOptions;
}

const quiet: EventMarks = {
  eventsSeen: () => Promise.resolve("1"),
  changedSince: () => Promise.resolve([]),
} as unknown as EventMarks;

test("aggregates that have yet to be read are not equal because nothing was told of them since", async () => {
  const finished = new MovingParity(await optionsOf(true), quiet, "salt");
  expect(await finished.prepare(MOVE, never)).toBeUndefined();
  expect(await finished.compare(MOVE, never)).toBeUndefined();
  const unfinished = new MovingParity(await optionsOf(false), quiet, "salt");
  expect(await unfinished.prepare(MOVE, never)).toBe(
    "the baseline is not finished: order (0 of about 10 rows)",
  );
});
