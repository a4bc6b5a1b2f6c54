import fc from "fast-check";
import { expect, test } from "vitest";
import { histories, runHistory, type Bug } from "./dual-histories.ts";
import { budget } from "../../support/random-budget.ts";

/*
 * Random histories of a legacy application and of a service in shadow, judged:
 *
 *   a service that decides as legacy does never fails, however late it learns of what was changed;
 *   what it decides on an older version is never a pass unless both refused it;
 *   a service with a bug fails, and no write that the bug changed passes.
 */

const BUGS: readonly Bug[] = [
  "rounding",
  "forgotten status rule",
  "lost line",
  "wrong stream",
  "extra event",
];
const said = fc.boolean();

test("a service that decides as legacy does never fails", () => {
  const seen = { pass: 0, fail: 0, inconclusive: 0 };
  fc.assert(
    fc.property(histories, said, (steps, hasCorrelation) => {
      const outcomes = runHistory(steps, { hasCorrelation });
      for (const { judgement } of outcomes) {
        expect(judgement).toBeDefined();
        seen[judgement!.verdict] += 1;
      }
      expect(outcomes.filter(({ judgement }) => judgement!.verdict === "fail")).toEqual([]);
    }),
    budget(300),
  );
  expect(seen.pass).toBeGreaterThan(300);
  expect(seen.inconclusive).toBeGreaterThan(100);
});

test("a service that knows all and whose legacy says the id always passes", () => {
  fc.assert(
    fc.property(histories, (steps) => {
      const fresh = steps.map((step) => ({ ...step, isStale: false }));
      const verdicts = runHistory(fresh, { hasCorrelation: true });
      expect(verdicts.map(({ judgement }) => judgement!.verdict)).toEqual(fresh.map(() => "pass"));
    }),
    budget(150),
  );
});

test.each(BUGS)("a service with a bug (%s) fails, and what it changed never passes", (bug) => {
  let failed = 0;
  fc.assert(
    fc.property(histories, said, (steps, hasCorrelation) => {
      const outcomes = runHistory(steps, { bug, hasCorrelation });
      const changed = outcomes.filter(({ isBuggy }) => isBuggy);
      expect(changed.filter(({ judgement }) => judgement!.verdict === "pass")).toEqual([]);
      const fresh = changed.filter(({ isStale }) => !isStale);
      if (hasCorrelation)
        expect(fresh.filter(({ judgement }) => judgement!.verdict !== "fail")).toEqual([]);
      failed += fresh.filter(({ judgement }) => judgement!.verdict === "fail").length;
    }),
    budget(150),
  );
  expect(failed).toBeGreaterThan(5);
});
