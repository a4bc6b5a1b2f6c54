import { describe, expect, test } from "vitest";
import { BanyanError } from "../../src/model/errors.ts";
import { runWithRetry, type RetryOptions } from "../../src/runtime/loop.ts";

const unreachable = (): BanyanError => new BanyanError("SOURCE_UNREACHABLE", "no answer");

function options(
  attempt: () => Promise<void>,
  more: Partial<RetryOptions> = {},
): RetryOptions & { readonly retries: { attempt: number; delayMs: number }[] } {
  const retries: { attempt: number; delayMs: number }[] = [];
  return {
    signal: new AbortController().signal,
    attempt,
    backoffMsMin: 1,
    backoffMsMax: 8,
    steadyMs: 60_000,
    onRetry: (event) => void retries.push({ attempt: event.attempt, delayMs: event.delayMs }),
    ...more,
    retries,
  };
}

describe("an attempt that fails", () => {
  test("is made again, later each time up to a bound, until one succeeds", async () => {
    let calls = 0;
    const run = options(() => (++calls < 7 ? Promise.reject(unreachable()) : Promise.resolve()));
    await runWithRetry(run);
    expect(calls).toBe(7);
    expect(run.retries.map(({ delayMs }) => delayMs)).toEqual([1, 2, 4, 8, 8, 8]);
    expect(run.retries.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  test("begins its delays anew when it had run well before", async () => {
    let calls = 0;
    const run = options(() => (++calls < 5 ? Promise.reject(unreachable()) : Promise.resolve()), {
      steadyMs: 0,
    });
    await runWithRetry(run);
    expect(run.retries.map(({ delayMs }) => delayMs)).toEqual([1, 1, 1, 1]);
  });

  test.each([
    ["an operator must act", new BanyanError("SLOT_LOST", "gone")],
    ["it is a bug", new BanyanError("INVARIANT_BROKEN", "impossible")],
    ["nobody classified it", new TypeError("x is not a function")],
  ])("is not made again when %s", async (_, error) => {
    const run = options(() => Promise.reject(error));
    await expect(runWithRetry(run)).rejects.toBe(error);
    expect(run.retries).toEqual([]);
  });
});

describe("an abort", () => {
  test("ends the wait for the next attempt at once, and is no error", async () => {
    const stop = new AbortController();
    const run = options(() => Promise.reject(unreachable()), {
      signal: stop.signal,
      backoffMsMin: 60_000,
      backoffMsMax: 60_000,
      onRetry: () => setTimeout(() => stop.abort(), 10),
    });
    const startedMs = performance.now();
    await runWithRetry(run);
    expect(performance.now() - startedMs).toBeLessThan(5_000);
  });

  test.each([
    ["the abort itself", (signal: AbortSignal): unknown => signal.reason],
    ["a connection that the abort cut", (): unknown => unreachable()],
  ])("is no error when the attempt ends with %s", async (_, errorOf) => {
    const stop = new AbortController();
    const run = options(
      () => {
        stop.abort();
        return Promise.reject(errorOf(stop.signal) as Error);
      },
      { signal: stop.signal },
    );
    await expect(runWithRetry(run)).resolves.toBeUndefined();
  });

  test.each([
    ["what an operator must mend", new BanyanError("SCHEMA_DRIFT", "a column is gone")],
    ["a bug", new BanyanError("INVARIANT_BROKEN", "impossible")],
    ["something nobody classified", new TypeError("x is not a function")],
  ])("does not hide %s that came up while the work drained", async (_, error) => {
    const stop = new AbortController();
    const run = options(
      () => {
        stop.abort();
        return Promise.reject(error);
      },
      { signal: stop.signal },
    );
    await expect(runWithRetry(run)).rejects.toBe(error);
  });
});
