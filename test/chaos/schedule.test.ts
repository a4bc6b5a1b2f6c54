import { expect, test } from "vitest";
import { planFaults } from "./schedule.ts";

const NAMES = Array.from({ length: 20 }, (_, i) => `fault ${i}`);

test("the same seed plans the same faults, another seed others", () => {
  expect(planFaults(7, 60_000, NAMES)).toEqual(planFaults(7, 60_000, NAMES));
  expect(planFaults(8, 60_000, NAMES)).not.toEqual(planFaults(7, 60_000, NAMES));
});

test.each([20_000, 60_000, 600_000])("in %i ms every kind is met, in order and in time", (ms) => {
  for (let seed = 0; seed < 50; seed++) {
    const planned = planFaults(seed, ms, NAMES);
    const times = planned.map(({ atMs }) => atMs);
    expect(times).toEqual(times.toSorted((a, b) => a - b));
    expect(times[0]).toBeLessThan(1_000);
    expect(times.at(-1)).toBeLessThan(ms);
    const met = new Set(planned.map(({ name }) => name));
    // A short round may end before its last few.
    expect(met.size).toBeGreaterThanOrEqual(ms >= 60_000 ? NAMES.length : NAMES.length - 6);
  }
});

test("no kind comes again before all others have come", () => {
  const names = planFaults(3, 600_000, NAMES).map(({ name }) => name);
  for (let at = 0; at + NAMES.length <= names.length; at += NAMES.length)
    expect(new Set(names.slice(at, at + NAMES.length)).size).toBe(NAMES.length);
});

test("without any kind there is nothing to plan", () => {
  expect(planFaults(1, 60_000, [])).toEqual([]);
});
