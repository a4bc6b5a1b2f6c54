import { describe, expect, test } from "vitest";
import { balanceOf, movedBank, type Identity } from "../support/moved-bank.ts";
import { TEST_LIMITS } from "../support/live-pipeline.ts";

const IDENTITIES: readonly Identity[] = ["full", "default"];

describe.each(IDENTITIES)(
  "what comes back of a service's events, replica identity %s",
  (identity) => {
    test("is no event, and the next change of legacy is told from the rows that it left", async () => {
      await using b = await movedBank(identity);
      await b.move("new");
      const version = await b.decide("account-1", "OwnerNamed", { id: "1", owner: "Ada" });
      await b.decide("account-1", "AccountAmended", {
        $row: "entries",
        $op: "insert",
        id: "900",
        account_id: "1",
        amount: "5.00",
      });
      await b.writeBack(
        "account-1",
        version + 1,
        "UPDATE account SET owner = 'Ada' WHERE id = '1'; INSERT INTO entry VALUES (900, '1', 5)",
      );
      await b.settle();
      expect(await b.parked()).toEqual([]);
      expect(await b.events("account-1")).toEqual([
        "baseline AccountBaselined",
        "native OwnerNamed",
        "native AccountAmended",
      ]);
      expect(await b.ledger()).toMatchObject({ changesIn: 2, changesEchoed: 2, events: 20 });
      expect(await b.verify()).toMatchObject({ state: "equal", reasons: [], compared: 81 });
      // Authority goes back; the pipeline begins anew, so that it asks where the streams stand.
      await b.move("legacy");
      await b.restart();
      await b.db.query("UPDATE account SET owner = 'Bea' WHERE id = '1'");
      await b.db.query("DELETE FROM entry WHERE id = 900");
      await b.settle();
      expect(await b.parked()).toEqual([]);
      const was: unknown[] = [];
      for await (const { data } of b.store.readStream("account-1", { fromVersion: 4 }))
        was.push(data["$was"]);
      expect(was).toEqual([{ owner: "Ada" }, { id: "900", account_id: "1", amount: "5.00" }]);
      expect(await b.verify()).toMatchObject({ state: "equal", reasons: [] });
      expect(balanceOf(await b.ledger())).toBe(0);
    });

    test("is told apart in a transaction that is spilled to disk and comes in parts", async () => {
      await using b = await movedBank(identity, {
        limits: { ...TEST_LIMITS, transactionChangesMax: 10, transactionBytesMax: 1_000_000 },
      });
      await b.move("new");
      const version = await b.decide("account-1", "OwnerNamed", { id: "1", owner: "Ada" });
      // Another account is changed in the same transaction without having been echoed.
      await b.writeBack(
        "account-1",
        version,
        `UPDATE account SET owner = 'Ada' WHERE id = '1';
       UPDATE entry SET amount = amount WHERE account_id = '1';
       UPDATE account SET balance = 0 WHERE id = '2'; UPDATE entry SET amount = 0 WHERE account_id IN ('2', '3', '4', '5')`,
      );
      await b.settle();
      expect(new Set((await b.parked()).map((line) => line.split(" ")[0]))).toEqual(
        new Set(["account-2", "account-3", "account-4", "account-5"]),
      );
      expect(await b.events("account-1")).toHaveLength(2);
      expect(await b.ledger()).toMatchObject({
        changesIn: 17,
        changesEchoed: 4,
        changesParked: 13,
      });
    });

    test("of a row that moved between two accounts is told on the side that is not an echo", async () => {
      await using b = await movedBank(identity);
      await b.move("shadow");
      const version = await b.decide("account-2", "AccountAmended", {
        $row: "entries",
        $op: "delete",
        id: "1",
      });
      await b.writeBack("account-2", version, "UPDATE entry SET account_id = '7' WHERE id = 1");
      await b.settle();
      expect(await b.events("account-2")).toHaveLength(2);
      expect(await b.events("account-7")).toEqual([
        "baseline AccountBaselined",
        "capture AccountAmended",
      ]);
      expect(await b.verify()).toMatchObject({ state: "equal", reasons: [] });
      expect(balanceOf(await b.ledger())).toBe(0);
    });

    test("waits in quarantine when the store has no such event, until it is told what to do", async () => {
      await using b = await movedBank(identity);
      await b.move("new");
      await b.writeBack("account-1", 7, "UPDATE account SET owner = 'nobody' WHERE id = '1'");
      await b.settle();
      expect(await b.parked()).toEqual(["account-1 update ECHO_UNKNOWN"]);
      expect((await b.verify()).state).toBe("inconclusive");
      for (let i = 0; i < 6; i++)
        await b.decide("account-1", "OwnerNamed", { id: "1", owner: "nobody" });
      await b.store.quarantine.decide("bank", "account-1", "retry");
      await b.pipeline.until(async () => (await b.parked()).length === 0);
      expect(await b.ledger()).toMatchObject({ changesIn: 1, changesEchoed: 1, changesParked: 0 });
      expect(await b.verify()).toMatchObject({ state: "equal", reasons: [] });
    });
  },
);

test("an echo of another pipeline, and one that cannot be understood, is none", async () => {
  await using b = await movedBank("full");
  for (const said of [
    '{"pipeline":"other","stream":"account-1","version":1}',
    "{",
    '{"pipeline":"bank"}',
  ])
    await b.db.query(`BEGIN; SELECT pg_logical_emit_message(true, 'banyan.echo', '${said}');
      UPDATE account SET balance = balance + 1 WHERE id = '1'; COMMIT`);
  await b.settle();
  expect(await b.ledger()).toMatchObject({ changesIn: 3, changesFallback: 3, changesEchoed: 0 });
});

test("an echo that a baseline in chunks has read is left out like any other change", async () => {
  await using b = await movedBank("default", { baseline: "chunked" });
  await b.move("shadow");
  const version = await b.decide("account-3", "OwnerNamed", { id: "3", owner: "Ada" });
  await b.query(
    "INSERT INTO banyan.rebaselines (pipeline_id, stream_id, reason) SELECT id, 'account-3', 'test' FROM banyan.pipelines",
  );
  await b.writeBack("account-3", version, "UPDATE account SET owner = 'Ada' WHERE id = '3'");
  await b.restart();
  await b.pipeline.until(async () => {
    const { rows } = await b.query("SELECT FROM banyan.rebaselines WHERE done_at IS NULL");
    return rows.length === 0;
  });
  await b.db.query("UPDATE account SET balance = 1 WHERE id = '3'");
  await b.settle();
  expect(await b.parked()).toEqual([]);
  expect(await b.verify()).toMatchObject({ state: "equal", reasons: [] });
});
