import { request as httpRequest } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import {
  rawClient,
  startApp,
  startRawApp,
  startTcpApp,
  until,
  UPSTREAM,
  type TestApp,
} from "./proxy-support.ts";
import { freePort } from "../support/free-port.ts";
import { ask, startShadowProxy, type ShadowProxyOptions } from "./shadow-support.ts";
import type { UpstreamSettings } from "../../src/proxy/settings.ts";

const JSON_HEADERS = { "content-type": "application/json" };

async function start(options: Partial<ShadowProxyOptions> = {}, given?: TestApp, other?: TestApp) {
  const legacy = given ?? (await startApp("legacy"));
  const fresh = other ?? (await startApp("new"));
  const proxy = await startShadowProxy({ legacy: legacy.port, new: fresh.port, ...options });
  return {
    legacy,
    fresh,
    proxy,
    rows: async (count: number) => {
      await until(`${count} rows are stored`, () => proxy.log.writes.length >= count);
      return proxy.log.writes;
    },
    async [Symbol.asyncDispose]() {
      await proxy[Symbol.asyncDispose]();
      await legacy[Symbol.asyncDispose]();
      await fresh[Symbol.asyncDispose]();
    },
  };
}

describe("a write at stage shadow", () => {
  test("reaches both under one id, legacy answers, and both statuses are kept", async () => {
    const fresh = await startApp("new", (_, response) => response.writeHead(409).end("refused"));
    await using at = await start({}, undefined, fresh);
    const before = Date.now();
    const body = `{"id":1,"text":"ä"}`;
    const put = { method: "PUT", body, headers: { ...JSON_HEADERS, "banyan-correlation": "mine" } };
    const answer = await ask(at.proxy, "/orders/7?x=1", put);
    expect(answer).toMatchObject({ status: 200, body: "legacy /orders/7?x=1" });
    const [row] = await at.rows(1);
    const [real] = at.legacy.received;
    const [mirrored] = at.fresh.received;
    expect(mirrored).toMatchObject({ method: "PUT", url: "/orders/7?x=1", body });
    expect(mirrored!.headers["banyan-mode"]).toBe("shadow");
    expect(real!.headers["banyan-mode"]).not.toBe("shadow");
    const id = real!.headers["banyan-correlation"];
    expect(id).toMatch(/^[\da-f-]{36}$/);
    expect(mirrored!.headers["banyan-correlation"]).toBe(id);
    expect(row).toMatchObject({
      correlationId: id,
      streamType: "order",
      streamId: "order-7",
      route: "PUT /orders/:id",
      legacyStatus: 200,
      newStatus: 409,
    });
    expect(row!.askedAt.getTime()).toBeGreaterThanOrEqual(before);
    expect(row!.answeredAt.getTime()).toBeGreaterThanOrEqual(row!.askedAt.getTime());
    expect(at.proxy.shadow()).toMatchObject({ writesMirrored: 1, heldBytes: 0, underWay: 0 });
  });

  test("names its stream wherever the id is, also in the body; a creation and an unclear one name none", async () => {
    await using at = await start();
    const post = (path: string, body: string, headers: object = {}) =>
      ask(at.proxy, path, { method: "POST", body, headers: { ...JSON_HEADERS, ...headers } });
    await post("/payments", `{"order":{"id":"8"}}`);
    await post("/shipments", "", { "x-order-id": "9" });
    await post("/orders", "{}");
    await post("/payments", `{"order":{"id":"8"},"order":{"id":"9"}}`);
    await ask(at.proxy, "/orders/10", { method: "DELETE" });
    await post("/orders/a%00b", "{}");
    await ask(at.proxy, "/orders/a%00b", { method: "DELETE" });
    await post("/elsewhere", "{}");
    const rows = await at.rows(6);
    expect(rows.map(({ route, streamId }) => `${route} ${streamId}`).sort()).toEqual([
      "DELETE /orders/:id order-10",
      "DELETE /orders/:id order-a%00b",
      "POST /orders undefined",
      "POST /payments order-8",
      "POST /payments undefined",
      "POST /shipments order-9",
    ]);
    expect(at.fresh.received).toHaveLength(6);
  });

  test("is mirrored as it streams in, in chunks too, and with leave to be sent", async () => {
    await using at = await start();
    const client = httpRequest(`${at.proxy.url}/orders/7`, {
      method: "PUT",
      headers: JSON_HEADERS,
    });
    const answered = new Promise((done) => client.once("response", done));
    client.write(`{"a":`);
    await sleep(30);
    expect(at.fresh.begun()).toBe(0);
    client.end("1}");
    await answered;
    const raw = rawClient(at.proxy.port);
    raw.send(
      "PUT /orders/8 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    );
    await raw.until(/100 Continue/);
    raw.send("{}");
    await raw.until(/legacy/);
    raw.socket.destroy();
    await at.rows(2);
    expect(at.fresh.received.map(({ body }) => body)).toEqual([`{"a":1}`, "{}"]);
  });

  test("that is too large, or broken off, is not mirrored, and counted", async () => {
    await using at = await start({ shadow: { bodyBytesMax: 2_048 } });
    const large = { method: "PUT", body: "x".repeat(3_000) };
    expect((await ask(at.proxy, "/orders/7", large)).status).toBe(200);
    expect(at.legacy.received[0]!.body).toHaveLength(3_000);
    const client = rawClient(at.proxy.port);
    client.send("PUT /orders/8 HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n{");
    await until("legacy got its head", () => at.legacy.begun() === 2);
    client.socket.destroy();
    await until("both are dropped", () => at.proxy.shadow().writesDropped === 2);
    expect(at.fresh.begun()).toBe(0);
    expect(at.proxy.log.writes).toEqual([]);
    expect(at.proxy.shadow()).toMatchObject({ heldBytes: 0, underWay: 0, writesMirrored: 0 });
  });

  test("that legacy never got is not mirrored", async () => {
    const proxy = await startShadowProxy({
      legacy: await freePort(),
      new: await freePort(),
    });
    for (let i = 0; i < 30; i++) await ask(proxy, "/orders/7", { method: "PUT", body: "{}" });
    await until("nothing is under way", () => proxy.shadow().underWay === 0);
    const { writesMirrored, writesDropped } = proxy.shadow();
    // After ten failures it is left alone.
    expect(writesMirrored + writesDropped).toBeLessThan(30);
    expect(proxy.shadow().heldBytes).toBe(0);
    await proxy[Symbol.asyncDispose]();
  });

  test("of which legacy or new gives no answer is kept without that status", async () => {
    const hang = await startRawApp((request) => void request.socket.destroy());
    const broken = await startRawApp((request) => {
      request.resume().on("end", () => request.socket.destroy());
    });
    await using at = await start({}, undefined, hang);
    await ask(at.proxy, "/orders/7", { method: "PUT", body: "{}" });
    expect((await at.rows(1))[0]).toMatchObject({ legacyStatus: 200, newStatus: undefined });
    await using other = await start({}, broken);
    expect((await ask(other.proxy, "/orders/7", { method: "PUT", body: "{}" })).status).toBe(502);
    expect((await other.rows(1))[0]).toMatchObject({ legacyStatus: undefined, newStatus: 200 });
  });

  test("is kept when the store is back, and none of it is anybody's answer meanwhile", async () => {
    await using at = await start();
    at.proxy.log.unreachable = true;
    for (let i = 0; i < 5; i++) {
      const { status } = await ask(at.proxy, `/orders/${i}`, { method: "PUT", body: "{}" });
      expect(status).toBe(200);
    }
    await until("it is told", () =>
      at.proxy.notes.some((text) => text.includes("cannot be stored")),
    );
    // The new service may not have answered the last of them yet.
    await until("all of them wait", () => at.proxy.shadow().rowsWaiting === 5);
    at.proxy.log.unreachable = false;
    expect(await at.rows(5)).toHaveLength(5);
  });
});

describe("a new service that", () => {
  async function hold(port: number, shadow: object = {}) {
    await using legacy = await startApp("legacy");
    await using proxy = await startShadowProxy({ legacy: legacy.port, new: port, shadow });
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        ask(proxy, `/orders/${n}`, { method: "PUT", body: "x".repeat(10_000) }),
      ),
    );
    for (const [n, { status, body }] of answers.entries())
      expect([status, body]).toEqual([200, `legacy /orders/${n}`]);
    // Shorter than the shadow of each may take.
    expect(Math.max(...answers.map(({ tookMs }) => tookMs))).toBeLessThan(4_000);
    await until("all came to something", () => {
      const { writesMirrored, writesDropped } = proxy.shadow();
      return writesMirrored + writesDropped === 20;
    });
    expect(proxy.shadow()).toMatchObject({ heldBytes: 0, underWay: 0 });
    return proxy.shadow();
  }

  test("is dead or silent holds no write back, and what it was not asked is counted", async () => {
    expect((await hold(await freePort())).writesMirrored).toBeGreaterThan(0);
    await using silent = await startTcpApp(() => undefined);
    const shadow = { connectionsMax: 4, timeoutMs: 6_000 };
    expect(await hold(silent.port, shadow)).toMatchObject({ writesMirrored: 4, writesDropped: 16 });
  });

  test("answers without end is taken at its status", async () => {
    await using endless = await startRawApp((request, response) => {
      request.resume();
      response.writeHead(200);
      const timer = setInterval(() => response.write("x".repeat(10_000)), 5);
      response.on("close", () => clearInterval(timer));
    });
    expect(await hold(endless.port, { timeoutMs: 10_000, connectionsMax: 20 })).toMatchObject({
      writesMirrored: 20,
    });
  });
});

test("a write is kept also when the proxy ends before it is connected to new", async () => {
  await using legacy = await startApp("legacy");
  // Never shakes hands.
  await using fresh = await startTcpApp(() => undefined);
  const to = (url: string): UpstreamSettings => ({ ...UPSTREAM, url });
  const upstreams = {
    legacy: to(`http://127.0.0.1:${legacy.port}`),
    new: to(`https://127.0.0.1:${fresh.port}`),
  };
  const proxy = await startShadowProxy({ legacy: legacy.port, settings: { upstreams } });
  await ask(proxy, "/orders/7", { method: "PUT", body: "{}" });
  await until("new is asked", () => fresh.connections() === 1);
  await proxy[Symbol.asyncDispose]();
  expect(proxy.log.writes).toMatchObject([{ legacyStatus: 200, newStatus: undefined }]);
  expect(proxy.shadow()).toMatchObject({ writesMirrored: 1, rowsWaiting: 0, heldBytes: 0 });
});

test("reads do not stand in the way of writes", async () => {
  await using legacy = await startApp("legacy");
  await using fresh = await startRawApp((request, response) => {
    // Never answers a read.
    if (request.method === "PUT") request.resume().on("end", () => response.end());
  });
  await using proxy = await startShadowProxy({
    legacy: legacy.port,
    new: fresh.port,
    shadow: { connectionsMax: 2 },
  });
  for (let i = 0; i < 10; i++) await ask(proxy, "/orders/7");
  await ask(proxy, "/orders/7", { method: "PUT", body: "{}" });
  await until("it is stored", () => proxy.log.writes.length === 1);
  expect(proxy.log.writes[0]).toMatchObject({ legacyStatus: 200, newStatus: 200 });
  const reads = () => proxy.shadow().clients[1]!;
  await until("all reads wait", () => reads().inFlight + reads().waiting === 10);
  expect(reads()).toMatchObject({ side: "new", kind: "reads", inFlight: 2, waiting: 8 });
});

test("the admin plane tells what is compared, mirrored and learned", async () => {
  const token = "0123456789abcdef";
  const admin = { listen: { host: "127.0.0.1", port: 0 }, token };
  await using at = await start({ settings: { admin } });
  await ask(at.proxy, "/orders/7");
  await ask(at.proxy, "/orders/7", { method: "PUT", body: "{}" });
  await at.rows(1);
  await at.proxy.readsOf(1);
  const get = async (path: string): Promise<string> => {
    const { port } = at.proxy.proxy.admin!;
    const headers = { authorization: `Bearer ${token}` };
    return await (await fetch(`http://127.0.0.1:${port}${path}`, { headers })).text();
  };
  expect(JSON.parse(await get("/state"))).toMatchObject({
    shadow: {
      reads: [{ type: "order", route: "GET /orders/:id", side: "legacy", compared: 1 }],
      writesMirrored: 1,
      noise: [{ route: "/orders/:id", noisy: 0, places: [] }],
    },
  });
  const metrics = await get("/metrics");
  expect(metrics).toContain(
    'banyan_proxy_shadow_reads_total{side="legacy",route="GET /orders/:id",outcome="different"} 1',
  );
  expect(metrics).toContain('banyan_proxy_shadow_writes_total{outcome="mirrored"} 1');
});
