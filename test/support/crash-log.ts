import pg from "pg";
import { copyStore, createStore, witnessCommits, type WitnessedStore } from "./crash-store.ts";
import { runToEnd, type Capture } from "./crash-capture.ts";
import { openShop, startTraffic, type TestShop } from "./shop.ts";

/** A pipeline that can be run from where it stands as often as one likes, each time on a copy. */
export interface Origin extends AsyncDisposable {
  readonly shop: TestShop;
  readonly store: WitnessedStore;
  readonly slot: string;
}

/** A copy of a pipeline, for one run. */
export interface Fork extends Capture, AsyncDisposable {
  readonly store: WitnessedStore;
}

/** A shop, and a pipeline that has written its baseline and waits there. */
export async function openOrigin(label: string, seed: number): Promise<Origin> {
  const shop = await openShop({ label, orders: 1_600, seed });
  const store = await createStore(label);
  const slot = slotOf(store);
  await runToEnd({ shop, storeUrl: store.url, slot });
  await witnessCommits(store);
  return {
    shop,
    store,
    slot,
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      await shop[Symbol.asyncDispose]();
    },
  };
}

/** Copies store and slot, so that the copy reads the very same log. */
export async function fork({ shop, ...origin }: Origin, label: string): Promise<Fork> {
  const store = await copyStore(origin.store, label);
  const slot = slotOf(store);
  await shop.database.query("SELECT pg_copy_logical_replication_slot($1, $2)", [origin.slot, slot]);
  return {
    shop,
    store,
    storeUrl: store.url,
    slot,
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

/** A pipeline of the same shop that has never run. */
export async function forkEmpty({ shop }: Pick<Origin, "shop">, label: string): Promise<Fork> {
  const store = await createStore(label);
  return {
    shop,
    store,
    storeUrl: store.url,
    slot: slotOf(store),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

/** A slot's name is unique in its server, and at most 63 characters long. */
function slotOf({ name }: WitnessedStore): string {
  return `slot_${name}`.slice(0, 63);
}

/** A day's ordinary requests, one after the other. */
export async function write(shop: TestShop, seed: number, requests: number): Promise<void> {
  const traffic = await startTraffic(shop, {
    seeds: [seed],
    requestsPerSecond: 1_000,
    requestsMax: requests,
  });
  await traffic.done;
}

/** A transaction that has written and is still open. @returns commits it */
export async function beginTransaction({ database }: TestShop): Promise<() => Promise<void>> {
  const client = new pg.Client({ connectionString: database.url });
  client.on("error", () => undefined);
  await client.connect();
  await client.query("BEGIN");
  await client.query("UPDATE orders SET note = 'from long ago' WHERE id = 1");
  await client.query("DELETE FROM payments WHERE order_id = 2");
  return async () => {
    await client.query("COMMIT");
    await client.end();
  };
}

/**
 * One transaction far beyond what is kept in memory, with all that makes its events depend on each
 * other: rows inserted, changed and deleted in it, rows that move between aggregates, and a rolled back part.
 */
export async function writeLargeTransaction({ database }: TestShop): Promise<void> {
  await runInOne(database.url, [
    "CREATE TEMPORARY TABLE made (id bigint) ON COMMIT DROP",
    `WITH inserted AS (
       INSERT INTO orders (customer_id, note) SELECT 1 + n % 300, repeat(md5(n::text), 20) FROM generate_series(1, 5000) n RETURNING id)
     INSERT INTO made SELECT id FROM inserted`,
    "INSERT INTO order_lines (order_id, line_no, sku, quantity, unit_price) SELECT id, 1, 'SKU-00001', 1, 2.50 FROM made WHERE id % 10 = 0",
    "UPDATE orders SET status = 'paid', paid_at = now() FROM made WHERE orders.id = made.id AND made.id % 3 = 0",
    "SAVEPOINT tried",
    "UPDATE orders SET status = 'cancelled' FROM made WHERE orders.id = made.id",
    "ROLLBACK TO tried",
    "UPDATE order_lines SET quantity = quantity + 1 WHERE order_id <= 300",
    `UPDATE order_lines SET order_id = o.id, line_no = line_no + 100 FROM orders o
      WHERE order_id BETWEEN 500 AND 600 AND o.id = order_id + 200`,
    "DELETE FROM orders USING made WHERE orders.id = made.id AND made.id % 7 = 0",
    "UPDATE products SET price = price + 1 WHERE sku < 'SKU-00030'",
  ]);
}

/** A TRUNCATE among other changes of its transaction. */
export async function writeTruncate({ database }: TestShop): Promise<void> {
  await runInOne(database.url, [
    "UPDATE shipments SET carrier = 'by hand' WHERE id <= 20",
    "TRUNCATE shipments",
    "INSERT INTO shipments (order_id, carrier, parcels_g) VALUES (3, 'bike', '{100}')",
  ]);
}

/** A column more, used at once. */
export async function writeSchemaChange({ database }: TestShop): Promise<void> {
  await database.query("ALTER TABLE customers ADD COLUMN tier text NOT NULL DEFAULT 'basic'");
  await database.query("UPDATE customers SET tier = 'gold' WHERE id % 50 = 0");
}

async function runInOne(url: string, statements: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(["BEGIN", ...statements, "COMMIT"].join(";\n"));
  } finally {
    await client.end();
  }
}
