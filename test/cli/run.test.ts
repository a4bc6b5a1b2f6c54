import { expect, test } from "vitest";
import { baselineDone, hasReached, summaryOf } from "../../src/cli/commands/run.ts";
import type { Position } from "../../src/model/position.ts";
import type { BaselineProgress } from "../../src/pipeline/status.ts";
import type { Ledger, PipelinePhase } from "../../src/store/event-store.ts";

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

test("what is said of a baseline that is done fits how it was read", () => {
  const baseline = { aggregates: 1234, rowsRead: 5678 };
  const of = (mode: "chunks" | "snapshot") => ({
    positions: { checkpoint: at(3), baseline: at(1), head: undefined },
    baseline: { ...baseline, mode } as never as BaselineProgress,
  });
  expect(baselineDone(status("baseline", 2), of("chunks"))).toBe(
    "baseline in chunks done: 1,234 aggregates, 5,678 rows",
  );
  expect(baselineDone(status("baseline"), of("snapshot"))).toBe(
    `baseline done: 1,234 aggregates, 5,678 rows, at ${at(1)}`,
  );
  expect(baselineDone(status("baseline", 2), of("snapshot"))).toBe(
    "baseline of the tables that join done: 1,234 aggregates, 5,678 rows",
  );
});

test("a run that ends does not say that changes became what was read anew", () => {
  const ledger = { baselined: 2, changesIn: 1, events: 9 } as never as Ledger;
  expect(summaryOf({ ...status("stopped", 3), ledger })).toBe(
    `stopped at ${at(3)}: 2 aggregates baselined, 1 change, 9 events in all. Run it again to go on.`,
  );
});
