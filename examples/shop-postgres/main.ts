import { parseArgs } from "node:util";
import { startShopServer } from "./app.ts";
import { seedShop } from "./seed.ts";
import { runTraffic } from "./traffic.ts";

/** The shop by hand: see README.md in this folder. */
const { values } = parseArgs({
  options: {
    seed: { type: "boolean", default: false },
    orders: { type: "string", default: "10000" },
    traffic: { type: "string" },
    port: { type: "string", default: "8080" },
  },
});
const databaseUrl = process.env["SHOP_URL"];
if (databaseUrl === undefined) {
  process.stderr.write("Set SHOP_URL to postgres://user:password@host:port/database\n");
  process.exit(2);
}

const stop = new AbortController();
process.once("SIGINT", () => stop.abort());
process.once("SIGTERM", () => stop.abort());

if (values.seed) {
  const rows = await seedShop({ url: databaseUrl, orders: Number(values.orders), seed: 1 });
  process.stderr.write(`${rows} rows\n`);
}
const server = await startShopServer({ databaseUrl, port: Number(values.port) });
process.stderr.write(`the shop is open at ${server.url}\n`);
if (values.traffic !== undefined) {
  const requestsPerSecond = Number(values.traffic);
  const report = await runTraffic({
    shopUrl: server.url,
    seed: 1,
    requestsPerSecond,
    signal: stop.signal,
  });
  process.stdout.write(`${JSON.stringify(report)}\n`);
} else {
  await new Promise<void>((done) =>
    stop.signal.addEventListener("abort", () => done(), { once: true }),
  );
}
await server.close();
