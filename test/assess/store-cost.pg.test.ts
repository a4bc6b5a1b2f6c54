import { join } from "node:path";
import { expect, test } from "vitest";
import { createDatabase, type TestDatabase } from "../support/databases.ts";
import { startPipeline } from "../support/live-pipeline.ts";
import { openShop } from "../support/shop.ts";
import { openPostgresEventStore } from "../../connectors/postgres/event-store.ts";
import { openPostgresSource } from "../../connectors/postgres/source.ts";
import { openPostgresSurvey } from "../../connectors/postgres/survey.ts";
import { assess } from "../../src/assess/assess.ts";
import { DAY_SECONDS } from "../../src/assess/change-rate.ts";
import { loadConfig } from "../../src/config/load-config.ts";
import type { ChangeCounts, DatabaseFacts } from "../../src/source/database-facts.ts";

const ORDERS = 3_000;
const CHANGES = 4_000;

async function sizeOf(events: TestDatabase, ...tables: string[]): Promise<number> {
  await events.query(`VACUUM ${tables.join(", ")}`);
  const { rows } = await events.query(
    "SELECT sum(pg_total_relation_size(name::regclass))::float8 AS bytes FROM unnest($1::text[]) name",
    [tables],
  );
  return (rows[0] as { bytes: number }).bytes;
}

/** Over less than a week, so many insertions would be taken for a load. */
const DAYS = 10;

/** As if just these changes had been made in these days. */
function ofTheseDays(
  facts: DatabaseFacts,
  changes: Readonly<Record<string, ChangeCounts>>,
): DatabaseFacts {
  const none = { inserted: 0, updated: 0, deleted: 0 };
  const tables = facts.tables.map((table) => ({
    ...table,
    changes: changes[table.table.relation] ?? none,
  }));
  return { ...facts, tables, countedSeconds: DAYS * DAY_SECONDS };
}

test("the store takes what was estimated, within a factor of two: the baseline, and the changes after it", async () => {
  await using shop = await openShop({ label: "cost shop", orders: ORDERS, seed: 7 });
  await using events = await createDatabase("cost events");
  const survey = openPostgresSurvey({ url: shop.database.url });
  process.env["SHOP_URL"] = shop.database.url;
  process.env["SHOP_SLOT"] = `cost_${events.name.slice(-8)}`;
  const { streams } = await loadConfig(join(shop.directory, "banyan.config.ts"));
  const store = await openPostgresEventStore({ url: events.url });
  await store.migrate();
  try {
    const facts = await survey.facts();
    const { summary } = assess(facts);
    const openSource = () =>
      openPostgresSource({
        url: shop.database.url,
        slot: process.env["SHOP_SLOT"]!,
        publication: "banyan_shop",
      });
    await using pipeline = await startPipeline({ name: "cost", openSource, store, streams });
    await pipeline.reach();
    const baseline = await sizeOf(events, "banyan.events", "banyan.row_images");
    expect((await store.pipeline("cost"))!.ledger.baselined).toBe(
      summary.migrating.baselineEvents.value,
    );
    expect(summary.migrating.baselineBytes.atLeast).toBe(false);
    expect(summary.migrating.baselineBytes.value / baseline).toBeGreaterThan(0.5);
    expect(summary.migrating.baselineBytes.value / baseline).toBeLessThan(2);

    const before = await sizeOf(events, "banyan.events");
    await shop.database.query(`DO $$ BEGIN FOR n IN 1..${CHANGES} LOOP
      UPDATE orders SET total = total + 1, updated_at = clock_timestamp() WHERE id = 1 + n % 3000; COMMIT; END LOOP; END $$`);
    await shop.database.query(
      `UPDATE customers SET phone = '+49 30 ' || id, updated_at = clock_timestamp()`,
    );
    await shop.database.query(
      `INSERT INTO payments (order_id, method, amount) SELECT 1 + n % 3000, 'card', n FROM generate_series(1, ${CHANGES}) n`,
    );
    await shop.database.query("DELETE FROM shipments");
    await pipeline.reach();
    const grown = (await sizeOf(events, "banyan.events")) - before;
    const made = ofTheseDays(facts, {
      orders: { inserted: 0, updated: CHANGES, deleted: 0 },
      customers: { inserted: 0, updated: ORDERS / 4, deleted: 0 },
      payments: { inserted: CHANGES, updated: 0, deleted: 0 },
      shipments: {
        inserted: 0,
        updated: 0,
        deleted: facts.tables.find(({ table }) => table.relation === "shipments")!.rows!,
      },
    });
    const estimated = assess(made).summary.migrating.bytesPerDay;
    expect(estimated.atLeast).toBe(false);
    expect((estimated.value * DAYS) / grown).toBeGreaterThan(0.5);
    expect((estimated.value * DAYS) / grown).toBeLessThan(2);
    await pipeline.stop();
  } finally {
    await survey.close();
    await store.close();
  }
});
