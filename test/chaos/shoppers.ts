import { startShopServer } from "../../examples/shop-postgres/app.ts";
import { runTraffic, type TrafficReport } from "../../examples/shop-postgres/traffic.ts";

export interface Shoppers {
  /** Ends after the requests that are under way. */
  stop(): Promise<readonly TrafficReport[]>;
}

const SHOPPERS = 3;
/** Of each shopper. */
const REQUESTS_PER_SECOND = 12;

/**
 * Opens the shop to shoppers, who go on whatever answer they get.
 *
 * @param isHasty one of them gets answers before the log is on disk, so that a crash takes back what they told
 */
export async function startShoppers(
  databaseUrl: string,
  seed: number,
  isHasty: boolean,
): Promise<Shoppers> {
  const hasty = new URL(databaseUrl);
  hasty.searchParams.set("options", "-c synchronous_commit=off");
  const patient = await startShopServer({ databaseUrl });
  const others = await startShopServer({ databaseUrl: isHasty ? hasty.href : databaseUrl });
  const end = new AbortController();
  const shopping = Promise.all(
    Array.from({ length: SHOPPERS }, (_, i) =>
      runTraffic({
        shopUrl: i === 0 ? others.url : patient.url,
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
        await patient.close();
        await others.close();
      }
    },
  };
}
