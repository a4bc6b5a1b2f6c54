import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { lsnOf, parseLsn } from "../../connectors/postgres/lsn.ts";
import type { Position } from "../../src/model/position.ts";
import { randomFrom } from "../../examples/shop-postgres/traffic.ts";
import { HOLD_TRAFFIC, openBank, startTraffic } from "../support/faults-bank.ts";
import {
  Capture,
  eventually,
  expectIntact,
  isNightly,
  openScene,
  seedOf,
} from "../support/faults-capture.ts";

/*
 * The store breaks while events are written. Events and checkpoint are one transaction there, so
 * whether a commit that was not answered took place is read from the store and never guessed.
 */

/** So long a store that is there never takes, its making of tables on a busy machine included. */
const ANSWER_MS_MAX = 3_000;

test("a store cut at any byte of what it answers, COPY and commit included, resumes exactly", async () => {
  const cuts = isNightly ? 300 : 8;
  const seed = seedOf("store cuts");
  const random = randomFrom(seed);
  await using scene = await openScene(await openBank("store_cuts"));
  // Many cuts hold the capture up for long: it must be able to catch up afterwards.
  const pauseMs = isNightly ? 20 : 2;
  await using traffic = startTraffic({ url: scene.bank.db.url, seed, pauseMs });
  await using capture = new Capture(scene);
  await capture.untilTailing();
  for (let cut = 0; cut < cuts; cut++) {
    const before = capture.retries.length;
    // A batch is answered with some 200 bytes, so within the next few of them.
    const isCut = scene.toStore.cutAfter(Math.floor(10 ** (1 + random() * 2)));
    await capture.untilOver(isCut, before, `cut ${cut}`);
  }
  await capture.untilMore();
  await expectIntact(scene, capture, traffic);
  expect(new Set(capture.codes)).toEqual(new Set(["STORE_UNREACHABLE"]));
}, 300_000);

test("a COPY of events cut in the middle leaves nothing of it", async () => {
  await using scene = await openScene(await openBank("copy", 1_000));
  await using traffic = startTraffic({ url: scene.bank.db.url, seed: seedOf("copy") });
  await using capture = new Capture(scene);
  await capture.untilTailing();
  await capture.untilMore();
  scene.toStore.delay(2);
  await scene.bank.db.query(
    `BEGIN; ${HOLD_TRAFFIC}; UPDATE entry SET memo = repeat(md5(no::text), 20); COMMIT`,
  );
  await eventually("a COPY under way", 60_000, async () => {
    const copying =
      "SELECT FROM pg_stat_progress_copy WHERE datname = current_database() AND tuples_processed > 500";
    return (await scene.store.query(copying)).rowCount === 1;
  });
  scene.toStore.cut();
  scene.toStore.resume();
  await capture.untilRetry("STORE_UNREACHABLE");
  await capture.untilMore();
  await expectIntact(scene, capture, traffic);
});

test("a commit whose answer is lost is not made twice", async () => {
  await using scene = await openScene(await openBank("lost answer"));
  await using traffic = startTraffic({ url: scene.bank.db.url, seed: seedOf("lost answer") });
  await using capture = new Capture(scene);
  await capture.untilTailing();
  await capture.untilMore();
  // The store hears everything and its answers do not come back. Mostly that holds up a statement
  // before the commit; it is tried until it is the commit.
  let unanswered = false;
  for (let attempt = 0; attempt < 200 && !unanswered; attempt++) {
    await sleep(7);
    scene.toStore.stall("down");
    await sleep(40);
    unanswered = (await checkpointOf(scene.store)) > capture.status!.positions.checkpoint!;
    if (!unanswered) scene.toStore.resume();
  }
  expect(unanswered).toBe(true);
  scene.toStore.cut();
  scene.toStore.resume();
  await capture.untilRetry("STORE_UNREACHABLE");
  await capture.untilMore();
  await expectIntact(scene, capture, traffic);
});

test("a store that stalls and comes back costs time and no retry, and nothing is acknowledged meanwhile", async () => {
  await using scene = await openScene(await openBank("store stall"));
  await using traffic = startTraffic({ url: scene.bank.db.url, seed: seedOf("store stall") });
  await using capture = new Capture(scene);
  await capture.untilTailing();
  await capture.untilMore();
  scene.toStore.stall();
  await sleep(1_500);
  const { rows } = await scene.bank.db.query(
    "SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = $1",
    [scene.bank.slot],
  );
  const confirmed = parseLsn((rows as { lsn: string }[])[0]!.lsn);
  const checkpoint = lsnOf((await checkpointOf(scene.store)) as Position);
  expect(confirmed <= checkpoint).toBe(true);
  scene.toStore.resume();
  await capture.untilMore();
  await expectIntact(scene, capture, traffic);
  expect(capture.codes).toEqual([]);
});

test("a store that vanished without a word is given up after its time to answer", async () => {
  await using scene = await openScene(await openBank("store half open"));
  const { url } = scene.bank.db;
  await using traffic = startTraffic({ url, seed: seedOf("store half open"), pauseMs: 10 });
  await using capture = new Capture(scene, { storeParameters: `query_timeout=${ANSWER_MS_MAX}` });
  await capture.untilTailing();
  await capture.untilMore();
  scene.toStore.halfOpen();
  const error = await capture.untilRetry("STORE_UNREACHABLE");
  expect(error.message).toMatch(/did not answer in time/);
  await capture.untilMore();
  await expectIntact(scene, capture, traffic);
});

async function checkpointOf(store: {
  query(sql: string): Promise<{ rows: unknown[] }>;
}): Promise<string> {
  const { rows } = await store.query("SELECT checkpoint FROM banyan.pipelines");
  return (rows as { checkpoint: string }[])[0]!.checkpoint;
}
