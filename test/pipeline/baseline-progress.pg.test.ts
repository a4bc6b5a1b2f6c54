import { expect, test } from "vitest";
import { chunkBench, STREAMS, TABLES } from "../support/chunk-bench.ts";
import type { BaselineProgress } from "../../src/pipeline/status.ts";

const ROWS = 3_000;
/** So much later than its beginning a run may know its rate. */
const KNOWN_MS = 3_000;

test("a baseline in chunks that has read more than was guessed says so, and nothing of rate and time that it does not know", async () => {
  const { ticket } = STREAMS;
  await using b = await chunkBench("full", ROWS, { ticket: ticket! });
  // Whoever tidies up meanwhile would correct the guess.
  await b.sql(TABLES.map((name) => `ALTER TABLE ${name} SET (autovacuum_enabled = off)`).join(";"));
  await b.sql(
    `UPDATE pg_class SET reltuples = 250 WHERE oid = ANY ('{${TABLES.join(", ")}}'::regclass[])`,
  );
  await using running = await b.start();
  const early = new Set<BaselineProgress>();
  const beyond = new Set<BaselineProgress>();
  await running.until(() => {
    const { phase, baseline, startedAt = "", updatedAt = "" } = running.status() ?? {};
    const ageMs = Date.parse(updatedAt) - Date.parse(startedAt);
    if (baseline !== undefined && baseline.chunks > 1 && ageMs < KNOWN_MS) early.add(baseline);
    if (baseline !== undefined && baseline.rowsRead > 500 && phase === "baseline")
      beyond.add(baseline);
    return phase === "tail";
  });
  // A run that has just begun, or gone on, knows no rate yet.
  expect(early.size).toBeGreaterThan(0);
  for (const { rowsPerSecond, secondsLeft } of early)
    expect({ rowsPerSecond, secondsLeft }).toEqual({ rowsPerSecond: 0, secondsLeft: 0 });
  expect(beyond.size).toBeGreaterThan(0);
  for (const { rowsEstimated, secondsLeft } of beyond)
    expect({ rowsEstimated, secondsLeft }).toEqual({ rowsEstimated: 500, secondsLeft: 0 });
  const { rowsEstimated, rowsRead } = running.status()!.baseline!;
  expect(rowsRead).toBe(ROWS * 2.5);
  expect(rowsEstimated).toBe(rowsRead);
  await running.stop();
});
