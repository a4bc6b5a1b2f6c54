import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
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

test("seconds are the store's when the clock of the proxy is off", async () => {
  await using opened = await openTestStore("traffic_clock");
  const log = new PostgresTrafficLog(opened.database.url, "shop", () => Date.now() - 600_000);
  const instance = randomUUID();
  const realSecond = Math.floor(Date.now() / 1_000);
  const row: TrafficRow = {
    ...{ second: realSecond - 600, type: "order", route: "GET /", side: "new", requests: 1 },
    ...{ errors: 0, millis: 1, slower: Array<number>(13).fill(0) },
    ...{ compared: 0, different: 0, uncompared: 0, dropped: 0 },
  };
  await log.write(instance, [row]);
  const { rows } = await opened.database.query(ROWS, [instance]);
  expect(Math.abs((rows[0] as TrafficRow).second - realSecond)).toBeLessThanOrEqual(5);
  await log.close();
});
