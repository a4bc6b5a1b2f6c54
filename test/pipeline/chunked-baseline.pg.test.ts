import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { chunkBench, PACE, SHAPES, startTraffic } from "../support/chunk-bench.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { brokenStreams } from "../support/unbroken-streams.ts";

const NIGHTLY = process.env["BANYAN_TEST_BUDGET"] === "nightly";
const SEEDS = NIGHTLY ? 12 : 1;
const ROWS = NIGHTLY ? 6_000 : 1_500;

/** Of chunks by how they end, what they are limited by, and how many there are at least. */
const ENDS = {
  "where they are meant to": { limits: { baselineChunkRowsMax: 100 }, chunksMin: 30 },
  // In groups of 500 aggregates, of which each is one too many.
  early: { limits: { baselineChunkRowsMax: ROWS, baselineChunkMsMax: 0.1 }, chunksMin: 6 },
};

const KINDS = (["full", "default"] as const).flatMap((identity) =>
  (Object.keys(ENDS) as (keyof typeof ENDS)[]).map((ends) => ({ identity, ends })),
);

describe.each(KINDS)("with replica identity $identity, chunks end $ends:", ({ identity, ends }) => {
  const { limits, chunksMin } = ENDS[ends];
  test.each(Array.from({ length: SEEDS }, (_, i) => i + 1))(
    "a baseline in chunks beside live traffic tells nothing twice and leaves nothing out (%i)",
    async (n) => {
      const seed = Number(process.env["BANYAN_TEST_SEED"] ?? Date.now() % 1_000_000) + n;
      process.stderr.write(`seed ${seed}\n`);
      await using b = await chunkBench(identity, ROWS);
      const busy = await Promise.all(
        [1, 2, 3].map((i) => startTraffic(b, seededRandom(seed * 10 + i), ROWS)),
      );
      const open = await b.session();
      await using running = await b.start({ pace: { ...PACE, ...limits } });
      await running.until(() => (running.status()?.baseline?.chunks ?? 0) > 0);
      await open.query("BEGIN; UPDATE ticket SET n = n + 1 WHERE id % 500 = 7");
      await running.until(() => running.status()?.baseline?.streams.done === 3);
      await open.query("COMMIT");
      await open.end();
      await sleep(200);
      for (const one of busy) await one.stop();
      await running.reach();
      expect(running.status()!.baseline!.chunks).toBeGreaterThan(chunksMin);
      expect(await brokenStreams(b.store, SHAPES)).toEqual([]);
      expect(await b.store.quarantine.count("chunks")).toBe(0);
      expect(await running.verify()).toMatchObject({ state: "equal", samples: [] });
      await running.stop();
    },
    300_000,
  );
});
