import { describe, expect, test } from "vitest";
import {
  exchangeRaw,
  rawClient,
  refusalOf,
  startApp,
  startTcpApp,
  startTestProxy,
  statusOf,
  type Received,
} from "./proxy-support.ts";
import { freePort } from "../support/free-port.ts";

const HEAD = "GET /page HTTP/1.1\r\nHost: shop.example\r\n";

/** What an application gets of these header lines. */
async function passed(lines: string, trusted: readonly string[] = []): Promise<Received> {
  await using app = await startApp("legacy");
  await using proxy = await startTestProxy({ legacy: app.port, settings: { trusted } });
  expect(statusOf(await exchangeRaw(proxy.port, `${HEAD}${lines}\r\n`))).toBe(200);
  return app.received[0]!;
}

/** The header lines of an answer, in lower case. */
async function answered(lines: string): Promise<readonly string[]> {
  const answer = `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n${lines}\r\nok`;
  await using app = await startTcpApp((socket) =>
    socket.once("data", () => socket.write(Buffer.from(answer, "latin1"))),
  );
  await using proxy = await startTestProxy({ legacy: app.port });
  const text = await exchangeRaw(proxy.port, `${HEAD}\r\n`);
  return text.split("\r\n\r\n")[0]!.toLowerCase().split("\r\n").slice(1);
}

describe("headers of one connection go no further", () => {
  test("of a request, with those that Connection names", async () => {
    const { headers } = await passed(
      "Connection: keep-alive, X-Mine, x-other\r\nX-Mine: 1\r\nX-Other: 2\r\nX-Kept: 3\r\n" +
        "Keep-Alive: timeout=9\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTE: gzip\r\n",
    );
    expect(headers).toMatchObject({ "x-kept": "3" });
    for (const name of [
      "x-mine",
      "x-other",
      "keep-alive",
      "proxy-connection",
      "proxy-authorization",
      "te",
    ])
      expect(headers[name], name).toBeUndefined();
  });

  test("of an answer, with those that Connection names", async () => {
    const lines = await answered(
      "Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nX-Kept: 2\r\nProxy-Authenticate: Basic\r\nKeep-Alive: timeout=99\r\n",
    );
    expect(lines).toContain("x-kept: 2");
    expect(
      lines.filter((line) => /^(?:x-mine|proxy-authenticate|keep-alive: timeout=99)/.test(line)),
    ).toEqual([]);
  });

  test("a wish for trailers is passed on, other codings are not", async () => {
    expect((await passed("TE: trailers, deflate\r\n")).headers["te"]).toBe("trailers");
  });

  test("all others go on as they came: order, case, repetition, odd bytes", async () => {
    const { rawHeaders } = await passed(
      "X-Twice: a\r\nx-twice: b\r\nAccept: */*\r\nX-Odd: caf\xe9\r\nCookie: a=1; b=2\r\n",
    );
    const own = rawHeaders.slice(rawHeaders.indexOf("X-Twice"), rawHeaders.indexOf("X-Twice") + 10);
    expect(own).toEqual([
      "X-Twice",
      "a",
      "x-twice",
      "b",
      "Accept",
      "*/*",
      "X-Odd",
      "caf\xe9",
      "Cookie",
      "a=1; b=2",
    ]);
    const lines = await answered("Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Odd: caf\xe9\r\n");
    expect(lines).toEqual(
      expect.arrayContaining(["set-cookie: a=1", "set-cookie: b=2", "x-odd: caf\xe9"]),
    );
  });

  test("traceparent and tracestate are passed on untouched", async () => {
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const { headers } = await passed(`traceparent: ${traceparent}\r\ntracestate: a=b,c=d\r\n`);
    expect(headers).toMatchObject({ traceparent, tracestate: "a=b,c=d" });
  });
});

describe("who a request is for", () => {
  const LIES =
    "X-Forwarded-For: 10.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Prefix: /x\r\n" +
    "X_Forwarded_For: 10.9.9.9\r\nForwarded: for=10.9.9.9\r\nVia: 1.1 other\r\nX-Real-IP: 10.9.9.9\r\n";

  test("is what the proxy sees, whatever a client says", async () => {
    const { headers } = await passed(LIES);
    expect(headers).toMatchObject({
      host: "shop.example",
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-proto": "http",
      "x-forwarded-host": "shop.example",
      forwarded: 'for=127.0.0.1;host="shop.example";proto=http',
      via: "1.1 banyan",
    });
    for (const name of ["x-forwarded-prefix", "x_forwarded_for", "x-real-ip"])
      expect(headers[name], name).toBeUndefined();
  });

  test("goes on from what a trusted peer says", async () => {
    const { headers } = await passed(LIES, ["127.0.0.0/8"]);
    expect(headers).toMatchObject({
      "x-forwarded-for": "10.9.9.9, 10.9.9.9, 127.0.0.1",
      "x-forwarded-proto": "https",
      "x-forwarded-host": "evil.example",
      "x-forwarded-prefix": "/x",
      forwarded: 'for=10.9.9.9, for=127.0.0.1;host="shop.example";proto=http',
      via: "1.1 other, 1.1 banyan",
    });
  });

  test("a peer outside of the trusted networks is not believed", async () => {
    expect((await passed(LIES, ["10.0.0.0/8", "::1"])).headers["x-forwarded-for"]).toBe(
      "127.0.0.1",
    );
  });

  test("what the proxy says in its own headers cannot be said by a client", async () => {
    const { headers } = await passed(
      "banyan-mode: shadow\r\nBanyan-Epoch: 99\r\nbanyan_mode: shadow\r\n",
      ["127.0.0.1"],
    );
    expect(Object.keys(headers).filter((name) => /^banyan[-_]/.test(name))).toEqual([
      "banyan-hops",
    ]);
  });

  test("a request that was routed carries its epoch, its mode and a name of its own, whatever the client says", async () => {
    await using app = await startApp("legacy");
    await using proxy = await startTestProxy({ legacy: app.port, rollout: { stage: "shadow" } });
    const lies = "banyan-mode: shadow\r\nBanyan-Correlation: mine\r\nbanyan_epoch: 9\r\n";
    const line = "GET /orders/1 HTTP/1.1\r\nHost: a\r\n";
    for (let n = 0; n < 2; n++) await exchangeRaw(proxy.port, `${line}${lies}\r\n`);
    const [one, two] = app.received.map(({ headers }) => headers);
    expect(one).toMatchObject({ "banyan-mode": "live", "banyan-epoch": "1" });
    expect(one!["banyan-correlation"]).toMatch(/^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/);
    expect(two!["banyan-correlation"]).not.toBe(one!["banyan-correlation"]);
  });
});

describe("limits of a head", () => {
  test("beyond 16 KiB a request is refused", async () => {
    await using app = await startApp("legacy");
    await using proxy = await startTestProxy({ legacy: app.port });
    const just = await exchangeRaw(proxy.port, `${HEAD}X-Long: ${"a".repeat(15_000)}\r\n\r\n`);
    expect(statusOf(just)).toBe(200);
    const over = await exchangeRaw(proxy.port, `${HEAD}X-Long: ${"a".repeat(17_000)}\r\n\r\n`);
    expect([statusOf(over), refusalOf(over)]).toEqual([431, "large-headers"]);
    expect(app.received).toHaveLength(1);
  });

  test("with more than 200 lines a request is refused, never cut", async () => {
    await using app = await startApp("legacy");
    await using proxy = await startTestProxy({ legacy: app.port });
    const lines = (n: number): string =>
      Array.from({ length: n }, (_, i) => `x-${i}: ${i}\r\n`).join("");
    expect(statusOf(await exchangeRaw(proxy.port, `${HEAD}${lines(199)}\r\n`))).toBe(200);
    expect(app.received[0]!.headers).toMatchObject({ "x-0": "0", "x-198": "198" });
    const over = await exchangeRaw(proxy.port, `${HEAD}${lines(200)}\r\n`);
    expect([statusOf(over), refusalOf(over)]).toEqual([431, "large-headers"]);
  });

  test("an answer whose head is too large is a bad gateway, not a broken client", async () => {
    const head = `HTTP/1.1 200 OK\r\nX-Long: ${"a".repeat(70_000)}\r\nContent-Length: 0\r\n\r\n`;
    await using app = await startTcpApp((socket) => socket.once("data", () => socket.write(head)));
    await using proxy = await startTestProxy({ legacy: app.port });
    const answer = await exchangeRaw(proxy.port, `${HEAD}\r\n`);
    expect([statusOf(answer), refusalOf(answer)]).toEqual([502, "upstream-failed"]);
  });
});

describe("a proxy that is its own upstream", () => {
  test("notices a request that comes back", async () => {
    const port = await freePort();
    const listen = { host: "127.0.0.1", port };
    await using proxy = await startTestProxy({ legacy: port, settings: { listen } });
    const answer = await exchangeRaw(proxy.port, `${HEAD}\r\n`);
    expect([statusOf(answer), refusalOf(answer)]).toEqual([508, "loop"]);
    expect(proxy.proxy.metrics.requests).toBeLessThanOrEqual(2);
  });

  test("notices a chain of proxies that has no end", async () => {
    await using app = await startApp("legacy");
    await using proxy = await startTestProxy({ legacy: app.port });
    const hops = Array.from({ length: 8 }, (_, i) => `hop-${i}`).join(", ");
    const client = rawClient(proxy.port);
    client.send(`${HEAD}banyan-hops: ${hops}\r\n\r\n`);
    expect(refusalOf(await client.until(/\r\n\r\n/))).toBe("loop");
    client.socket.destroy();
    expect(app.received).toEqual([]);
  });
});
