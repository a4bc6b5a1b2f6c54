import { describe, expect, test } from "vitest";
import { hasMoved, movedBank } from "../support/moved-bank.ts";
import { TEST_LIMITS } from "../support/live-pipeline.ts";

const SHARE = 5_000;
const IDS = Array.from({ length: 20 }, (_, i) => String(i + 1));
const [moved, alsoMoved] = IDS.filter((id) => hasMoved(id, SHARE)) as [string, string];
const stayed = IDS.find((id) => !hasMoved(id, SHARE))!;

describe("a change of authority", () => {
  test("is known before a write is judged, however soon that comes", async () => {
    await using b = await movedBank("full");
    await b.move("shadow");
    for (let round = 0; round < 5; round++) {
      await b.move("new");
      await b.db.query(`UPDATE account SET owner = 'past ${round}' WHERE id = '${alsoMoved}'`);
      await b.settle();
      expect(await b.parked()).toHaveLength(1);
      await b.move("shadow");
      await b.db.query(`UPDATE account SET owner = 'own ${round}' WHERE id = '${moved}'`);
      await b.settle();
      expect(await b.parked()).toHaveLength(1);
      await b.store.quarantine.decide("bank", undefined, "retry");
      await b.pipeline.until(async () => (await b.parked()).length === 0);
    }
    expect(await b.events(`account-${moved}`)).toHaveLength(6);
    expect(await b.verify()).toMatchObject({ state: "equal", reasons: [] });
  });

  test("over other aggregates ends no attempt", async () => {
    await using b = await movedBank("full");
    await b.move("shadow");
    await b.db.query(`UPDATE account SET owner = 'before' WHERE id = '${stayed}'`);
    expect(await b.settle()).toBe(1);
    for (let round = 0; round < 5; round++) {
      await b.move("canary", SHARE);
      await b.db.query(`UPDATE account SET owner = 'then ${round}' WHERE id = '${stayed}'`);
      expect(await b.settle()).toBe(1);
      await b.move("shadow");
    }
    expect(await b.events(`account-${stayed}`)).toHaveLength(7);
  });

  test("in the midst of traffic ends every write either as an event or in quarantine, and none twice", async () => {
    await using b = await movedBank("default", { limits: { ...TEST_LIMITS, batchChangesMax: 20 } });
    await b.move("shadow");
    let writing = true;
    let writes = 0;
    const traffic = (async () => {
      for (; writing; writes++) {
        const id = IDS[writes % IDS.length]!;
        await b.db.query(`UPDATE account SET balance = balance + 1 WHERE id = '${id}'`);
      }
    })();
    const movers = IDS.filter((id) => hasMoved(id, SHARE));
    try {
      for (let round = 0; round < 3; round++) {
        await b.settle();
        await b.move("canary", SHARE);
        for (const id of movers) {
          const named = { id, owner: `round ${round}` };
          const decide = (): Promise<number> => b.decide(`account-${id}`, "OwnerNamed", named);
          const version = await decide().catch(decide);
          const set = `UPDATE account SET owner = 'round ${round}' WHERE id = '${id}'`;
          await b.writeBack(`account-${id}`, version, set);
        }
        await b.settle();
        await b.move("shadow");
        await b.store.quarantine.decide("bank", undefined, "retry");
      }
    } finally {
      writing = false;
      await traffic;
    }
    await b.settle();
    await b.store.quarantine.decide("bank", undefined, "retry");
    await b.pipeline.until(async () => (await b.parked()).length === 0);
    const echoes = 3 * movers.length;
    expect(await b.ledger()).toMatchObject({
      changesIn: writes + echoes,
      changesFallback: writes,
      changesEchoed: echoes,
      changesParked: 0,
    });
    expect(await b.verify()).toMatchObject({ state: "equal", reasons: [] });
  });
});

describe("aggregates that have moved are not read anew", () => {
  test("when all others are, after the place in the log was lost", async () => {
    await using b = await movedBank("default");
    await b.move("canary", SHARE);
    await b.settle();
    const movers = IDS.filter((id) => hasMoved(id, SHARE));
    const version = await b.decide(`account-${moved}`, "OwnerNamed", { id: moved, owner: "Ada" });
    const done = await b.rebaseline();
    expect(done).toMatchObject({ restated: 20 - movers.length, gone: 0, moved: movers.length });
    expect(await b.events(`account-${moved}`)).toEqual([
      "baseline AccountBaselined",
      "native OwnerNamed",
    ]);
    expect(await b.verify()).toMatchObject({ state: "equal", reasons: [], compared: 80 });
    const set = `UPDATE account SET owner = 'Ada' WHERE id = '${moved}'`;
    await b.writeBack(`account-${moved}`, version, set);
    await b.settle();
    expect(await b.parked()).toEqual([]);
    expect(await b.verify()).toMatchObject({ state: "equal", reasons: [], compared: 80 });
  });

  test("when that was asked for one, until legacy decides again", async () => {
    await using b = await movedBank("full");
    await b.move("canary", SHARE);
    await b.settle();
    const ask = (id: string): Promise<number> =>
      b.store.requestRebaseline("bank", [`account-${id}`], "a test");
    await ask(moved);
    await ask(stayed);
    await b.pipeline.until(async () => (await b.events(`account-${stayed}`)).length === 2);
    expect(await b.events(`account-${moved}`)).toHaveLength(1);
    await b.move("shadow");
    await b.pipeline.until(async () => (await b.events(`account-${moved}`)).length === 2);
    expect(await b.verify()).toMatchObject({ state: "equal", reasons: [] });
  });
});
