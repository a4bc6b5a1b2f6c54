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
