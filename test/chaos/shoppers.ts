import { startShopServer } from "../../examples/shop-postgres/app.ts";
import { runTraffic, type TrafficReport } from "../../examples/shop-postgres/traffic.ts";

export interface Shoppers {
  /** Ends after the requests that are under way. */
  stop(): Promise<readonly TrafficReport[]>;
}

const SHOPPERS = 3;
/** Of each shopper. */
const REQUESTS_PER_SECOND = 12;

/** Opens the shop to shoppers, who go on whatever answer they get. */
export async function startShoppers(databaseUrl: string, seed: number): Promise<Shoppers> {
  const server = await startShopServer({ databaseUrl });
  const end = new AbortController();
  const shopping = Promise.all(
    Array.from({ length: SHOPPERS }, (_, i) =>
      runTraffic({
        shopUrl: server.url,
        // Small, because it is part of ids.
        seed: (seed % 10_000) + i,
        requestsPerSecond: REQUESTS_PER_SECOND,
        signal: end.signal,
      }),
    ),
  );
  shopping.catch(() => undefined);
  return {
    async stop() {
      end.abort();
      try {
        return await shopping;
      } finally {
        await server.close();
      }
    },
  };
}
