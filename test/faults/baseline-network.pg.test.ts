import { expect, test } from "vitest";
import { randomFrom } from "../../examples/shop-postgres/traffic.ts";
import { openBank, startTraffic } from "../support/faults-bank.ts";
import {
  Capture,
  eventually,
  expectIntact,
  isNightly,
  openScene,
  seedOf,
} from "../support/faults-capture.ts";

/*
 * The baseline is read under one snapshot and written in one transaction: broken anywhere it has left
 * nothing but a slot, which the next attempt removes.
 */

const ACCOUNTS = 1_000;

test("a baseline cut anywhere begins anew under traffic and is exact in the end", async () => {
  const cuts = isNightly ? 60 : 3;
  const seed = seedOf("baseline cuts");
  const random = randomFrom(seed);
  await using scene = await openScene(await openBank("baseline_cuts", ACCOUNTS));
  const { url } = scene.bank.db;
  await using traffic = startTraffic({ url, seed, accounts: ACCOUNTS });
  // Roughly what the whole baseline takes; a cut that comes too late hits the stream instead.
  const bytes = 400_000;
  scene.toSource.cutAfter(Math.floor(random() * bytes));
  await using capture = new Capture(scene);
  for (let cut = 1; cut < cuts; cut++) {
    await capture.until(() => capture.retries.length >= cut, `cut ${cut} of the baseline`);
    scene.toSource.cutAfter(Math.floor(random() * bytes));
  }
  await capture.untilTailing();
  await capture.untilMore();
  await expectIntact(scene, capture, traffic);
  const { rows } = await scene.bank.db.query(
    "SELECT slot_name FROM pg_replication_slots WHERE database = current_database()",
  );
  expect(rows).toEqual([{ slot_name: scene.bank.slot }]);
}, 300_000);

test("the store cut in the middle of the baseline's events leaves none of them behind", async () => {
  await using scene = await openScene(await openBank("baseline_store", ACCOUNTS));
  await using traffic = startTraffic({
    url: scene.bank.db.url,
    seed: seedOf("baseline store"),
    accounts: ACCOUNTS,
  });
  await using capture = new Capture(scene);
  const sent = (): number => scene.toStore.bytes.up;
  await eventually("the baseline to be written", 20_000, () => sent() > 150_000);
  scene.toStore.cut();
  const error = await capture.untilRetry("STORE_UNREACHABLE");
  expect(error.message).toMatch(/appending events|committing|recording the mapping/);
  await capture.untilTailing();
  expect(capture.status?.baseline?.restarted).toBe(true);
  await expectIntact(scene, capture, traffic);
});

test("a source that vanishes without a word during the baseline is noticed", async () => {
  await using scene = await openScene(await openBank("baseline half open", ACCOUNTS));
  await using traffic = startTraffic({
    url: scene.bank.db.url,
    seed: seedOf("baseline half open"),
    accounts: ACCOUNTS,
    pauseMs: 20,
  });
  scene.toSource.delay(40);
  await using capture = new Capture(scene, { source: { silenceMs: 300 } });
  // Both of its tables, so that no connection is just being made, which would end by itself.
  const reads = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY (SELECT%'`;
  await eventually("two tables to be read", 20_000, async () => {
    return (await scene.bank.db.query(reads)).rowCount === 2;
  });
  scene.toSource.halfOpen();
  scene.toSource.resume();
  const error = await capture.untilRetry("SOURCE_UNREACHABLE");
  expect(error.message).toMatch(/^reading table .* silent/);
  await capture.untilTailing();
  await capture.untilMore();
  await expectIntact(scene, capture, traffic);
  expect(capture.codes).toEqual(["SOURCE_UNREACHABLE"]);
});
