import { describe, expect, test } from "vitest";
import { BanyanError } from "../../src/model/errors.ts";
import type { ParityReport } from "../../src/verify/parity-report.ts";
import { WatchMemory } from "../../src/verify/watch-parity.ts";
import { startPipeline } from "../support/live-pipeline.ts";
import { hooked, watch, watchOptions, withParity } from "../support/parity-watch.ts";
import { bench, STREAMS, unseen, type Bench } from "../support/verify-bench.ts";

async function reportOf({ store }: Bench): Promise<ParityReport> {
  return (await store.parity.report("bank"))!.report as ParityReport;
}

const fail = (code: "SOURCE_UNREACHABLE" | "SOURCE_REFUSED" | "SOURCE_CHANGED"): never => {
  throw new BanyanError(code, `it is ${code}`);
};

describe("a sweep that could not tell", () => {
  test("is tried again soon, and what was known by the one before is not forgotten for it", async () => {
    await using b = await bench();
    const first = await b.verify();
    await b.pipeline.stop();
    await using w = watch(b, { waitMsMax: 1_000 });
    const stuck = await w.until("no verdict", ({ kind }) => kind === "sweep");
    expect(stuck).toMatchObject({ state: "inconclusive" });
    expect(await reportOf(b)).toMatchObject({
      state: "inconclusive",
      conclusive: true,
      compared: 80,
      finishedAt: first.finishedAt,
    });
    await using pipeline = await startPipeline({
      name: "bank",
      openSource: () => b.db.open(),
      store: b.store,
      streams: STREAMS,
    });
    await pipeline.reach();
    // One that was under way already may still say that it cannot tell.
    await w.until("another sweep", ({ kind, state }) => kind === "sweep" && state === "equal");
  });

  test("leaves what had events, also when it has folded them, to be looked at", async () => {
    await using b = await bench();
    const source = hooked(b, {
      before: (nth) => (nth === 2 ? fail("SOURCE_CHANGED") : undefined),
    });
    const identify = source.identify.bind(source);
    let asked = 0;
    source.identify = async () => {
      // The second sweep has begun, and has yet to fold what is new. Its time counts: it is not tried again at once.
      if ((asked += 1) === 2) {
        await unseen(b, "UPDATE account SET owner = 'unseen' WHERE id = '3'");
        await b.db.query("UPDATE account SET balance = 9 WHERE id = '3'");
        await b.pipeline.reach();
      }
      return await identify();
    };
    await using w = watch(b, { source, sweepEveryMs: 500 });
    await w.until("a sweep", ({ kind, state }) => kind === "sweep" && state === "equal");
    const broken = await w.until("a broken sweep", () => true);
    expect(broken).toMatchObject({ kind: "sweep", state: "inconclusive", findings: { open: 0 } });
    const look = await w.until("a look", () => true);
    expect(look).toMatchObject({ kind: "changes", checked: 1, findings: { open: 1 } });
  });
});

describe("a watch", () => {
  test("survives that a column is dropped under a sweep, says so, and sweeps again as the table is then", async () => {
    await using b = await bench();
    await b.db.query("ALTER TABLE account ADD COLUMN note text");
    await b.db.query("UPDATE account SET note = 'x' WHERE id = '1'");
    await b.pipeline.reach();
    const source = hooked(b, {
      after: (nth) => (nth === 1 ? b.db.query("ALTER TABLE account DROP COLUMN note") : undefined),
    });
    await using w = watch(b, { source, sweepEveryMs: 1_000 });
    const broken = await w.until("a broken sweep", ({ kind }) => kind === "sweep");
    expect(broken.state).toBe("inconclusive");
    expect(broken.reasons.join()).toMatch(/column .*note.* does not exist; it is tried again/);
    await w.until("a good one", ({ kind, state }) => kind === "sweep" && state === "equal");
  });

  test("survives that folds are thrown away under a look, and looks again", async () => {
    await using b = await bench();
    let isForgotten = false;
    const store = withParity(b.store, (parity) => ({
      async openFolds(scope) {
        if (!isForgotten && w.rounds.length > 0) {
          isForgotten = true;
          await parity.forget("bank");
        }
        return await parity.openFolds(scope);
      },
    }));
    await using w = watch(b, { store });
    await w.until("a sweep", ({ state }) => state === "equal");
    await b.db.query("UPDATE account SET balance = 9 WHERE id = '3'");
    const broken = await w.until("a broken look", ({ kind }) => kind === "changes");
    expect(broken.state).toBe("inconclusive");
    expect(broken.reasons.join()).toContain(
      "being made anew by another program; it is tried again",
    );
    const look = await w.until("another", ({ checked }) => checked === 1);
    expect(look.state).toBe("equal");
  });

  test("that is begun again goes on where it was: no second sweep, no second refold, no change forgotten", async () => {
    await using b = await bench();
    const memory = new WatchMemory(watchOptions(b));
    const refused = hooked(b, {
      before: (nth) => (nth === 1 || nth === 3 ? fail("SOURCE_UNREACHABLE") : undefined),
    });
    let forgotten = 0;
    const store = withParity(b.store, (parity) => ({
      async forget(pipeline) {
        forgotten += 1;
        await parity.forget(pipeline);
      },
    }));
    const again = { source: refused, refold: true, store };
    const begin = (): ReturnType<typeof watch> => watch(b, again, memory);
    const lost = { code: "SOURCE_UNREACHABLE" };
    await expect(begin().ended).rejects.toMatchObject(lost);
    expect(forgotten).toBe(1);
    const second = begin();
    await second.until("a sweep", ({ kind, state }) => kind === "sweep" && state === "equal");
    await unseen(b, "UPDATE account SET owner = 'unseen' WHERE id = '3'");
    await b.db.query("UPDATE account SET balance = 9 WHERE id = '3'");
    await expect(second.ended).rejects.toMatchObject(lost);
    await using third = begin();
    const found = await third.until("a look", () => true);
    expect(found).toMatchObject({ kind: "changes", findings: { open: 1 } });
    expect(forgotten).toBe(1);
  });

  test("ends with what only an operator can mend", async () => {
    await using b = await bench();
    const source = hooked(b, { before: () => fail("SOURCE_REFUSED") });
    await expect(watch(b, { source }).ended).rejects.toMatchObject({ code: "SOURCE_REFUSED" });
  });
});
