import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import {
  ACCOUNTS,
  NIGHTLY,
  openExam,
  ordered,
  orderedFlaws,
  scenarios,
  sightsOf,
  type Exam,
  type Scenario,
  type Where,
} from "./exam-support.ts";
import { Saboteur } from "../support/faulty-events.ts";
import { faultyMapper } from "../support/faulty-mapper.ts";

/*
 * The verifier's own exam: a mapper or a store that spoils one event among many, in each of the ways
 * that there are, while the application writes and the pipeline lags behind. Each fault is found and
 * named at its key and column, or at the event with which it shows, and nothing else is.
 */

const SEED = Number(process.env["BANYAN_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
process.stderr.write(`exam: BANYAN_TEST_SEED=${SEED}\n`);
const TEST_MS_MAX = NIGHTLY ? 3_600_000 : 600_000;
/** How long nothing is committed, and so how far the pipeline lags behind when it is verified. */
const LAG_MS: Readonly<Record<Where, number>> = {
  mapper: NIGHTLY ? 30_000 : 1_000,
  store: 30_000,
};

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
        exam.faulty.lagMs = Number.POSITIVE_INFINITY;
        await commit(exam, faults);
        const startedMs = performance.now();
        const catchingUp = sleep(LAG_MS[where]).then(() => (exam.faulty.lagMs = 0));
        const report = await exam.verify();
        expect(performance.now() - startedMs).toBeGreaterThanOrEqual(LAG_MS[where]);
        await catchingUp;
        const seen = faults.flatMap((scenario) => scenario.seen);
        const flaws = faults.flatMap((scenario) => scenario.flaws(where));
        const flawed = new Set(flaws.map(({ stream }) => stream)).size;
        // What a mapper loses or doubles was never counted otherwise.
        const untold = where === "mapper" ? 0 : doublesOf(faults) - dropsOf(faults);
        expect(saboteur.pending).toBe(0);
        expect(sightsOf(report)).toEqual(ordered(seen));
        expect(orderedFlaws(report.history.samples)).toEqual(orderedFlaws(flaws));
        const count = (verdict: string): number =>
          seen.filter((sight) => sight.verdict === verdict).length;
        expect(report).toMatchObject({
          state: "different",
          missing: count("missing"),
          extra: count("extra"),
          different: count("different"),
          history: { streams: flawed, untold },
          reasons: [
            `${flawed} streams have events that do not follow on from each other`,
            ...(untold === 0
              ? []
              : [`the store lacks ${-untold} events that its pipelines have written`]),
          ],
        });
        expect(report.compared).toBe(report.present);
        expect(report.present).toBeGreaterThan(3 * ACCOUNTS - faults.length);
        // The same where the spoilt events are in what is kept, and where nothing is.
        const again = await exam.verify();
        expect(sightsOf(again)).toEqual(ordered(seen));
        expect(again.history).toEqual(report.history);
        // Of all that changed meanwhile, next to nothing had to be looked at.
        expect(again.effort.aggregatesExamined).toBeLessThan(ACCOUNTS / 20);
        const anew = await exam.verify({ refold: true });
        expect(sightsOf(anew)).toEqual(ordered(seen));
        expect(anew.history).toEqual(report.history);
        expect(await stopTraffic()).toBeGreaterThan(20);
      } finally {
        await stopTraffic();
      }
    },
    TEST_MS_MAX,
  );
}

function dropsOf(faults: readonly Scenario[]): number {
  return faults.filter(({ fault }) => fault.kind === "drop").length;
}

function doublesOf(faults: readonly Scenario[]): number {
  return faults.filter(({ fault }) => fault.kind === "double").length;
}
