import { expect, test } from "vitest";
import { lsnOf, parseLsn } from "../../connectors/postgres/lsn.ts";
import { openBank, startTraffic, type Bank } from "../support/faults-bank.ts";
import { Capture, expectIntact, openScene, parityOf, seedOf } from "../support/faults-capture.ts";

/*
 * The publication decides what the log tells us. A change that it does not let through is lost for
 * this capture, so the capture must end with a reason instead of following what is left.
 */

const QUICK = { source: { publicationCheckMs: 200 } };

async function publish({ db, publication }: Bank): Promise<void> {
  await db.query(`CREATE PUBLICATION ${publication} FOR TABLE account, entry`);
}

test("a publication dropped under a running capture ends it at that place of the log", async () => {
  await using scene = await openScene(await openBank("publication dropped"));
  const { bank } = scene;
  await using traffic = startTraffic({ url: bank.db.url, seed: seedOf("publication dropped") });
  // So seldom that only the log itself can tell.
  await using capture = new Capture(scene, { source: { publicationCheckMs: 60_000 } });
  await capture.untilTailing();
  await capture.untilMore();
  await bank.db.query(`DROP PUBLICATION ${bank.publication}`);
  await bank.db.query("INSERT INTO account (id, owner) VALUES (0, 'lost')");
  const { rows } = await bank.db.query("SELECT pg_current_wal_insert_lsn() AS end");
  const endOfLost = parseLsn((rows[0] as { end: string }).end);
  const error = await capture.failure();
  expect(error).toMatchObject({ code: "PUBLICATION_MISSING", recovery: "operator" });
  expect(error.message).toContain(bank.publication);
  expect(error.hint).toMatch(/banyan check.*pg_drop_replication_slot.*empty .*banyan run/);
  await traffic.stop();
  // Made again, it is still not there for the changes in between: nothing passes over them.
  await publish(bank);
  await using again = new Capture(scene);
  expect(await again.failure()).toMatchObject({ code: "PUBLICATION_MISSING" });
  // Whatever was read before the gap may have become durable only now, and nothing from it on.
  for (const { status } of [capture, again])
    expect(lsnOf(status!.positions.checkpoint!)).toBeLessThan(endOfLost);
});

test("a publication dropped and made again while nothing was written does no harm", async () => {
  await using scene = await openScene(await openBank("publication again"));
  const { bank } = scene;
  const seed = seedOf("publication again");
  {
    await using traffic = startTraffic({ url: bank.db.url, seed });
    await using capture = new Capture(scene);
    await capture.untilTailing();
    await capture.untilMore();
    await traffic.stop();
  }
  await bank.db.query(`DROP PUBLICATION ${bank.publication}`);
  await using missing = new Capture(scene);
  const error = await missing.failure();
  expect(error).toMatchObject({ code: "PUBLICATION_MISSING", recovery: "operator" });
  expect(error.hint).toContain("banyan check");
  await publish(bank);
  await using traffic = startTraffic({ url: bank.db.url, seed });
  await using capture = new Capture(scene);
  await capture.untilTailing();
  await capture.untilMore();
  await expectIntact(scene, capture, traffic);
});

test("a table taken out of the publication ends the capture and is named, not forgotten", async () => {
  await using scene = await openScene(await openBank("table removed"));
  const { bank } = scene;
  await using traffic = startTraffic({ url: bank.db.url, seed: seedOf("table removed") });
  await using capture = new Capture(scene, QUICK);
  await capture.untilTailing();
  await capture.untilMore();
  await bank.db.query(`ALTER PUBLICATION ${bank.publication} DROP TABLE entry`);
  const error = await capture.failure();
  expect(error).toMatchObject({ code: "SOURCE_NOT_READY", recovery: "operator" });
  expect(error.message).toContain("public.entry");
  expect(error.hint).toMatch(/ADD TABLE .*entry.*banyan verify/);
  await traffic.stop();
  // What was written meanwhile is gone, and that is no secret either.
  await bank.db.query("UPDATE entry SET memo = 'unseen'");
  await bank.db.query(`ALTER PUBLICATION ${bank.publication} ADD TABLE entry`);
  await using again = new Capture(scene);
  await again.untilTailing();
  expect(await parityOf(scene)).toMatchObject({ state: "different" });
});

test("an operation taken out of the publication ends the capture", async () => {
  await using scene = await openScene(await openBank("operation removed"));
  const { bank } = scene;
  await using capture = new Capture(scene, QUICK);
  await capture.untilTailing();
  await bank.db.query(`ALTER PUBLICATION ${bank.publication} SET (publish = 'insert, update')`);
  const error = await capture.failure();
  expect(error).toMatchObject({ code: "SOURCE_NOT_READY", recovery: "operator" });
  expect(error.message).toContain("leaves out delete, truncate");
});

test("a table replaced under its name ends the capture, even where all tables are published", async () => {
  await using scene = await openScene(await openBank("table replaced"));
  const { bank } = scene;
  await bank.db.query(
    `DROP PUBLICATION ${bank.publication}; CREATE PUBLICATION ${bank.publication} FOR ALL TABLES`,
  );
  await using capture = new Capture(scene, QUICK);
  await capture.untilTailing();
  const before = capture.changes;
  await bank.db.query("UPDATE entry SET amount = amount + 1 WHERE account_id = 1");
  await capture.untilMore(1, before);
  await bank.db.query(
    `CREATE TABLE entry_new (LIKE entry INCLUDING ALL); INSERT INTO entry_new SELECT * FROM entry;
     ALTER TABLE entry RENAME TO entry_old; ALTER TABLE entry_new RENAME TO entry`,
  );
  const error = await capture.failure();
  expect(error).toMatchObject({ code: "SOURCE_CHANGED", recovery: "operator" });
  expect(error.message).toContain("public.entry");
});
