import { describe, expect, test } from "vitest";
import { ChangedStreams } from "../../src/verify/changed-streams.ts";
import { checkChanges, type Checked } from "../../src/verify/check-changes.ts";
import { FINDINGS_MAX } from "../../src/verify/findings.ts";
import type { ParityReport } from "../../src/verify/parity-report.ts";
import { sweepParity } from "../../src/verify/verify-parity.ts";
import type { ParityFinding } from "../../src/store/parity-store.ts";
import { hooked, watch, watchOptions } from "../support/parity-watch.ts";
import { bench, unseen, type Bench } from "../support/verify-bench.ts";

const NEVER = new AbortController().signal;

/** Another verification finds a difference that no event told of. */
async function findOther(b: Bench): Promise<void> {
  await unseen(b, "UPDATE account SET owner = 'unseen' WHERE id = '3'");
  expect(await b.verify()).toMatchObject({ state: "different", different: 1 });
}

async function kept(
  b: Bench,
): Promise<{ report: ParityReport; findings: readonly ParityFinding[] }> {
  const { report } = (await b.store.parity.report("bank"))!;
  return { report: report as ParityReport, findings: await b.store.parity.findings("bank") };
}

/** A look at account 6 behind a sweep, with something beside it. */
async function lookBeside(b: Bench, hooks: Parameters<typeof hooked>[1]): Promise<Checked> {
  const options = watchOptions(b);
  const changed = new ChangedStreams();
  await changed.collect(options);
  await b.db.query("UPDATE account SET balance = 9 WHERE id = '6'");
  await b.pipeline.reach();
  await changed.collect(options);
  const checked = await checkChanges(
    { ...options, source: hooked(b, hooks) },
    changed,
    false,
    NEVER,
  );
  expect(checked).toMatchObject({ checked: 1 });
  return checked!;
}

describe("a look at what changed", () => {
  test("leaves what another verification has found meanwhile, and its report", async () => {
    await using b = await bench();
    await b.verify();
    await lookBeside(b, { before: () => findOther(b) });
    const { report, findings } = await kept(b);
    expect(findings).toMatchObject([{ stream: "account-3", rechecks: 0 }]);
    expect(report).toMatchObject({ state: "different", conclusive: true, different: 1 });
  });

  test("does not call equal what another verification could not tell of since", async () => {
    await using b = await bench();
    await b.verify();
    const looked = await lookBeside(b, {
      async before() {
        await b.db.query("UPDATE account SET owner = 'unmappable' WHERE id = '5'");
        expect(await b.verify()).toMatchObject({ state: "inconclusive" });
        await b.query("UPDATE banyan.quarantine SET state = 'skipped'");
      },
    });
    expect(looked.state).toBe("inconclusive");
    expect((await kept(b)).report).toMatchObject({ state: "inconclusive", conclusive: false });
  });

  test("does not take back a finding that is gone, nor its age", async () => {
    await using b = await bench();
    await unseen(b, "UPDATE account SET owner = 'unseen' WHERE id = '6'");
    await b.verify();
    await lookBeside(b, {
      // The difference is found by the look, whose snapshot is older.
      async after() {
        await unseen(b, "UPDATE account SET owner = 'owner 6' WHERE id = '6'");
        expect(await b.verify()).toMatchObject({ state: "equal" });
      },
    });
    const { report, findings } = await kept(b);
    expect(findings).toMatchObject([{ stream: "account-6", rechecks: 0 }]);
    expect(report.state).toBe("inconclusive");
  });
});

describe("a sweep", () => {
  test("leaves what another verification has found since its snapshot, and is not kept as equal then", async () => {
    await using b = await bench();
    const sweep = await sweepParity(
      watchOptions(b, { source: hooked(b, { after: () => findOther(b) }) }),
      NEVER,
    );
    expect(sweep.report).toMatchObject({ state: "equal", different: 0 });
    const { report, findings } = await kept(b);
    expect(findings).toMatchObject([{ stream: "account-3", rechecks: 0 }]);
    expect(report).toMatchObject({ state: "inconclusive", different: 1 });
    expect(report.reasons.join()).toContain("found by another verification");
    expect(sweep.kept).toMatchObject({ state: "inconclusive" });
    // What it found itself is what a repair reads anew.
    expect(sweep.differences).toEqual([]);
  });

  test("drops what it found equal, and keeps what it did not look at", async () => {
    await using b = await bench();
    await unseen(b, "UPDATE account SET owner = 'unseen' WHERE id IN ('5', '6')");
    expect(await b.verify()).toMatchObject({ state: "different", different: 2 });
    await unseen(b, "UPDATE account SET owner = 'owner 6' WHERE id = '6'");
    await b.db.query("UPDATE account SET owner = 'unmappable' WHERE id = '5'");
    expect(await b.verify()).toMatchObject({ state: "inconclusive", different: 0 });
    const { report, findings } = await kept(b);
    expect(findings).toMatchObject([{ stream: "account-5" }]);
    expect(report).toMatchObject({ state: "inconclusive", conclusive: false, different: 1 });
  });
});

test("more differences than are kept are not equal once those that are kept are gone", async () => {
  const all = FINDINGS_MAX + 50;
  await using b = await bench(
    `INSERT INTO account SELECT i::text, 'owner', i FROM generate_series(1, ${all}) i`,
  );
  await using w = watch(b);
  await w.until("a sweep", ({ kind, state }) => kind === "sweep" && state === "equal");
  await unseen(b, "UPDATE account SET owner = 'unseen'");
  await b.db.query("UPDATE account SET balance = 9");
  const found = await w.until("a look", ({ findings }) => findings.open === FINDINGS_MAX);
  expect(found.state).not.toBe("equal");
  expect(found.reasons.join()).toContain("more than 1,000 differences");
  const { conclusive, different } = (await kept(b)).report;
  expect(conclusive).toBe(false);
  expect(different).toBeGreaterThan(FINDINGS_MAX);
  const streams = (await kept(b)).findings.map(({ key }) => `'${key}'`);
  await unseen(b, `UPDATE account SET owner = 'owner' WHERE id IN (${streams.join()})`);
  const over = await w.until("those are over", ({ findings }) => findings.open === 0);
  expect(over.state).not.toBe("equal");
  expect((await kept(b)).report.state).not.toBe("equal");
  expect(await b.verify()).toMatchObject({ state: "different", different: 50 });
});
