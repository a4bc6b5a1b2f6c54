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
/** Of rows comes more at once, and of all else less. */
const ROWS_BYTES_MIN = 4_096;

test("a baseline cut anywhere begins anew under traffic and is exact in the end", async () => {
  const cuts = isNightly ? 60 : 3;
  const seed = seedOf("baseline cuts");
  const random = randomFrom(seed);
  await using scene = await openScene(await openBank("baseline_cuts", ACCOUNTS));
  const { url } = scene.bank.db;
  await using traffic = startTraffic({ url, seed, accounts: ACCOUNTS });
  // Roughly what the whole baseline takes; a cut that comes too late hits the stream instead, or a session
  // whose loss costs nobody anything.
  const bytes = 400_000;
  const cutNext = (): (() => boolean) => scene.toSource.cutAfter(Math.floor(random() * bytes));
  let isCut = cutNext();
  let retries = 0;
  await using capture = new Capture(scene);
  for (let cut = 1; cut < cuts; cut++) {
    await capture.untilOver(isCut, retries, `cut ${cut} of the baseline`);
    retries = capture.retries.length;
    isCut = cutNext();
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
  const isCut = scene.toStore.cutAfter(150_000, "up");
  await using capture = new Capture(scene);
  await capture.until(isCut, "the baseline to be written");
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
  // So that they are read for longer than it takes to see that.
  scene.toSource.delay(250, ROWS_BYTES_MIN);
  await using capture = new Capture(scene, { source: { silenceMs: 300 } });
  // Both of its tables, so that no connection is just being made, which would end by itself.
  const reads = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY (SELECT%'`;
  await eventually("two tables to be read", 60_000, async () => {
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
