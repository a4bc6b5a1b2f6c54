import { openTestStore } from "./event-store-fixture.ts";
import { PostgresTrafficLog } from "../../../connectors/postgres/traffic-log.ts";
import type { TrafficRow } from "../../../src/rollout/traffic.ts";
import { trafficLogContract } from "../../contract/traffic-log.contract.ts";

const ROWS = `
  SELECT extract(epoch FROM second)::float8 AS second, stream_type AS type, route, side, requests, errors, millis,
         slower, compared, different, uncompared, dropped
    FROM banyan.traffic WHERE pipeline = 'shop' AND instance = $1 ORDER BY second, route, side`;

trafficLogContract("Postgres", async () => {
  const opened = await openTestStore("traffic");
  const log = new PostgresTrafficLog(opened.database.url, "shop");
  return {
    log,
    rows: async (instance) => (await opened.database.query(ROWS, [instance])).rows as TrafficRow[],
    async [Symbol.asyncDispose]() {
      await log.close();
      await opened[Symbol.asyncDispose]();
    },
  };
});
