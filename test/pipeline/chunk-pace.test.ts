import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { ChunkPace } from "../../src/pipeline/chunk-pace.ts";

const NEVER = new AbortController().signal;

test("time in which a baseline rests is counted apart, and no other", async () => {
  let baselinePaused = true;
  const pace = new ChunkPace({
    pipeline: "shop",
    source: { load: () => Promise.resolve({ activeSessions: 0 }) as never },
    store: { requests: () => Promise.resolve({ baselinePaused }) as never },
    limits: { baselineSessionsMax: 9, baselineLagSecondsMax: 9, baselineChunkRowsMax: 9 },
    lagSeconds: () => 0,
    isHeld: () => false,
    onRest: () => undefined,
  });
  expect(pace.restedMs).toBe(0);
  const startedMs = Date.now();
  const ready = pace.ready(NEVER);
  await sleep(700);
  // As it rests, not only once that is over.
  expect(pace.restedMs).toBeGreaterThan(500);
  baselinePaused = false;
  await ready;
  const { restedMs } = pace;
  expect(restedMs).toBeGreaterThan(500);
  expect(restedMs).toBeLessThanOrEqual(Date.now() - startedMs);
  await sleep(50);
  expect(pace.restedMs).toBe(restedMs);
});
