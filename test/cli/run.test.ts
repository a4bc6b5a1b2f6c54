import { expect, test } from "vitest";
import { hasReached } from "../../src/cli/commands/run.ts";
import type { Position } from "../../src/model/position.ts";
import type { PipelinePhase } from "../../src/store/event-store.ts";

const at = (n: number): Position => `000000000000000${n}/00000000` as Position;
const status = (phase: PipelinePhase, checkpoint?: number) => ({
  phase,
  positions: {
    checkpoint: checkpoint === undefined ? undefined : at(checkpoint),
    baseline: undefined,
    head: undefined,
  },
});

test("a run until it has caught up ends at its goal, but not while tables still join", () => {
  expect(hasReached(status("baseline"), at(5))).toBe(false);
  expect(hasReached(status("tail", 4), at(5))).toBe(false);
  expect(hasReached(status("tail", 5), at(5))).toBe(true);
  expect(hasReached(status("tail", 6), at(5))).toBe(true);
  expect(hasReached(status("baseline", 6), at(5))).toBe(false);
});
