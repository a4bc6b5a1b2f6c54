import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RandomOrder } from "./random-orders.ts";
import { shopWorld, type ReverseWorld } from "./reverse-support.ts";
import { seededRandom } from "../support/seeded-random.ts";

let world: ReverseWorld;

beforeAll(async () => {
  world = await shopWorld("reverse_random");
});
afterAll(() => world?.[Symbol.asyncDispose]());

describe("native events at random", () => {
  test("are in the rows afterwards, whatever is written between two looks", async () => {
    const seed = Number(process.env["SEED"] ?? Date.now() % 1_000_000);
    process.stdout.write(`seed ${seed}\n`);
    const random = seededRandom(seed);
    const definition = world.definition("order");
    const { rows: customers } = await world.db.query("SELECT id::text FROM customers");
    const { rows: products } = await world.db.query("SELECT sku FROM products");
    const one = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)]!;
    const orders = Array.from(
      { length: 40 },
      (_, i) => new RandomOrder(String(50_000 + i), definition, random),
    );
    const running = world.start();
    for (let turn = 0; turn < 400; turn++) {
      const order = one(orders);
      const events = Array.from({ length: 1 + Math.floor(random() * 3) }, () =>
        order.next((one(customers) as { id: string }).id, (one(products) as { sku: string }).sku),
      ).flat();
      await world.append(order.stream, events);
    }
    await running.reach();
    await running.stop();
    expect(await world.store.reverse.status("shop", 10)).toMatchObject({
      conflicts: 0,
      samples: [],
    });
    expect(await world.expectRowsAreFolds("order")).toBeGreaterThan(100);
    const { rows } = await world.db.query(
      "SELECT count(*)::int AS n FROM banyan_reverse.applied a WHERE pipeline = 'shop'",
    );
    expect((rows[0] as { n: number }).n).toBeGreaterThan(30);
  });
});

test("events of a stream type that is complete are no longer written back, those of others are", async () => {
  const decide = (stage: string): Promise<unknown> =>
    world.storeDatabase.query(
      `INSERT INTO banyan.rollouts AS r (pipeline, stream_type, stage, share, salt) VALUES ('shop', 'order', $1, 10000, 's')
       ON CONFLICT (pipeline, stream_type) DO UPDATE SET stage = excluded.stage, epoch = r.epoch + 1`,
      [stage],
    );
  const random = seededRandom(7);
  const { rows: customers } = await world.db.query("SELECT id::text FROM customers LIMIT 1");
  const { rows: products } = await world.db.query("SELECT sku FROM products LIMIT 1");
  const customer = (customers[0] as { id: string }).id;
  const { sku } = products[0] as { sku: string };
  const order = (id: string): RandomOrder => new RandomOrder(id, world.definition("order"), random);
  const hasRow = async (id: string): Promise<boolean> =>
    (await world.db.query("SELECT 1 FROM orders WHERE id = $1", [id])).rowCount === 1;
  const write = async (id: string): Promise<void> => {
    const one = order(id);
    await world.append(one.stream, one.next(customer, sku));
  };
  await decide("new");
  await write("70001");
  const running = world.start();
  await running.reach();
  expect(await hasRow("70001")).toBe(true);
  await decide("complete");
  // It hears of that within a second or two.
  await sleep(5_000);
  await write("70002");
  await running.reach();
  await running.stop();
  await write("70003");
  await world.writeBack();
  expect([await hasRow("70002"), await hasRow("70003")]).toEqual([false, false]);
  const status = await world.store.reverse.status("shop", 10);
  expect(status).toMatchObject({ conflicts: 0 });
  expect(status!.lagSeconds).toBeLessThan(5);
});
