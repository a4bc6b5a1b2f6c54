import { expect, test } from "vitest";
import { planFaults, type PlannedFault } from "./schedule.ts";

const NAMES = Array.from({ length: 20 }, (_, i) => `fault ${i}`);

function plan(
  seed: number,
  lengthMs: number,
  names: readonly string[],
  early: readonly string[] = [],
): readonly PlannedFault[] {
  return planFaults({ seed, lengthMs, names, early });
}

test("the same seed plans the same faults, another seed others", () => {
  expect(plan(7, 60_000, NAMES)).toEqual(plan(7, 60_000, NAMES));
  expect(plan(8, 60_000, NAMES)).not.toEqual(plan(7, 60_000, NAMES));
});

test.each([20_000, 60_000, 600_000])("in %i ms every kind is met, in order and in time", (ms) => {
  for (let seed = 0; seed < 50; seed++) {
    const planned = plan(seed, ms, NAMES);
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
  const names = plan(3, 600_000, NAMES).map(({ name }) => name);
  for (let at = 0; at + NAMES.length <= names.length; at += NAMES.length)
    expect(new Set(names.slice(at, at + NAMES.length)).size).toBe(NAMES.length);
});

test("of what may disturb a baseline there are a few, with a beginning of their own", () => {
  const planned = plan(7, 60_000, NAMES, NAMES.slice(0, 5));
  const early = planned.filter(({ part }) => part === "baseline");
  expect(early).toHaveLength(3);
  expect(new Set(early.map(({ name }) => name)).size).toBe(3);
  for (const { name } of early) expect(NAMES.slice(0, 5)).toContain(name);
  expect(early.at(-1)!.atMs).toBeLessThan(3_000);
  expect(planned.length).toBeGreaterThan(early.length + NAMES.length - 1);
});

test("without any kind there is nothing to plan", () => {
  expect(plan(1, 60_000, [])).toEqual([]);
});
