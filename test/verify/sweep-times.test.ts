import { expect, test } from "vitest";
import { SweepTimes } from "../../src/verify/sweep-times.ts";

const HOUR = 3_600_000;

test("a sweep is due at once, then every so often, and takes a tenth of the time at most", () => {
  const times = new SweepTimes(HOUR);
  expect(times.isDue(0)).toBe(true);
  times.told(0, 1_000);
  expect([times.isDue(HOUR - 1), times.isDue(HOUR)]).toEqual([false, true]);
  times.told(HOUR, HOUR);
  expect([times.isDue(11 * HOUR - 1), times.isDue(11 * HOUR)]).toEqual([false, true]);
});

test("one that could not tell is tried again soon, later each time, until it can", () => {
  const times = new SweepTimes(HOUR);
  const delays: number[] = [];
  for (let at = 0, n = 0; n < 6; n++) {
    times.failed(at, 0);
    expect(times.hasFailed).toBe(true);
    const from = at;
    while (!times.isDue(at)) at += 1_000;
    delays.push(at - from);
  }
  expect(delays).toEqual([5_000, 10_000, 20_000, 40_000, 60_000, 60_000]);
  times.told(0, 1_000);
  expect(times.hasFailed).toBe(false);
  // What was done in vain counts as work too.
  times.failed(0, 10_000);
  expect([times.isDue(99_999), times.isDue(100_000)]).toEqual([false, true]);
});

test("one that is wanted comes sooner, within its share of the time and not at once again", () => {
  const times = new SweepTimes(HOUR);
  times.told(0, 1_000);
  times.sooner();
  expect([times.isDue(HOUR / 10 - 1), times.isDue(HOUR / 10)]).toEqual([false, true]);
  times.told(0, HOUR / 20);
  times.sooner();
  expect([times.isDue(HOUR / 2 - 1), times.isDue(HOUR / 2)]).toEqual([false, true]);
});

test("a busy source is waited for ten minutes and no longer, each time anew", () => {
  const times = new SweepTimes(HOUR);
  times.isDue(0);
  expect([times.isOverdue(600_000), times.isOverdue(600_001)]).toEqual([false, true]);
  times.told(0, 0);
  times.isDue(HOUR);
  expect([times.isOverdue(HOUR + 600_000), times.isOverdue(HOUR + 600_001)]).toEqual([false, true]);
});
