import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { ChunkPace, type PaceLimits, type Rest } from "../../src/pipeline/chunk-pace.ts";
import type { SourceLoad } from "../../src/source/change-source.ts";

const LIMITS: PaceLimits = {
  baselineSessionsMax: 2,
  baselineLagSecondsMax: 60,
  baselineSlowdownMax: 0.1,
  baselineChunkRowsMax: 1_000,
};
/** The clock runs so many times as fast as the test. */
const FASTER = 50;
const WAIT_MS_MAX = 20_000;

interface Seen extends AsyncDisposable {
  readonly pace: ChunkPace;
  readonly rests: readonly Rest[];
  readonly signal: AbortSignal;
}

function watched(load: Partial<SourceLoad>, requests = { baselinePaused: false }): Seen {
  const rests: Rest[] = [];
  const all = { activeSessions: 0, standbyLagSeconds: undefined, transactionsBegun: undefined };
  const pace = new ChunkPace(
    {
      pipeline: "shop",
      source: { load: () => Promise.resolve({ ...all, ...load }) },
      store: { requests: () => Promise.resolve(requests as never) },
      limits: LIMITS,
      lagSeconds: () => 0,
      isHeld: () => false,
      onRest: (rest) => void rests.push(rest),
    },
    () => performance.now() * FASTER,
  );
  const over = new AbortController();
  const watching = pace.watch(over.signal);
  return {
    pace,
    rests,
    signal: AbortSignal.any([over.signal, AbortSignal.timeout(WAIT_MS_MAX)]),
    async [Symbol.asyncDispose]() {
      over.abort();
      await watching;
    },
  };
}

test("a source that is busier than the limit for ever gets a chunk each half a minute all the same", async () => {
  let startedMs = performance.now() * FASTER;
  await using seen = watched({ activeSessions: 3 });
  const { pace, signal } = seen;
  for (let chunk = 0; chunk < 2; chunk++) {
    await pace.ready(signal);
    expect(performance.now() * FASTER - startedMs).toBeGreaterThan(29_000);
    startedMs = performance.now() * FASTER;
    pace.begin()();
  }
  expect(seen.rests[0]!.backingOff).toBe("3 sessions are at work in the source, more than 2");
});

test("what it rests for is said: others at work, and what it may not see", async () => {
  await using busy = watched({ activeSessions: 1 });
  await busy.pace.ready(busy.signal);
  expect(busy.pace.rest.backingOff).toBe(
    "others are at work in the source, it reads 20 % of the time",
  );
  await using blind = watched({ activeSessions: undefined });
  await blind.pace.ready(blind.signal);
  expect(blind.pace.rest.backingOff).toBe(
    "this role may not see who is at work in the source, it reads 40 % of the time",
  );
  await using idle = watched({});
  await idle.pace.ready(idle.signal);
  expect(idle.pace.rest.backingOff).toBeUndefined();
});

test("nothing is read before an operator's pause could be heard, nor during it", async () => {
  const requests = { baselinePaused: true };
  await using seen = watched({}, requests);
  let isReady = false;
  const ready = seen.pace.ready(seen.signal).then(() => (isReady = true));
  await sleep(100);
  expect(isReady).toBe(false);
  expect(seen.rests).toEqual([{ paused: true, backingOff: undefined }]);
  requests.baselinePaused = false;
  await ready;
  expect(isReady).toBe(true);
});

test("a chunk that fails is told until the next attempt", async () => {
  await using seen = watched({});
  await seen.pace.ready(seen.signal);
  const resting = seen.pace.failed(3, "a lock", seen.signal);
  expect(seen.pace.rest.backingOff).toBe("the last chunk failed: a lock");
  await sleep(200);
  expect(seen.pace.rest.backingOff).toBe("the last chunk failed: a lock");
  await resting;
  while (seen.pace.rest.backingOff !== undefined)
    await sleep(20, undefined, { signal: seen.signal });
});

test("time in which a baseline is at rest is counted apart, and no other", async () => {
  const requests = { baselinePaused: true };
  await using seen = watched({ activeSessions: 1 }, requests);
  const { pace, signal } = seen;
  const startedMs = performance.now() * FASTER;
  await sleep(300);
  // As it rests, not only once that is over.
  expect(pace.restedMs).toBeGreaterThan(200 * FASTER);
  requests.baselinePaused = false;
  await pace.ready(signal);
  const { restedMs } = pace;
  expect(restedMs).toBeLessThanOrEqual(performance.now() * FASTER - startedMs);
  // That it leaves others their time is no rest.
  await sleep(100);
  expect(pace.restedMs).toBe(restedMs);
});

test("a chunk that is read although it rests counts as no rest, from its beginning to its end", async () => {
  await using seen = watched({ activeSessions: 3 });
  const { pace, signal } = seen;
  await pace.ready(signal);
  const before = pace.restedMs;
  // It is counted from the first look on, which may come a little after the beginning.
  expect(before).toBeGreaterThan(25_000);
  const ended = pace.begin();
  const began = pace.restedMs;
  // Looks in between change nothing of that.
  await sleep(300);
  expect(pace.restedMs).toBe(began);
  expect(pace.rest.backingOff).toBeDefined();
  ended();
  await sleep(100);
  expect(pace.restedMs).toBeGreaterThan(began + 50 * FASTER);
  // None of it was asked for.
  expect(pace.pausedMs).toBe(0);
});

test("a pause that was asked for is counted apart from other rests", async () => {
  const requests = { baselinePaused: true };
  await using seen = watched({ activeSessions: 3 }, requests);
  const { pace, signal } = seen;
  while (!pace.rest.paused) await sleep(5, undefined, { signal });
  await sleep(100);
  expect(pace.pausedMs).toBeGreaterThan(50 * FASTER);
  requests.baselinePaused = false;
  while (pace.rest.paused) await sleep(5, undefined, { signal });
  const { pausedMs, restedMs } = pace;
  await sleep(100);
  expect(pace.pausedMs).toBe(pausedMs);
  expect(pace.restedMs).toBeGreaterThan(restedMs + 50 * FASTER);
});
