import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import {
  exchangeRaw,
  rawClient,
  startApp,
  startTestProxy,
  statusOf,
  until,
} from "./proxy-support.ts";
import { startAdmin } from "../../src/proxy/admin.ts";
import type { ProxySettings } from "../../src/proxy/settings.ts";

const TOKEN = "a-token-of-some-length";

async function start(given: string | null = TOKEN) {
  const token = given ?? undefined;
  const app = await startApp("legacy");
  const settings: Partial<ProxySettings> = {
    admin: { listen: { host: "127.0.0.1", port: 0 }, token },
  };
  const proxy = await startTestProxy({ legacy: app.port, settings, rollout: { stage: "shadow" } });
  const { port } = proxy.proxy.admin!;
  const ask = (path: string, headers: readonly string[] = [], method = "GET"): Promise<string> => {
    const lines = [`${method} ${path} HTTP/1.1`, ...headers, "Connection: close", "", ""];
    if (!headers.some((line) => line.startsWith("Host:")))
      lines.splice(1, 0, `Host: 127.0.0.1:${port}`);
    return exchangeRaw(port, lines.join("\r\n"));
  };
  return {
    app,
    proxy,
    port,
    ask,
    async [Symbol.asyncDispose]() {
      await proxy[Symbol.asyncDispose]();
      await app[Symbol.asyncDispose]();
    },
  };
}

const BEARER = `Authorization: Bearer ${TOKEN}`;
const PATHS = ["GET /health", "GET /state", "GET /metrics", "POST /drain", "GET /nothing"];

describe("the admin plane answers nobody", () => {
  test.each([
    ["without the token", [], 401],
    ["with a wrong token", ["Authorization: Bearer a-token-of-some-lengtH"], 401],
    ["with the beginning of the token", [`Authorization: Bearer ${TOKEN.slice(0, -1)}`], 401],
    ["with the token in another scheme", [`Authorization: Basic ${TOKEN}`], 401],
    ["from another origin", [BEARER, "Origin: https://evil.example"], 403],
    ["from a page of no origin", [BEARER, "Origin: null"], 403],
    [
      "from a page that the browser says is of this site",
      [BEARER, "Sec-Fetch-Site: same-origin"],
      403,
    ],
    ["by a name that was made to mean this machine", [BEARER, "Host: evil.example"], 403],
  ] as const)("%s", async (_, headers, status) => {
    await using at = await start();
    for (const line of PATHS) {
      const [method, path] = line.split(" ");
      expect(statusOf(await at.ask(path!, headers, method)), line).toBe(status);
    }
    // And did nothing.
    expect(at.proxy.notes.filter((text) => text.startsWith("audit"))).toEqual([]);
    expect(statusOf(await exchangeRaw(at.proxy.port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"))).toBe(
      200,
    );
  });

  test("on the listener of the clients", async () => {
    await using at = await start();
    for (const path of ["/health", "/state", "/metrics"])
      expect(
        await exchangeRaw(at.proxy.port, `GET ${path} HTTP/1.1\r\nHost: a\r\n${BEARER}\r\n\r\n`),
      ).toContain(`legacy ${path}`);
  });

  test("on an address that others can reach, without a token: it does not start", async () => {
    for (const host of ["0.0.0.0", "::", "192.0.2.1"]) {
      const starting = startAdmin(
        { listen: { host, port: 0 } },
        {} as Parameters<typeof startAdmin>[1],
      );
      await expect(starting).rejects.toMatchObject({
        code: "CONFIG_INVALID",
        message: expect.stringContaining("token") as unknown,
      });
    }
  });
});

describe("with the token, or on loopback where none is set, it", () => {
  test.each([TOKEN, null])("says how the proxy is (token %s)", async (token) => {
    await using at = await start(token);
    const headers = token === null ? [] : [BEARER];
    const { instance } = at.proxy.proxy.place;
    const isKnown = (): boolean => at.proxy.state.acknowledged(instance)?.get("order") === 1;
    await until("its epoch is acknowledged", isKnown);
    expect(await at.ask("/health", headers)).toMatch(/200 OK[^]*"ready"/);
    await exchangeRaw(at.proxy.port, "GET /orders/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    const state = JSON.parse((await at.ask("/state", headers)).split("\r\n\r\n")[1]!) as unknown;
    expect(state).toMatchObject({
      draining: false,
      requests: 1,
      instance: at.proxy.proxy.place.instance,
      rollouts: { order: { stage: "shadow", epoch: 1 } },
      acknowledged: { order: 1 },
      writesUnderWay: 0,
      held: { now: 0, total: 0 },
      creations: { waiting: 0, seen: 0, late: 0, unread: 0 },
      upstreams: [
        { side: "legacy", inFlight: 0, healthy: true, breakerOpen: false },
        { side: "new", inFlight: 0, healthy: true, breakerOpen: false },
      ],
    });
    await at.ask("/metrics", headers);
    // Asking changes nothing.
    const metrics = await at.ask("/metrics", headers);
    expect(metrics).toContain(
      'banyan_proxy_requests_total{side="legacy",route="/orders/:id",status="200",end="done"} 1',
    );
    expect(metrics).toContain('banyan_proxy_acknowledged_epoch{stream="order"} 1');
    expect(metrics).toMatch(/# TYPE banyan_proxy_held_total counter\nbanyan_proxy_held_total 0/);
    expect(metrics).toContain('banyan_proxy_creations_total{outcome="late"} 0');
    expect(metrics).toContain('banyan_proxy_rollout_stage{stream="order",stage="shadow"} 1');
  });

  test("begins a drain, and says who asked", async () => {
    await using at = await start();
    let asked = false;
    void at.proxy.proxy.drainAsked.then(() => (asked = true));
    expect(statusOf(await at.ask("/drain", [BEARER], "POST"))).toBe(202);
    await until("it is asked for", () => asked);
    expect(at.proxy.notes).toContain("audit: drain was asked for by 127.0.0.1");
  });
});

describe("a drain", () => {
  test("lets what is under way end, takes nothing new, and tells clients to go", async () => {
    let answer: () => void = () => undefined;
    await using app = await startApp("legacy", (request, response) => {
      if (request.url === "/slow") answer = () => response.end("slow answer");
      else response.end("quick");
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    const idle = rawClient(proxy.port);
    idle.send("GET /quick HTTP/1.1\r\nHost: a\r\n\r\n");
    await idle.until(/quick$/);
    const busy = rawClient(proxy.port);
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    await until("it is under way", () => app.received.length === 2);
    let isOver = false;
    const closing = proxy.proxy.close(AbortSignal.timeout(10_000)).then(() => (isOver = true));
    await idle.closed();
    await until("nobody gets in", () => proxyRefuses(proxy.port));
    expect(isOver).toBe(false);
    answer();
    expect(await busy.closed()).toMatch(/slow answer$/);
    await closing;
  });

  test("ends what does not end by itself", async () => {
    await using app = await startApp("legacy", () => undefined);
    await using proxy = await startTestProxy({ legacy: app.port });
    const stuck = rawClient(proxy.port);
    stuck.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    await until("it is under way", () => app.received.length === 1);
    await proxy.proxy.close(AbortSignal.timeout(100));
    expect(await stuck.closed()).toBe("");
  });
});

/** Whether the last look found the listener gone. */
let refused = false;
function proxyRefuses(port: number): boolean {
  const socket = connect(port, "127.0.0.1");
  socket.once("error", () => (refused = true)).once("connect", () => socket.destroy());
  return refused;
}
