import { expect, test } from "vitest";
import { describeBaseline } from "../../src/cli/output.ts";
import type { BaselineProgress } from "../../src/pipeline/status.ts";

const PROGRESS: BaselineProgress = {
  mode: "chunks",
  why: "",
  restarted: false,
  rowsRead: 6_664,
  rowsEstimated: 500_000,
  aggregates: 6_000,
  rowsPerSecond: 12_000,
  bytesRead: 2_048,
  secondsLeft: 42,
  chunks: 1_234,
  streams: { done: 0, total: 1 },
  paused: false,
  backingOff: "",
};

test.each<[Partial<BaselineProgress>, string]>([
  [{}, "6,664 of about 500,000 rows, 2.0 KB, 12,000 rows/s, about 42 s left, 1,234 chunks"],
  [{ rowsPerSecond: 0, secondsLeft: 0 }, "6,664 of about 500,000 rows, 2.0 KB, 1,234 chunks"],
  [
    { rowsRead: 880_836, secondsLeft: 0 },
    "880,836 rows, more than the 500,000 estimated, 2.0 KB, 12,000 rows/s, 1,234 chunks",
  ],
  [
    { rowsRead: 880_836, rowsEstimated: 880_836, secondsLeft: 0, mode: "snapshot" },
    "880,836 rows, 2.0 KB, 12,000 rows/s",
  ],
  [
    { rowsRead: 1, rowsEstimated: 1, rowsPerSecond: 0, secondsLeft: 0, mode: "snapshot" },
    "1 row, 2.0 KB",
  ],
  [
    { backingOff: "others are at work" },
    "6,664 of about 500,000 rows, 2.0 KB, 12,000 rows/s, about 42 s left, 1,234 chunks, resting: others are at work",
  ],
  [
    { paused: true, backingOff: "others are at work" },
    "6,664 of about 500,000 rows, 2.0 KB, 12,000 rows/s, about 42 s left, 1,234 chunks, paused; go on with: banyan baseline resume",
  ],
])("a baseline at %o is told in one line", (more, line) => {
  expect(describeBaseline({ ...PROGRESS, ...more })).toBe(`baseline: ${line}`);
});
