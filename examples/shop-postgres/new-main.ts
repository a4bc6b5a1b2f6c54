import { parseArgs } from "node:util";
import { bugsOf, startNewShop } from "./new-shop.ts";

/** The new service by hand: see README.md in this folder. */
const { values } = parseArgs({
  options: {
    port: { type: "string", default: "8081" },
    bugs: { type: "string", default: process.env["NEW_SHOP_BUGS"] ?? "" },
  },
});
const storeUrl = process.env["EVENTS_URL"];
if (storeUrl === undefined) {
  process.stderr.write("Set EVENTS_URL to postgres://user:password@host:port/database\n");
  process.exit(2);
}

const server = await startNewShop({
  storeUrl,
  port: Number(values.port),
  bugs: bugsOf(values.bugs),
});
process.stderr.write(`the new shop is open at ${server.url}\n`);
const stop = new AbortController();
process.once("SIGINT", () => stop.abort());
process.once("SIGTERM", () => stop.abort());
await new Promise<void>((done) =>
  stop.signal.addEventListener("abort", () => done(), { once: true }),
);
await server.close();
