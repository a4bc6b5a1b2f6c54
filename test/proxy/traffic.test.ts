import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import {
  exchangeRaw,
  rawClient,
  startApp,
  startTestProxy,
  until,
  type TestProxyOptions,
} from "./proxy-support.ts";
import { freePort } from "../support/free-port.ts";
import { MemoryTrafficLog } from "../../connectors/memory/traffic-log.ts";
import type { TrafficRow } from "../../src/rollout/traffic.ts";

const request = (line: string): string =>
  `${line} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`;

/** What a proxy has counted of some requests, added up by route and side, when it has ended. */
async function counted(
  options: TestProxyOptions,
  ask: (port: number) => Promise<unknown>,
): Promise<
  Readonly<Record<string, Pick<TrafficRow, "requests" | "errors" | "millis" | "slower">>>
> {
  const traffic = new MemoryTrafficLog();
  const proxy = await startTestProxy({ ...options, traffic });
  await ask(proxy.port);
  await proxy[Symbol.asyncDispose]();
  const sums: Record<
    string,
    { requests: number; errors: number; millis: number; slower: number[] }
  > = {};
  for (const row of traffic.rowsOf(proxy.proxy.place.instance)) {
    const none = { requests: 0, errors: 0, millis: 0, slower: row.slower.map(() => 0) };
    const sum = (sums[`${row.route} ${row.side}`] ??= none);
    sum.requests += row.requests;
    sum.errors += row.errors;
    sum.millis += row.millis;
    for (const [slot, count] of row.slower.entries()) sum.slower[slot]! += count;
  }
  return sums;
}

test("routed requests are counted by route, method and side, with their errors", async () => {
  await using legacy = await startApp("legacy", ({ url = "" }, response) => {
    response.writeHead(url.includes("bad") ? 500 : url.includes("no") ? 404 : 200).end();
  });
  const lines = [
    "GET /orders/1",
    "GET /orders/bad",
    "GET /orders/no",
    "PUT /orders/1",
    "GET /elsewhere",
  ];
  const sums = await counted(
    { legacy: legacy.port, rollout: { stage: "shadow" } },
    async (port) => {
      for (const line of lines) await exchangeRaw(port, request(line));
    },
  );
  expect(sums).toMatchObject({
    "GET /orders/:id legacy": { requests: 3, errors: 1 },
    "PUT /orders/:id legacy": { requests: 1, errors: 0 },
  });
  expect(Object.keys(sums)).toHaveLength(2);
});

test("what an application does not answer is an error of its side; what the proxy refuses before is not", async () => {
  const rollout = { stage: "canary", share: 10_000 } as const;
  const sums = await counted({ legacy: await freePort(), rollout }, async (port) => {
    await exchangeRaw(port, request("PUT /orders/1"));
    await exchangeRaw(port, request("POST /payments"));
  });
  expect(sums).toMatchObject({ "PUT /orders/:id new": { requests: 1, errors: 1 } });
  expect(Object.keys(sums)).toHaveLength(1);
});

test("time for which a request was held back is not in it; time for which a client waited in vain is", async () => {
  await using legacy = await startApp("legacy", ({ url = "" }, response) => {
    if (!url.includes("slow")) response.end();
  });
  const hold = { from: 0, to: 10_000, leftMs: 2_000 };
  const sums = await counted(
    { legacy: legacy.port, rollout: { stage: "shadow", hold } },
    async (port) => {
      await exchangeRaw(port, request("PUT /orders/1"));
      const client = rawClient(port);
      client.send(request("DELETE /orders/slow"));
      await until("it is there", () => legacy.received.length === 2);
      await sleep(300);
      client.socket.destroy();
      await sleep(50);
    },
  );
  expect(sums["PUT /orders/:id legacy"]!.millis).toBeLessThan(1_000);
  expect(sums["DELETE /orders/:id legacy"]).toMatchObject({ requests: 1, errors: 0 });
  expect(sums["DELETE /orders/:id legacy"]!.millis).toBeGreaterThan(290);
  expect(sums["DELETE /orders/:id legacy"]!.slower.slice(8).reduce((a, b) => a + b, 0)).toBe(1);
});
