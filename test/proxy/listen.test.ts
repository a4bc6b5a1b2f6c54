import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  exchangeRaw,
  rawClient,
  startApp,
  startTcpApp,
  startTestProxy,
  statusOf,
  until,
} from "./proxy-support.ts";
import { isLoopback, parseAddress } from "../../src/proxy/listen-address.ts";

const GET = "GET /page HTTP/1.1\r\nHost: [::1]:80\r\n\r\n";

describe("IPv6", () => {
  test("clients and applications are reached, and named as they must be", async () => {
    await using app = await startApp("legacy", undefined, "::1");
    const upstream = {
      url: `http://[::1]:${app.port}`,
      connectionsMax: 8,
      connectMsMax: 10_000,
      responseMsMax: 10_000,
      idleMsMax: 10_000,
      healthEveryMs: 1_000,
    };
    await using proxy = await startTestProxy({
      legacy: 0,
      settings: {
        listen: { host: "::1", port: 0 },
        upstreams: { legacy: upstream, new: upstream },
      },
    });
    const client = rawClient(proxy.port, "::1");
    client.send(GET);
    await client.until(/legacy \/page$/);
    client.socket.destroy();
    expect(app.received[0]!.headers).toMatchObject({
      host: "[::1]:80",
      "x-forwarded-for": "::1",
      forwarded: 'for="[::1]";host="[::1]:80";proto=http',
    });
  });

  test("an IPv4 client of a listener for both is named by its IPv4 address, and trusted by it", async () => {
    await using app = await startApp("legacy");
    const settings = { listen: { host: "::", port: 0 }, trusted: ["127.0.0.1"] };
    await using proxy = await startTestProxy({ legacy: app.port, settings });
    await exchangeRaw(
      proxy.port,
      "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n",
    );
    expect(app.received[0]!.headers["x-forwarded-for"]).toBe("192.0.2.7, 127.0.0.1");
  });
});

describe("an address", () => {
  test.each([
    ["127.0.0.1:80", { host: "127.0.0.1", port: 80 }],
    ["[::1]:8080", { host: "::1", port: 8080 }],
    ["localhost:0", { host: "localhost", port: 0 }],
    ["::1:80", undefined],
    ["[127.0.0.1]:80", undefined],
    ["127.0.0.1", undefined],
    ["host:65536", undefined],
    ["http://host:80", undefined],
    [":80", undefined],
  ])("%s is read as %j", (text, address) => expect(parseAddress(text)).toEqual(address));

  test("is reached from elsewhere unless it is surely not", () => {
    expect(
      ["127.0.0.1", "127.9.9.9", "::1", "localhost"].filter((host) => !isLoopback(host)),
    ).toEqual([]);
    const others = [
      "0.0.0.0",
      "::",
      "10.0.0.1",
      "127.evil.example",
      "1270.0.0.1",
      "localhost.evil.example",
      "",
    ];
    expect(others.filter(isLoopback)).toEqual([]);
  });
});

test("an address that is taken is told with what to do", async () => {
  await using other = await startTcpApp(() => undefined);
  const listen = { host: "127.0.0.1", port: other.port };
  await expect(startTestProxy({ legacy: 1, settings: { listen } })).rejects.toMatchObject({
    code: "PROXY_NOT_LISTENING",
    hint: expect.stringContaining("proxy.listen") as unknown,
  });
  const admin = { listen };
  await expect(startTestProxy({ legacy: 1, settings: { admin } })).rejects.toMatchObject({
    code: "PROXY_NOT_LISTENING",
    hint: expect.stringContaining("proxy.admin.listen") as unknown,
  });
});

describe("the access log", () => {
  test("has a line for each request, and no query", async () => {
    const folder = mkdtempSync(join(tmpdir(), "banyan-log-"));
    const accessLog = join(folder, "logs/access.log");
    await using app = await startApp("legacy");
    const proxy = await startTestProxy({
      legacy: app.port,
      settings: { accessLog },
      rollout: { stage: "shadow" },
    });
    const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    await exchangeRaw(
      proxy.port,
      `GET /orders/7?token=secret HTTP/1.1\r\nHost: a\r\ntraceparent: ${trace}\r\n\r\n`,
    );
    await exchangeRaw(proxy.port, "POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    await exchangeRaw(proxy.port, "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    await until("all have ended", () => proxy.proxy.metrics.requests === 3);
    await proxy[Symbol.asyncDispose]();
    const text = readFileSync(accessLog, "utf8");
    rmSync(folder, { recursive: true });
    expect(text).not.toContain("secret");
    const lines = text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines).toMatchObject([
      {
        method: "GET",
        path: "/orders/7",
        status: 200,
        side: "legacy",
        route: "/orders/:id",
        stream: "order",
        epoch: 1,
        end: "done",
        trace,
        peer: "127.0.0.1",
        bytesOut: 29,
      },
      { method: "POST", path: "/up", status: 200, side: "legacy", bytesIn: 3, end: "done" },
      { method: "GET", status: 400, end: "framing", bytesIn: 0 },
    ]);
    for (const line of lines)
      expect(line).toMatchObject({
        time: expect.stringMatching(/^\d{4}-.*Z$/) as unknown,
        durationMs: expect.any(Number) as unknown,
      });
  });

  test("that cannot be written costs no request", async () => {
    await using app = await startApp("legacy");
    await using proxy = await startTestProxy({
      legacy: app.port,
      settings: { accessLog: "/dev/full" },
    });
    for (let i = 0; i < 3; i++) expect(statusOf(await exchangeRaw(proxy.port, GET))).toBe(200);
    await until("all lines are given up", async () =>
      (await proxy.proxy.metrics.text()).includes("banyan_proxy_access_log_dropped 3"),
    );
    expect(statusOf(await exchangeRaw(proxy.port, GET))).toBe(200);
  });
});
