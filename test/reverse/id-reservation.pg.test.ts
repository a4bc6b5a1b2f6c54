import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { PIPELINE, shopWorld, type ReverseWorld } from "./reverse-support.ts";
import { postgresLegacyIds } from "../../connectors/postgres/legacy-ids.ts";
import { bucketOf } from "../../src/rollout/bucket.ts";
import { runIdReservation } from "../../src/reverse/run-id-reservation.ts";

let world: ReverseWorld;

beforeAll(async () => {
  world = await shopWorld("reserved_ids", 10);
});
afterAll(() => world?.[Symbol.asyncDispose]());

async function decide(type: string, stage: string, share: number): Promise<void> {
  await world.storeDatabase.query(
    `INSERT INTO banyan.rollouts AS r (pipeline, stream_type, stage, share, salt) VALUES ($1, $2, $3, $4, 'salt')
     ON CONFLICT (pipeline, stream_type) DO UPDATE SET stage = excluded.stage, share = excluded.share, epoch = r.epoch + 1`,
    [PIPELINE, type, stage, share],
  );
}

interface Reserved {
  readonly id: string;
  readonly bucket: number;
}

async function reserved(type: string): Promise<Reserved[]> {
  const { rows } = await world.storeDatabase.query(
    "SELECT id::text, bucket FROM banyan.reserved_ids WHERE pipeline = $1 AND stream_type = $2 ORDER BY id",
    [PIPELINE, type],
  );
  return rows as Reserved[];
}

async function runUntil(holds: () => Promise<boolean>): Promise<void> {
  const stop = new AbortController();
  const openIds = () => postgresLegacyIds({ url: world.db.url });
  const running = runIdReservation(
    { pipeline: PIPELINE, store: world.store, openIds },
    stop.signal,
  );
  try {
    for (let look = 0; !(await holds()); look++) {
      if (look > 4_000) throw new Error("ids did not come in time");
      await sleep(20);
    }
  } finally {
    stop.abort();
    await running;
  }
}

test("ids come from the sequence, those of use at hand, with the buckets that the proxy computes", async () => {
  await decide("order", "canary", 2_500);
  await decide("product", "new", 0);
  await decide("customer", "legacy", 9_000);
  const usable = async (): Promise<number> =>
    (await reserved("order")).filter(({ bucket }) => bucket < 2_500).length;
  await runUntil(
    async () => (await usable()) >= 200 && (await reserved("order/shipments")).length >= 200,
  );
  const ids = await reserved("order");
  expect(ids.map(({ id }) => bucketOf(id, "salt"))).toEqual(ids.map(({ bucket }) => bucket));
  expect(ids.length).toBeLessThanOrEqual(30_000);
  expect(new Set((await reserved("order/shipments")).map(({ bucket }) => bucket))).toEqual(
    new Set([0]),
  );
  // Natural keys, two columns, and what has not moved.
  for (const other of ["product", "product/stock", "order/lines", "order/payments", "customer"])
    expect(await reserved(other), other).toEqual([]);
  const highest = BigInt(ids.at(-1)!.id);
  const { rows } = await world.db.query("SELECT nextval('orders_id_seq')::text AS next");
  expect(BigInt((rows[0] as { next: string }).next)).toBeGreaterThan(highest);
});

test("ids are at hand before the first share moves", async () => {
  await world.storeDatabase.query("DELETE FROM banyan.reserved_ids");
  await world.db.query("SELECT setval('orders_id_seq', 100000)");
  await decide("order", "shadow", 0);
  const usable = async (below: number): Promise<number> =>
    (await reserved("order")).filter(({ bucket }) => bucket < below).length;
  await runUntil(async () => (await usable(100)) >= 20);
  await world.storeDatabase.query(
    `INSERT INTO banyan.moves (pipeline, stream_type, kind, from_stage, from_share, to_stage, to_share, step, epoch,
                               who, why, hold_ms, driver)
     VALUES ($1, 'order', 'promote', 'shadow', 0, 'canary', 1000, 'begun', 1, 'ann', '', 5000, gen_random_uuid())`,
    [PIPELINE],
  );
  await runUntil(async () => (await usable(1_000)) >= 200);
  await world.storeDatabase.query(
    "UPDATE banyan.moves SET ended_at = now(), outcome = 'undone' WHERE ended_at IS NULL",
  );
  await world.storeDatabase.query("DELETE FROM banyan.reserved_ids");
});

test("ids that are left are filled up again, beyond 2^53, and kept through a way back", async () => {
  await world.storeDatabase.query("DELETE FROM banyan.reserved_ids");
  await world.db.query("SELECT setval('orders_id_seq', 9007199254740993)");
  await decide("order", "new", 0);
  await runUntil(async () => (await reserved("order")).length >= 200);
  const first = await reserved("order");
  expect(BigInt(first[0]!.id)).toBe(9007199254740994n);
  await decide("order", "legacy", 0);
  await decide("order", "canary", 10_000);
  await world.storeDatabase.query(
    "DELETE FROM banyan.reserved_ids WHERE id < 9007199254741900 AND stream_type = 'order'",
  );
  await runUntil(async () => (await reserved("order")).length >= 500);
  const all = await reserved("order");
  expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
  // None of those of before came a second time.
  const later = all.filter(({ id }) => BigInt(id) > BigInt(first.at(-1)!.id));
  expect(later.length).toBeGreaterThan(400);
  const { rows } = await world.db.query("SELECT nextval('orders_id_seq')::text AS next");
  expect(BigInt((rows[0] as { next: string }).next)).toBeGreaterThan(BigInt(all.at(-1)!.id));
});

test("ids go on to be reserved once a stream type is complete", async () => {
  await world.storeDatabase.query("DELETE FROM banyan.reserved_ids");
  await decide("order", "complete", 10_000);
  await runUntil(async () => (await reserved("order")).length >= 200);
});
