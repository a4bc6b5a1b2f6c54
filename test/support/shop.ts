import { join } from "node:path";
import { startShopServer } from "../../examples/shop-postgres/app.ts";
import { seedShop, shopFolder, TABLES } from "../../examples/shop-postgres/seed.ts";
import { runTraffic, type TrafficReport } from "../../examples/shop-postgres/traffic.ts";
import { configFolder } from "./cli.ts";
import { createDatabase, type TestDatabase } from "./databases.ts";

/** The example shop in a database of its own, with its publication, and a config beside it. */
export interface TestShop extends AsyncDisposable {
  readonly database: TestDatabase;
  /** Holds `banyan.config.ts`; `SHOP_URL`, `EVENTS_URL` and `SHOP_SLOT` say where to and from. */
  readonly directory: string;
}

export interface TestShopOptions {
  /** Shows in the names of its databases. */
  readonly label: string;
  readonly orders: number;
  readonly seed: number;
  /** Records every change by triggers, see examples/shop-postgres/audit.sql. */
  readonly audit?: boolean;
}

/**
 * The example's config with a slot per capture, limits so small that a short run meets all of them, a
 * TRUNCATE that becomes events, and a rule that throws for some customers while `SHOP_BROKEN` is set.
 */
function config(): string {
  return `
import shop from ${JSON.stringify(join(shopFolder(), "banyan.config.ts"))};

const { order } = shop.streams;
const where = (row) => {
  if (process.env["SHOP_BROKEN"] === "1" && Number(row.customer_id) % 5 === 0)
    throw new Error("such customers are not understood yet");
  return true;
};
export default {
  ...shop,
  source: { ...shop.source, slot: process.env["SHOP_SLOT"], publication: "banyan_shop" },
  streams: {
    ...shop.streams,
    order: { ...order, truncate: "events", events: { ...order.events, OrderPlaced: { ...order.events.OrderPlaced, where } } },
  },
  limits: { batchChangesMax: 100, transactionChangesMax: 1000, idleMs: 100 },
};
`;
}

export async function openShop({
  label,
  orders,
  seed,
  audit = false,
}: TestShopOptions): Promise<TestShop> {
  const database = await createDatabase(label);
  try {
    await seedShop({ url: database.url, orders, seed, audit });
    await database.query(`CREATE PUBLICATION banyan_shop FOR TABLE ${TABLES.join(", ")}`);
    const folder = configFolder(config());
    return {
      database,
      directory: folder.directory,
      async [Symbol.asyncDispose]() {
        folder[Symbol.dispose]();
        await database[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await database[Symbol.asyncDispose]();
    throw error;
  }
}

export interface TrafficOptions {
  /** One shopper each; the requests of several overlap. */
  readonly seeds: readonly number[];
  /** Of each shopper. */
  readonly requestsPerSecond: number;
  /** Of each shopper; endless when absent. */
  readonly requestsMax?: number;
}

export interface Traffic {
  /** Of all shoppers, in the order of their seeds. */
  readonly done: Promise<readonly TrafficReport[]>;
  /** Ends it after the requests that are under way. */
  stop(): Promise<readonly TrafficReport[]>;
}

/** Opens the shop's HTTP application and lets shoppers in. */
export async function startTraffic(
  { database }: TestShop,
  { seeds, ...options }: TrafficOptions,
): Promise<Traffic> {
  const server = await startShopServer({ databaseUrl: database.url });
  const end = new AbortController();
  const shoppers = seeds.map((seed) =>
    runTraffic({ shopUrl: server.url, seed, signal: end.signal, ...options }),
  );
  const shopping = async (): Promise<readonly TrafficReport[]> => {
    try {
      return await Promise.all(shoppers);
    } finally {
      await server.close();
    }
  };
  const done = shopping();
  done.catch(() => undefined);
  return {
    done,
    stop() {
      end.abort();
      return done;
    },
  };
}
