import { expect, test } from "vitest";
import { RowRate } from "../../src/pipeline/row-rate.ts";

test("a slow beginning counts no longer once it is ten seconds past", () => {
  const rate = new RowRate();
  rate.sample(0, 0);
  rate.sample(40, 5_000);
  expect(rate.perSecond).toBe(8);
  for (let s = 6; s <= 25; s++) rate.sample(40 + (s - 5) * 1_000, s * 1_000);
  expect(rate.perSecond).toBe(1_000);
  expect(rate.secondsLeft(30_500)).toBe(31);
});

test("nothing is said of the time left before three seconds were seen, or when nothing was read in them", () => {
  const rate = new RowRate();
  expect([rate.isKnown, rate.perSecond, rate.secondsLeft(100)]).toEqual([false, 0, 0]);
  rate.sample(100_000, 0);
  expect([rate.isKnown, rate.perSecond, rate.secondsLeft(100)]).toEqual([false, 0, 0]);
  rate.sample(100_020, 2_500);
  expect([rate.isKnown, rate.perSecond, rate.secondsLeft(100)]).toEqual([false, 8, 0]);
  rate.sample(130_000, 3_000);
  expect([rate.isKnown, rate.perSecond, rate.secondsLeft(100_001)]).toEqual([true, 10_000, 11]);
  expect(rate.secondsLeft(0)).toBe(0);
  const still = new RowRate();
  for (const s of [0, 4, 8]) still.sample(7, s * 1_000);
  expect([still.isKnown, still.perSecond, still.secondsLeft(100)]).toEqual([true, 0, 0]);
});

test("what is read in few large parts, or in many small ones, has its rate too", () => {
  const slow = new RowRate();
  for (const s of [0, 30, 60, 90]) slow.sample(s * 100, s * 1_000);
  expect(slow.perSecond).toBe(100);
  const quick = new RowRate();
  for (let ms = 0; ms <= 60_000; ms += 3) quick.sample(ms, ms);
  expect(quick.perSecond).toBe(1_000);
});
