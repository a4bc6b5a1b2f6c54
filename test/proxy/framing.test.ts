import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  exchangeRaw,
  rawClient,
  refusalOf,
  startApp,
  startTestProxy,
  statusOf,
  until,
  type TestApp,
  type TestProxy,
} from "./proxy-support.ts";

/*
 * What two servers could read as different requests must not come through: bytes that one takes for a body
 * and the other for a second request let a client speak in the name of another.
 */

let app: TestApp;
let proxy: TestProxy;

beforeAll(async () => {
  app = await startApp("legacy");
  proxy = await startTestProxy({ legacy: app.port });
});
beforeEach(() => void app.received.splice(0));
afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  await app[Symbol.asyncDispose]();
});

const POST = "POST /upload HTTP/1.1\r\nHost: shop.example\r\n";
const GET = "GET /page HTTP/1.1\r\nHost: shop.example\r\n";
/** What a smuggled second request would be. */
const SECOND = "GET /smuggled HTTP/1.1\r\nHost: shop.example\r\n\r\n";
const CHUNKED = "Transfer-Encoding: chunked\r\n";

describe("a request is refused, its connection is closed, and no byte of it reaches an application", () => {
  test.each([
    ["with a length and chunks", `${POST}Content-Length: 6\r\n${CHUNKED}\r\n0\r\n\r\nX${SECOND}`],
    ["with chunks and a length", `${POST}${CHUNKED}Content-Length: 6\r\n\r\n0\r\n\r\nX${SECOND}`],
    [
      "with two lengths that differ",
      `${POST}Content-Length: 0\r\nContent-Length: 44\r\n\r\n${SECOND}`,
    ],
    ["with the same length twice", `${POST}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`],
    ["with a list of lengths", `${POST}Content-Length: 1, 1\r\n\r\na`],
    ["with a signed length", `${POST}Content-Length: +1\r\n\r\na`],
    ["with a hexadecimal length", `${POST}Content-Length: 0x1\r\n\r\na`],
    ["with an empty length", `${POST}Content-Length: \r\n\r\n${SECOND}`],
    ["with a length that no number holds", `${POST}Content-Length: 99999999999999999999\r\n\r\na`],
    ["with a coding that is not chunked", `${POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    ["with the coding identity", `${POST}Transfer-Encoding: identity\r\n\r\n${SECOND}`],
    ["with a second coding", `${POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n${SECOND}`],
    ["with chunked twice", `${POST}${CHUNKED}${CHUNKED}\r\n0\r\n\r\n`],
    [
      "with chunked that is not the last",
      `${POST}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n`,
    ],
    ["with a quoted coding", `${POST}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n`],
    [
      "with a vertical tab before the coding",
      `${POST}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n`,
    ],
    ["with a space before the colon", `${POST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`],
    ["with a folded coding", `${POST}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n`],
    ["with chunks in HTTP/1.0", `POST /upload HTTP/1.0\r\nHost: a\r\n${CHUNKED}\r\n0\r\n\r\n`],
    ["with a folded header", `${GET}X-A: b\r\n c\r\n\r\n`],
    ["with a space before the first header", `GET /page HTTP/1.1\r\n Host: a\r\n\r\n`],
    ["with bare line feeds", "GET /page HTTP/1.1\nHost: a\n\n"],
    ["with a bare carriage return in a header", `${GET}X-A: b\rContent-Length: 5\r\n\r\n`],
    ["with a NUL in a header", `${GET}X-A: b\0c\r\n\r\n`],
    ["with a chunk size that ends in a line feed", `${POST}${CHUNKED}\r\n3\nabc\r\n0\r\n\r\n`],
    ["with a space after the chunk size", `${POST}${CHUNKED}\r\n3 \r\nabc\r\n0\r\n\r\n`],
    ["with a signed chunk size", `${POST}${CHUNKED}\r\n+3\r\nabc\r\n0\r\n\r\n`],
    ["with a chunk size that no number holds", `${POST}${CHUNKED}\r\n${"f".repeat(20)}\r\nabc\r\n`],
    ["with a chunk longer than its size", `${POST}${CHUNKED}\r\n3\r\nabcd\r\n0\r\n\r\n`],
    ["with a length among the trailers", `${POST}${CHUNKED}\r\n0\r\nContent-Length: 5\r\n\r\n`],
    ["with two hosts", `${GET}Host: other.example\r\n\r\n`],
    [
      "with two types of content",
      `${POST}Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 1\r\n\r\na`,
    ],
    ["without a host", "GET /page HTTP/1.1\r\n\r\n"],
    [
      "that hides its length from the next hop",
      `${POST}Content-Length: 1\r\nConnection: content-length\r\n\r\na`,
    ],
    ["that hides its host from the next hop", `${GET}Connection: close, Host\r\n\r\n`],
    ["that hides who sent it", `${GET}Connection: X-Forwarded-For\r\n\r\n`],
  ])("%s", async (_, bytes) => {
    const client = rawClient(proxy.port);
    client.send(bytes);
    const answer = await client.closed();
    expect(statusOf(answer)).toBe(400);
    expect(refusalOf(answer)).toBe("framing");
    expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect(app.received).toEqual([]);
  });
});

describe("a request that everybody reads alike is framed anew", () => {
  test("a chunk's extension goes no further", async () => {
    const answer = await exchangeRaw(
      proxy.port,
      `${POST}${CHUNKED}\r\n3;name="a;b"\r\nabc\r\n0;last\r\n\r\n`,
    );
    expect(statusOf(answer)).toBe(200);
    expect(app.received.map(({ body }) => body)).toEqual(["abc"]);
  });

  test("a long chunk extension is refused", async () => {
    const client = rawClient(proxy.port);
    client.send(`${POST}${CHUNKED}\r\n3;${"x".repeat(40_000)}\r\nabc\r\n0\r\n\r\n`);
    const answer = await client.closed();
    expect([400, 413, Number.NaN]).toContain(statusOf(answer));
    expect(app.received).toEqual([]);
  });

  test("chunks stay chunks, whatever the case of the word, and a length stays a length", async () => {
    await exchangeRaw(proxy.port, `${POST}Transfer-Encoding: Chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n`);
    await exchangeRaw(proxy.port, `${POST}Content-Length: 2\r\n\r\nab`);
    expect(
      app.received.map(({ body, headers }) => [
        body,
        headers["transfer-encoding"],
        headers["content-length"],
      ]),
    ).toEqual([
      ["ab", "chunked", undefined],
      ["ab", undefined, "2"],
    ]);
  });

  test("a GET with a body is one request", async () => {
    await exchangeRaw(proxy.port, `${GET}Content-Length: ${SECOND.length}\r\n\r\n${SECOND}`);
    expect(app.received.map(({ url, body }) => [url, body])).toEqual([["/page", SECOND]]);
  });

  test.each(["DELETE", "OPTIONS"])("a %s with chunks is one request", async (method) => {
    const head = `${method} /thing HTTP/1.1\r\nHost: shop.example\r\n`;
    const size = SECOND.length.toString(16);
    await exchangeRaw(proxy.port, `${head}${CHUNKED}\r\n${size}\r\n${SECOND}\r\n0\r\n\r\n`);
    expect(app.received.map(({ url, body }) => [url, body])).toEqual([["/thing", SECOND]]);
  });

  test("requests that were sent ahead are answered one by one, in order", async () => {
    const client = rawClient(proxy.port);
    client.send([1, 2, 3].map((n) => `GET /page/${n} HTTP/1.1\r\nHost: a\r\n\r\n`).join(""));
    const text = await client.until(/legacy \/page\/3/);
    expect([...text.matchAll(/legacy (\S+?)(?=HTTP|$)/g)].map(([, path]) => path)).toEqual([
      "/page/1",
      "/page/2",
      "/page/3",
    ]);
    client.socket.destroy();
  });

  test("a request that was sent ahead waits for the answer to the one before", async () => {
    let running = 0;
    let runningMax = 0;
    await using slow = await startApp("slow", (_, response) => {
      runningMax = Math.max(runningMax, ++running);
      setTimeout(() => {
        running--;
        response.end("done");
      }, 20);
    });
    await using front = await startTestProxy({ legacy: slow.port });
    const client = rawClient(front.port);
    client.send(`${POST}Content-Length: 1\r\n\r\na`.repeat(4));
    await client.until(/(?:done[^]*){4}/);
    expect({ runningMax, count: slow.received.length }).toEqual({ runningMax: 1, count: 4 });
    client.socket.destroy();
  });

  test("what follows a request and is none is answered after it", async () => {
    await using slow = await startApp("slow", (_, response) => {
      response.write("first half, ");
      setTimeout(() => response.end("second half"), 30);
    });
    await using front = await startTestProxy({ legacy: slow.port });
    const client = rawClient(front.port);
    client.send(`${GET}\r\nnonsense\r\n\r\n`);
    const text = await client.closed();
    expect(text).toMatch(/first half, [^]*second half[^]*HTTP\/1\.1 4\d\d/);
    expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(2);
  });

  test("a body that ends early reaches no application as a whole one", async () => {
    const before = app.begun();
    const client = rawClient(proxy.port);
    client.send(`${POST}Content-Length: 10\r\n\r\nabc`);
    await until("the application has begun it", () => app.begun() > before);
    client.socket.destroy();
    const chunked = rawClient(proxy.port);
    chunked.send(`${POST}${CHUNKED}\r\n5\r\nab`);
    await until("the application has begun it", () => app.begun() > before + 1);
    chunked.socket.end();
    await chunked.closed();
    await exchangeRaw(proxy.port, `${GET}\r\n`);
    expect(app.received.map(({ url }) => url)).toEqual(["/page"]);
  });
});

describe("the target of a request", () => {
  test.each([
    ["of another version", "GET /page HTTP/2.0\r\nHost: a\r\n\r\n", 505, "version"],
    ["with a fragment", "GET /page#part HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"],
    ["of another host than it says", "GET http://evil/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"],
    ["of the whole server", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"],
    ["of another protocol", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target"],
    ["to connect elsewhere", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405, "method"],
    ["with an unknown method", "FROB / HTTP/1.1\r\nHost: a\r\n\r\n", 405, "method"],
  ])("is refused %s", async (_, bytes, status, refusal) => {
    const answer = await exchangeRaw(proxy.port, bytes);
    expect([statusOf(answer), refusalOf(answer)]).toEqual([status, refusal]);
    expect(app.received).toEqual([]);
  });

  test("in its absolute form is the path, when it is of the host that it says", async () => {
    await exchangeRaw(proxy.port, "GET http://Shop/page?a=1 HTTP/1.1\r\nHost: shop\r\n\r\n");
    await exchangeRaw(proxy.port, "GET http://shop?a=1 HTTP/1.1\r\nHost: shop\r\n\r\n");
    expect(app.received.map(({ url }) => url)).toEqual(["/page?a=1", "/?a=1"]);
  });

  test.each([
    "//double//slash",
    "/a%2Fb",
    "/a/../b",
    "/a%00",
    "/a;b=c",
    "/%zz",
    "/a\\b",
    "/?q=%2F..//",
  ])("%s goes on as it came, where no route is concerned", async (target) => {
    await exchangeRaw(proxy.port, `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
    expect(app.received.map(({ url }) => url)).toEqual([target]);
  });
});
