import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { requestRebaseline } from "../../src/pipeline/rebaseline-plan.ts";
import type { ChangeSource } from "../../src/source/change-source.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import { watchParity, type WatchRound } from "../../src/verify/watch-parity.ts";
import { bench, STREAMS, unseen, type Bench } from "../support/verify-bench.ts";

const WAIT_MS_MAX = 60_000;

/** Has a stream read anew, and waits until that is in the store. */
async function readAnew({ store }: Bench, stream: string): Promise<void> {
  const gaps = async (): Promise<number> => {
    let found = 0;
    for await (const { data } of store.readStream(stream)) if ("$gap" in data) found += 1;
    return found;
  };
  const before = await gaps();
  await requestRebaseline(store, "bank", [stream], "a test asks for it");
  const deadline = Date.now() + WAIT_MS_MAX;
  while ((await gaps()) === before) {
    if (Date.now() > deadline) throw new Error(`${stream} was not read anew`);
    await sleep(20);
  }
}

/** A source where something happens right after a snapshot was taken. */
function afterSnapshot(b: Bench, happen: () => Promise<void>): ChangeSource {
  const source = b.db.open();
  const openParity = source.openParity.bind(source);
  return Object.assign(source, {
    openParity: async (...args: Parameters<ChangeSource["openParity"]>) => {
      const snapshot = await openParity(...args);
      await happen();
      return snapshot;
    },
  });
}

const CHANGE = `
  UPDATE account SET balance = 77 WHERE id = '3';
  DELETE FROM entry WHERE id = 2;
  INSERT INTO entry VALUES (500, '3', 1)`;

test("an aggregate that is read anew while it is verified is left out, and no difference", async () => {
  await using b = await bench();
  expect(await b.verify()).toMatchObject({ state: "equal", present: 80, compared: 80 });
  await unseen(b, "UPDATE account SET owner = 'unseen' WHERE id = '5'");
  await unseen(b, "UPDATE account SET owner = 'unseen' WHERE id = '3'");
  const source = afterSnapshot(b, async () => {
    await b.db.query(CHANGE);
    await readAnew(b, "account-3");
  });
  const report = await b.verify({ source });
  expect(report.samples.map(({ stream }) => stream)).toEqual(["account-5"]);
  expect(report).toMatchObject({
    state: "different",
    conclusive: false,
    present: 80,
    compared: 76,
    excluded: { streams: 1, rows: 4 },
    ...{ missing: 0, extra: 0, different: 1 },
  });
  expect(report.reasons.join()).toContain("1 stream was read anew meanwhile");
  expect((await b.store.parity.findings("bank")).map(({ stream }) => stream)).toEqual([
    "account-5",
  ]);
  await readAnew(b, "account-5");
  // What was read anew before the snapshot is compared as everything else, and nothing is left to write.
  expect(await b.verify()).toMatchObject({
    state: "equal",
    conclusive: true,
    compared: 80,
    excluded: { streams: 0, rows: 0 },
  });
});

test("a look at what changed leaves out what is read anew meanwhile, and looks at it again", async () => {
  await using b = await bench();
  let isAnew = false;
  let snapshots = 0;
  const source = afterSnapshot(b, async () => {
    snapshots += 1;
    if (snapshots === 1 || isAnew) return;
    isAnew = true;
    await b.db.query(CHANGE);
    await readAnew(b, "account-3");
  });
  const rounds: WatchRound[] = [];
  const stop = new AbortController();
  const watching = watchParity(
    {
      pipeline: "bank",
      source,
      store: b.store,
      streams: STREAMS,
      ...{ waitMsMax: 10_000, samplesMax: 5, showValues: false },
      ...{ checkEveryMs: 20, sweepEveryMs: 3_600_000, activeSessionsMax: 1_000 },
      onRound(round) {
        rounds.push(round);
        if (rounds.length === 1) void b.db.query("UPDATE account SET balance = 9 WHERE id = '3'");
        if (isAnew && round.state === "equal") stop.abort();
      },
    },
    AbortSignal.any([stop.signal, AbortSignal.timeout(WAIT_MS_MAX)]),
  );
  await watching.catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
  });
  const [sweep, look, ...later] = rounds;
  expect(sweep).toMatchObject({ kind: "sweep", state: "equal" });
  expect(look).toMatchObject({ kind: "changes", state: "inconclusive", findings: { open: 0 } });
  expect(look!.reasons.join()).toContain("read anew meanwhile");
  expect(later.at(-1)).toMatchObject({ kind: "changes", state: "equal", findings: { open: 0 } });
  expect(rounds.map(({ findings }) => findings.open)).toEqual(rounds.map(() => 0));
});

test("a baseline that begins while it is verified makes the verdict inconclusive", async () => {
  await using b = await bench();
  await unseen(b, "UPDATE account SET owner = 'unseen' WHERE id = '5'");
  let isBegun = false;
  const store = new Proxy(b.store, {
    get(target, name) {
      if (name !== "pipeline") {
        const member: unknown = Reflect.get(target, name, target);
        return typeof member === "function" ? (member.bind(target) as unknown) : member;
      }
      return async (pipeline: string): ReturnType<EventStore["pipeline"]> => {
        const record = await target.pipeline(pipeline);
        const begun = { stream: "account", done: false, rowsRead: 5, rowsEstimated: 20 };
        return isBegun ? ({ ...record, baselines: [begun] } as unknown as typeof record) : record;
      };
    },
  });
  const source = afterSnapshot(b, () => {
    isBegun = true;
    return Promise.resolve();
  });
  const report = await b.verify({ source, store });
  expect(report).toMatchObject({ state: "inconclusive", compared: 0, samples: [] });
  expect(report.reasons.join()).toContain("the baseline is not finished: account");
  expect(await b.store.parity.findings("bank")).toEqual([]);
});
