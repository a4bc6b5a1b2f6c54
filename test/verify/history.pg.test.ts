import { expect, test } from "vitest";
import { openExam, UNMAPPABLE } from "./exam-support.ts";
import { Saboteur, type Fault } from "../support/faulty-events.ts";
import { faultyMapper } from "../support/faulty-mapper.ts";

/* What becomes of a history that was found flawed, and what is no flaw. */

const SEED = 20_260_202;
const LOST_AND_DOUBLED: readonly Fault[] = [{ kind: "drop" }, { kind: "double" }];

test("an aggregate that is read anew has no flaw any more", async () => {
  const saboteur = new Saboteur();
  // A store that holds an event twice takes no more of its stream.
  using _ = faultyMapper(saboteur);
  await using exam = await openExam(SEED, { accounts: 50 });
  const victims = LOST_AND_DOUBLED.map((fault) => {
    const id = exam.victim();
    saboteur.plan(`account-${id}`, fault);
    return id;
  });
  const [lost, doubled] = victims as [number, number];
  for (const [id, balance] of [
    [lost, -1],
    [lost, -2],
    [doubled, -1],
  ])
    await exam.db.query(`UPDATE account SET balance = ${balance} WHERE id = ${id}`);
  await exam.pipeline.reach();
  const found = await exam.verify();
  expect(found).toMatchObject({
    state: "different",
    history: { streams: 2, untold: 0 },
    nextSteps: [expect.stringMatching(/^banyan history account-/), "banyan verify --repair"],
  });
  expect(await exam.verify()).toMatchObject({ state: "different", history: { streams: 2 } });
  const [streams, reason] = [victims.map((id) => `account-${id}`), "verify found a difference"];
  await exam.store.requestRebaseline("exam", streams, reason);
  await exam.pipeline.until(async () => {
    return (await exam.store.rebaselineRequests("exam", "0", 10)).length === 0;
  });
  for (const refold of [false, true])
    expect(await exam.verify({ refold })).toMatchObject({
      state: "equal",
      history: { streams: 0, untold: 0, samples: [] },
    });
});

test("events that no stream lacks are missed by their number, until that is settled", async () => {
  const saboteur = new Saboteur();
  await using exam = await openExam(SEED, { saboteur, accounts: 50 });
  // Its row is gone before anybody looks, and with it all that its events have told.
  saboteur.plan("account-900", { kind: "drop" });
  await exam.db.query("INSERT INTO account VALUES (900, 'brief', 1)");
  await exam.pipeline.reach();
  saboteur.plan("account-900", { kind: "drop" });
  await exam.db.query("DELETE FROM account WHERE id = 900");
  await exam.pipeline.reach();
  for (const refold of [false, true])
    expect(await exam.verify({ refold })).toMatchObject({
      state: "different",
      reasons: ["the store lacks 2 events that its pipelines have written"],
      history: { streams: 0, untold: -2 },
    });
  await exam.store.parity.settleEvents();
  expect(await exam.verify()).toMatchObject({ state: "equal", history: { untold: 0 } });
  await exam.db.query("UPDATE account SET balance = -1 WHERE id = 1");
  await exam.pipeline.reach();
  expect(await exam.verify({ refold: true })).toMatchObject({ state: "equal" });
});

test("a change that was skipped in quarantine is missing from history, and no flaw", async () => {
  await using exam = await openExam(SEED, { accounts: 50 });
  const id = exam.victim();
  const parked = async (): Promise<number> => await exam.store.quarantine.count("exam");
  await exam.db.query(`UPDATE account SET owner = '${UNMAPPABLE}', balance = -1 WHERE id = ${id}`);
  await exam.pipeline.until(async () => (await parked()) === 1);
  await exam.store.quarantine.decide("exam", undefined, "skip");
  await exam.pipeline.until(async () => (await parked()) === 0);
  await exam.db.query(`UPDATE account SET owner = 'known', balance = -2 WHERE id = ${id}`);
  await exam.pipeline.reach();
  for (const refold of [false, true])
    expect(await exam.verify({ refold })).toMatchObject({ state: "equal", reasons: [] });
});

test("schema changes, moves between aggregates and removed rows leave a history without flaws", async () => {
  await using exam = await openExam(SEED, { accounts: 50 });
  const stopTraffic = exam.startTraffic();
  try {
    await exam.verify();
    for (const sql of [
      "ALTER TABLE account ADD COLUMN note text DEFAULT 'none'",
      "UPDATE account SET note = 'a', balance = balance + 1 WHERE id < 10",
      "ALTER TABLE account RENAME COLUMN note TO remark",
      "UPDATE account SET remark = 'b', owner = 'o' WHERE id < 20",
      "ALTER TABLE account ALTER COLUMN balance TYPE numeric(14,4)",
      "UPDATE account SET balance = balance + 1 WHERE id < 20",
      "UPDATE account SET id = id + 1000 WHERE id < 3",
      "UPDATE entry SET account_id = account_id + 1000 WHERE account_id < 3",
      "DELETE FROM account WHERE id = 1001",
      "INSERT INTO account VALUES (1001, 'again', 1)",
    ])
      await exam.db.query(sql);
    await exam.pipeline.reach();
    for (const refold of [false, true])
      expect((await exam.verify({ refold })).history).toEqual({
        streams: 0,
        untold: 0,
        samples: [],
      });
  } finally {
    await stopTraffic();
  }
});
