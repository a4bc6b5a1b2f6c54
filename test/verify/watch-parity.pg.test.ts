import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { WatchRound } from "../../src/verify/watch-parity.ts";
import { WAIT_MS_MAX, watch, withParity } from "../support/parity-watch.ts";
import { bench, unseen } from "../support/verify-bench.ts";

describe("a watch", () => {
  test("begins with a sweep, then looks at what changed, and ends with its last round", async () => {
    await using b = await bench();
    await using w = watch(b);
    const sweep = await w.until("a sweep", ({ kind }) => kind === "sweep");
    expect(sweep).toMatchObject({ state: "equal", findings: { open: 0, settled: 0 } });
    await b.db.query("UPDATE account SET balance = 9 WHERE id IN ('3', '4')");
    await b.db.query("DELETE FROM entry WHERE id = 7");
    const look = await w.until(
      "a look",
      ({ kind, checked = 0 }) => kind === "changes" && checked > 0,
    );
    expect(look).toMatchObject({ state: "equal", skipped: 0, findings: { open: 0 } });
    expect(await w.stop()).toMatchObject({ state: "equal" });
    expect(w.rounds.filter(({ kind }) => kind === "sweep")).not.toHaveLength(0);
  });

  test("finds at an aggregate's next event what no event told before, settles it, and starts its clock anew", async () => {
    await using b = await bench();
    await using w = watch(b);
    await w.until("a sweep", ({ kind }) => kind === "sweep");
    await unseen(b, "UPDATE account SET owner = 'unseen' WHERE id = '3'");
    await b.db.query("UPDATE account SET balance = 9 WHERE id = '3'");
    await w.until("a settled finding", ({ findings }) => findings.settled === 1);
    const [finding] = await b.store.parity.findings("bank");
    expect(finding).toMatchObject({
      stream: "account-3",
      table: "public.account",
      key: "3",
      verdict: "different",
      columns: ["owner"],
    });
    const { report } = (await b.store.parity.report("bank"))!;
    expect(report).toMatchObject({ state: "different", different: 1, missing: 0, extra: 0 });
    await b.db.query("UPDATE account SET balance = 10 WHERE id = '3'");
    const again = await w.until("a recheck", ({ kind }) => kind === "changes");
    expect(again.findings.open).toBe(1);
    await w.until("it settles again", ({ findings }) => findings.settled === 1);
    const [later] = await b.store.parity.findings("bank");
    expect(later!.firstSeen > finding!.firstSeen).toBe(true);
    expect(later!.version).toBeGreaterThan(finding!.version);
  });

  test("tells of a look only where there was something to look at, and leaves the sweep's report as old as it is", async () => {
    await using b = await bench();
    await using w = watch(b);
    const sweep = await w.until("a sweep", ({ kind }) => kind === "sweep");
    await sleep(300);
    expect(w.rounds).toEqual([sweep]);
    await b.db.query("UPDATE account SET balance = 9 WHERE id = '3'");
    await w.until("a look", ({ kind }) => kind === "changes");
    const { report } = (await b.store.parity.report("bank"))!;
    expect(report).toMatchObject({ state: "equal", finishedAt: sweep.at });
  });

  test("notes in the report as of when it saw that all that changed is equal, and not where something is not", async () => {
    await using b = await bench();
    const checkedAt = async (): Promise<string | undefined> =>
      ((await b.store.parity.report("bank"))!.report as { checkedAt?: string }).checkedAt;
    await using w = watch(b);
    const sweep = await w.until("a sweep", ({ kind }) => kind === "sweep");
    expect(await checkedAt()).toBeUndefined();
    const from = new Date().toISOString();
    await b.db.query("UPDATE account SET balance = 9 WHERE id = '3'");
    await b.pipeline.reach();
    await expect.poll(checkedAt, { timeout: WAIT_MS_MAX }).toSatisfy((at) => at > from);
    const at = (await checkedAt())!;
    expect(at > sweep.at && at <= new Date().toISOString()).toBe(true);
    await unseen(b, "UPDATE account SET owner = 'unseen' WHERE id = '3'");
    await b.db.query("UPDATE account SET balance = 10 WHERE id = '3'");
    await w.until("a settled finding", ({ findings }) => findings.settled === 1);
    expect(await checkedAt()).toBe(at);
  });

  test("says what one look cannot take, and calls nothing equal until everything is swept", async () => {
    await using b = await bench(
      "INSERT INTO account SELECT i::text, 'owner', i FROM generate_series(1, 5100) i",
    );
    // It is told of all of them at once.
    let held = Promise.resolve();
    const store = withParity(b.store, (parity) => ({
      changedSince: async (...asked) => (await held, await parity.changedSince(...asked)),
    }));
    // A sweep waits while the source is busy: so none comes before it was looked twice.
    const source = b.db.open();
    let activeSessions = 0;
    source.load = () =>
      Promise.resolve({
        activeSessions,
        standbyLagSeconds: undefined,
        transactionsBegun: undefined,
      });
    await using w = watch(b, { store, source, sweepEveryMs: 60_000 });
    await w.until("a sweep", ({ kind, state }) => kind === "sweep" && state === "equal");
    activeSessions = 10_000;
    let release = (): void => undefined;
    held = new Promise((resolve) => (release = resolve));
    await b.db.query("UPDATE account SET balance = 9");
    await b.pipeline.reach();
    release();
    const reason = "changed aggregates are left to the next sweep";
    const full = await w.until("a full look", ({ skipped = 0 }) => skipped > 0);
    expect(full.state).toBe("inconclusive");
    expect(full.reasons.join()).toContain(reason);
    await b.db.query("UPDATE account SET balance = 10 WHERE id = '3'");
    const next = await w.until("another look", ({ kind }) => kind === "changes");
    expect(next).toMatchObject({ state: "inconclusive", findings: { open: 0 } });
    expect(next.reasons.join()).toContain(reason);
    expect((await b.store.parity.report("bank"))!.report).toMatchObject({ state: "inconclusive" });
    activeSessions = 0;
    // It comes sooner than in a minute.
    const sweep = await w.until("a sweep", ({ kind }) => kind === "sweep");
    expect(sweep.state).toBe("equal");
  });

  test("does not call equal what differs and never settles, because events go on", async () => {
    await using b = await bench();
    await using w = watch(b);
    await w.until("a sweep", ({ kind }) => kind === "sweep");
    await unseen(b, "UPDATE account SET owner = 'unseen' WHERE id = '3'");
    const looks: WatchRound[] = [];
    for (let balance = 1; looks.length < 4; balance++) {
      const look = w.until("a look", ({ findings }) => findings.open === 1);
      await b.db.query(`UPDATE account SET balance = ${balance} WHERE id = '3'`);
      looks.push(await look);
      const { report } = (await b.store.parity.report("bank"))!;
      expect((report as { state: string }).state).not.toBe("equal");
    }
    expect(looks.map(({ state }) => state)).not.toContain("equal");
    expect(looks[0]!.reasons.join()).toContain("may be a passing one");
  });

  test("keeps the finding of a stream that comes into quarantine, and calls nothing equal then", async () => {
    await using b = await bench();
    await unseen(b, "UPDATE account SET owner = 'unseen' WHERE id = '5'");
    await using w = watch(b);
    await w.until("a settled finding", ({ findings }) => findings.settled === 1);
    await b.db.query("UPDATE account SET owner = 'unmappable' WHERE id = '5'");
    await b.db.query("UPDATE account SET balance = 3 WHERE id = '6'");
    const look = await w.until("a look", ({ reasons }) => reasons.join().includes("quarantine"));
    expect(look).toMatchObject({ state: "different", findings: { open: 1, settled: 1 } });
  });

  test("calls nothing equal after a sweep that could not tell of everything", async () => {
    await using b = await bench();
    await b.db.query("UPDATE account SET owner = 'unmappable' WHERE id = '5'");
    await using w = watch(b);
    const sweep = await w.until("a sweep", ({ kind }) => kind === "sweep");
    expect(sweep.state).toBe("inconclusive");
    await b.db.query("UPDATE account SET balance = 3 WHERE id = '6'");
    const look = await w.until("a look", ({ kind }) => kind === "changes");
    expect(look).toMatchObject({ state: "inconclusive", findings: { open: 0 } });
  });

  test("drops a finding when the aggregate is equal again", async () => {
    await using b = await bench();
    await unseen(b, "UPDATE account SET owner = 'unseen' WHERE id = '3'");
    await using w = watch(b);
    await w.until("a settled finding", ({ findings }) => findings.settled === 1);
    await unseen(b, "UPDATE account SET owner = 'owner 3' WHERE id = '3'");
    const over = await w.until("it is over", ({ findings }) => findings.open === 0);
    expect(over.state).toBe("equal");
    expect((await b.store.parity.report("bank"))!.report).toMatchObject({
      state: "equal",
      different: 0,
    });
    expect(await w.stop()).toMatchObject({ state: "equal" });
  });

  test("drops a finding when its column is told again, and goes on to say that what came before it was not told", async () => {
    await using b = await bench();
    await unseen(b, "UPDATE account SET owner = 'unseen' WHERE id = '3'");
    await using w = watch(b);
    await w.until("a settled finding", ({ findings }) => findings.settled === 1);
    await b.db.query("UPDATE account SET owner = 'seen' WHERE id = '3'");
    const over = await w.until("it is over", ({ findings }) => findings.open === 0);
    const reasons = ["1 stream has events that do not follow on from each other"];
    expect(over).toMatchObject({ kind: "changes", state: "different", reasons });
    const { report } = (await b.store.parity.report("bank"))!;
    expect(report).toMatchObject({
      state: "different",
      different: 0,
      history: {
        streams: 1,
        samples: [{ verdict: "broken", stream: "account-3", version: 2, columns: ["owner"] }],
      },
    });
    await b.db.query("UPDATE account SET owner = 'seen again' WHERE id = '3'");
    const later = await w.until("a further look", ({ kind }) => kind === "changes");
    expect(later).toMatchObject({ state: "different", reasons });
    expect(await b.verify({ refold: true })).toMatchObject({ state: "different", reasons });
  });

  test("sweeps again, and then finds what no event told", async () => {
    await using b = await bench();
    await using w = watch(b, { sweepEveryMs: 1 });
    await w.until("a sweep", ({ kind }) => kind === "sweep");
    await unseen(b, "DELETE FROM entry WHERE id = 20");
    const sweep = await w.until("another sweep", ({ state }) => state === "different");
    expect(sweep.kind).toBe("sweep");
    expect(sweep.findings.open).toBe(1);
  });

  test("puts a sweep off while the source is busy, and says why", async () => {
    await using b = await bench();
    const steps: string[] = [];
    await using w = watch(b, {
      sweepEveryMs: 1,
      activeSessionsMax: -1,
      onProgress: ({ step }) => void steps.push(step),
    });
    await w.until("a sweep", ({ kind }) => kind === "sweep");
    const deadline = Date.now() + WAIT_MS_MAX;
    while (!steps.some((step) => step.startsWith("a sweep waits")) && Date.now() < deadline)
      await sleep(50);
    expect(steps.find((step) => step.startsWith("a sweep waits"))).toMatch(
      /^a sweep waits: \d+ sessions are at work in the source$/,
    );
    expect(w.rounds.filter(({ kind }) => kind === "sweep").length).toBeGreaterThan(0);
  });

  test("cannot tell while the pipeline stands still, and the store says so", async () => {
    await using b = await bench();
    await using w = watch(b, { waitMsMax: 1_000, sweepEveryMs: 1 });
    await w.until("a sweep", ({ state }) => state === "equal");
    await b.pipeline.stop();
    const stuck = await w.until("no verdict", ({ state }) => state === "inconclusive");
    expect(stuck.reasons.join()).toContain("did not reach");
    expect((await b.store.parity.report("bank"))!.report).toMatchObject({ state: "inconclusive" });
  });
});

test("kept folds are thrown away on demand, and then what was lost behind them is found", async () => {
  await using b = await bench();
  expect(await b.verify()).toMatchObject({ state: "equal" });
  await b.query(`
    ALTER TABLE banyan.events DISABLE TRIGGER ALL;
    UPDATE banyan.events SET data = jsonb_set(data, '{balance}', '"77.00"')
     WHERE stream_id = 'account-3' AND version = 1;
    ALTER TABLE banyan.events ENABLE TRIGGER ALL`);
  expect(await b.verify()).toMatchObject({ state: "equal" });
  const report = await b.verify({ refold: true });
  expect(report).toMatchObject({ state: "different", different: 1 });
  expect(report.samples[0]).toMatchObject({ stream: "account-3", key: "3" });
});
