import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { expect, test } from "vitest";
import { startShopServer } from "../../examples/shop-postgres/app.ts";
import { seedShop } from "../../examples/shop-postgres/seed.ts";
import { createDatabase } from "../support/databases.ts";

const WAIT_MS_MAX = 60_000;

test("a session that ends in the middle of a request fails that request, and the shop goes on", async () => {
  await using database = await createDatabase("shop_sessions");
  await seedShop({ url: database.url, orders: 20, seed: 1 });
  const shop = await startShopServer({ databaseUrl: database.url });
  const holder = new pg.Client({ connectionString: database.url });
  await holder.connect();
  try {
    await holder.query("BEGIN; SELECT FROM orders WHERE id = 1 FOR UPDATE");
    const request = fetch(`${shop.url}/orders/1`, { method: "DELETE" });
    const deadline = Date.now() + WAIT_MS_MAX;
    const end = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name = 'shop' AND wait_event_type = 'Lock'`;
    while ((await database.query(end)).rowCount === 0) {
      if (Date.now() > deadline) throw new Error("the request never came to wait for the row");
      await sleep(10);
    }
    expect((await request).status).toBe(500);
    await holder.query("ROLLBACK");
    expect((await fetch(`${shop.url}/orders/1`, { method: "DELETE" })).status).toBeLessThan(300);
  } finally {
    await holder.end();
    await shop.close();
  }
});
