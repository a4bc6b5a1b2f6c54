import { describe, expect, test } from "vitest";
import { balanceOf, hasMoved, movedBank } from "../support/moved-bank.ts";
import { TEST_LIMITS } from "../support/live-pipeline.ts";

const SHARE = 5_000;
const IDS = Array.from({ length: 20 }, (_, i) => String(i + 1));
const moved = IDS.find((id) => hasMoved(id, SHARE))!;
const stayed = IDS.find((id) => !hasMoved(id, SHARE))!;
const born = Array.from({ length: 100 }, (_, i) => `n${i}`).find((id) => hasMoved(id, SHARE))!;

describe("a write of legacy to an aggregate that has moved", () => {
  test("waits in quarantine, while others of the same transaction, and echoes, go on", async () => {
    await using b = await movedBank("default");
    await b.move("canary", SHARE);
    await b.db.query(`UPDATE account SET owner = 'past' WHERE id IN ('${moved}', '${stayed}')`);
    await b.db.query(`INSERT INTO entry VALUES (900, '${moved}', 1)`);
    await b.settle();
    expect(await b.parked()).toEqual([
      `account-${moved} update FOREIGN_WRITE`,
      `account-${moved} insert BEHIND_QUARANTINE`,
    ]);
    expect(await b.events(`account-${stayed}`)).toHaveLength(2);
    const stream = `account-${moved}`;
    const version = await b.decide(stream, "OwnerNamed", { id: moved, owner: "Ada" });
    await b.writeBack(stream, version, `UPDATE account SET owner = 'Ada' WHERE id = '${moved}'`);
    await b.settle();
    expect(await b.parked()).toHaveLength(2);
    expect(await b.ledger()).toMatchObject({ changesIn: 4, changesParked: 2, changesEchoed: 1 });
    expect(balanceOf(await b.ledger())).toBe(0);
  });

  test("waits on however often it is retried, until legacy decides again, and is dropped by skip", async () => {
    await using b = await movedBank("full");
    await b.move("new");
    await b.db.query(`UPDATE account SET owner = 'past' WHERE id IN ('1', '2')`);
    await b.settle();
    const { quarantine } = b.store;
    const decided = async (): Promise<boolean> =>
      (await quarantine.list({ pipeline: "bank" })).every(({ decision }) => decision === "none");
    await quarantine.decide("bank", undefined, "retry");
    await b.pipeline.until(decided);
    expect(await b.parked()).toHaveLength(2);
    await quarantine.decide("bank", "account-2", "skip");
    await b.pipeline.until(decided);
    expect(await b.parked()).toEqual(["account-1 update FOREIGN_WRITE"]);
    await b.move("shadow");
    await quarantine.decide("bank", undefined, "retry");
    await b.pipeline.until(async () => (await b.parked()).length === 0);
    expect(await b.events("account-1")).toEqual([
      "baseline AccountBaselined",
      "capture OwnerNamed",
    ]);
    expect(await b.events("account-2")).toHaveLength(1);
    expect(balanceOf(await b.ledger())).toBe(0);
    // What was skipped is in the rows, and in no event.
    const report = await b.verify();
    expect(report).toMatchObject({ state: "different", different: 1 });
    expect(report.samples[0]).toMatchObject({
      stream: "account-2",
      columns: [{ column: "owner" }],
    });
  });

  test("by TRUNCATE waits as the removal of each of its rows", async () => {
    await using b = await movedBank("full");
    await b.move("canary", SHARE);
    await b.db.query("TRUNCATE entry");
    await b.settle();
    const parked = await b.parked();
    const count = IDS.filter((id) => hasMoved(id, SHARE)).length;
    expect(parked).toHaveLength(3 * count);
    expect(parked.filter((line) => line.endsWith("FOREIGN_WRITE"))).toHaveLength(count);
    expect(await b.events(`account-${moved}`)).toHaveLength(1);
    expect(await b.events(`account-${stayed}`)).toHaveLength(4);
    expect(balanceOf(await b.ledger())).toBe(0);
  });

  test("is found in a transaction that is spilled to disk", async () => {
    await using b = await movedBank("default", {
      limits: { ...TEST_LIMITS, transactionChangesMax: 5, transactionBytesMax: 1_000_000 },
    });
    await b.move("canary", SHARE);
    await b.db.query("UPDATE account SET balance = 0");
    await b.settle();
    const expected = IDS.filter((id) => hasMoved(id, SHARE));
    expect((await b.parked()).toSorted()).toEqual(
      expected.map((id) => `account-${id} update FOREIGN_WRITE`).toSorted(),
    );
    expect(await b.ledger()).toMatchObject({ changesIn: 20, changesParked: expected.length });
  });
});

describe("a creation by legacy whose bucket has moved", () => {
  test("becomes its events, with what the same transaction changes of it; what comes later waits", async () => {
    await using b = await movedBank("full");
    await b.move("canary", SHARE);
    await b.db.query(`
      BEGIN;
      INSERT INTO account VALUES ('${born}', 'new', 1);
      INSERT INTO entry VALUES (900, '${born}', 1);
      UPDATE account SET owner = 'named' WHERE id = '${born}';
      COMMIT`);
    await b.db.query(`UPDATE account SET owner = 'late' WHERE id = '${born}'`);
    await b.db.query(`DELETE FROM account WHERE id = '${born}'`);
    await b.db.query(`INSERT INTO account VALUES ('${born}', 'again', 1)`);
    await b.settle();
    expect(await b.events(`account-${born}`)).toEqual([
      "capture AccountOpened",
      "capture OwnerNamed",
    ]);
    expect(await b.parked()).toEqual([
      `account-${born} update FOREIGN_WRITE`,
      `account-${born} delete BEHIND_QUARANTINE`,
      `account-${born} insert BEHIND_QUARANTINE`,
    ]);
    expect(balanceOf(await b.ledger())).toBe(0);
  });

  test("is no creation when the service has made that aggregate", async () => {
    await using b = await movedBank("full");
    await b.move("new");
    await b.decide("account-made", "AccountOpened", {
      id: "made",
      owner: "Ada",
      balance: "1.00",
      entries: [],
    });
    await b.db.query("INSERT INTO account VALUES ('made', 'by legacy', 1)");
    await b.settle();
    expect(await b.parked()).toEqual(["account-made insert FOREIGN_WRITE"]);
  });
});
