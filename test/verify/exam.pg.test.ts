import { expect, test } from "vitest";
import {
  ACCOUNTS,
  LAG_MS,
  NIGHTLY,
  openExam,
  ordered,
  scenarios,
  sightsOf,
  type Exam,
  type Scenario,
} from "./exam-support.ts";
import { Saboteur } from "../support/faulty-events.ts";
import { faultyMapper } from "../support/faulty-mapper.ts";

/*
 * The verifier's own exam: a mapper or a store that spoils one event among many, in each of the ways
 * that there are, while the application writes and the pipeline lags behind. Each fault is found and
 * named at its key and column, and nothing else is.
 */

const SEED = Number(process.env["BANYAN_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
process.stderr.write(`exam: BANYAN_TEST_SEED=${SEED}\n`);
const TEST_MS_MAX = NIGHTLY ? 1_200_000 : 600_000;

async function commit(exam: Exam, faults: readonly Scenario[]): Promise<void> {
  for (const { sql } of faults) for (const statement of sql) await exam.db.query(statement);
}

for (const where of ["mapper", "store"] as const) {
  test(
    `a faulty ${where} is found out in each of its faults, at the key and the column, and in nothing else`,
    async () => {
      const saboteur = new Saboteur();
      using _ = where === "mapper" ? faultyMapper(saboteur) : undefined;
      await using exam = await openExam(SEED, where === "store" ? { saboteur } : {});
      const faults = scenarios(exam);
      for (const { stream, fault } of faults) saboteur.plan(stream, fault);
      const stopTraffic = exam.startTraffic();
      try {
        // Folds of before are kept, and nothing is found in them.
        expect(await exam.verify()).toMatchObject({ state: "equal", samples: [] });
        exam.faulty.lagMs = LAG_MS;
        await commit(exam, faults);
        const startedMs = Date.now();
        const report = await exam.verify();
        expect(Date.now() - startedMs).toBeGreaterThanOrEqual(LAG_MS);
        exam.faulty.lagMs = 0;
        const seen = faults.flatMap((scenario) => scenario.seen);
        expect(saboteur.pending).toBe(0);
        expect(sightsOf(report)).toEqual(ordered(seen));
        const count = (verdict: string): number =>
          seen.filter((sight) => sight.verdict === verdict).length;
        expect(report).toMatchObject({
          state: "different",
          missing: count("missing"),
          extra: count("extra"),
          different: count("different"),
          reasons: [],
        });
        expect(report.compared).toBe(report.present);
        expect(report.present).toBeGreaterThan(3 * ACCOUNTS - faults.length);
        // The same where the spoilt events are in what is kept, and where nothing is.
        const again = await exam.verify();
        expect(sightsOf(again)).toEqual(ordered(seen));
        // Of all that changed meanwhile, next to nothing had to be looked at.
        expect(again.effort.aggregatesExamined).toBeLessThan(ACCOUNTS / 20);
        expect(sightsOf(await exam.verify({ refold: true }))).toEqual(ordered(seen));
        expect(await stopTraffic()).toBeGreaterThan(20);
      } finally {
        await stopTraffic();
      }
    },
    TEST_MS_MAX,
  );
}
