import { createHash, randomBytes } from "node:crypto";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import {
  exchangeRaw,
  rawClient,
  refusalOf,
  startApp,
  startRawApp,
  startTcpApp,
  startTestProxy,
  statusOf,
  until,
} from "./proxy-support.ts";

const NIGHTLY = process.env["BANYAN_TEST_BUDGET"] === "nightly";
const MIB = 1024 * 1024;
/** Each way. */
const HUGE_BYTES = (NIGHTLY ? 2_048 : 640) * MIB;
/** Of the one process that client, proxy and application are; it collects garbage when it likes. */
const GROWTH_BYTES_MAX = 240 * MIB;
const POST = "POST /upload HTTP/1.1\r\nHost: a\r\n";

describe("a huge body", () => {
  test("goes both ways at once in flat memory, byte for byte", async () => {
    await using app = await startRawApp((request, response) => void request.pipe(response));
    await using proxy = await startTestProxy({ legacy: app.port });
    const piece = randomBytes(MIB);
    const sent = createHash("sha256");
    const got = createHash("sha256");
    let bytes = 0;
    let highest = 0;
    const before = process.memoryUsage.rss();
    const outgoing = httpRequest(`${proxy.url}/echo`, { method: "POST" });
    const answered = new Promise<IncomingMessage>((done, fail) => {
      outgoing.once("response", done).once("error", fail);
    });
    const sending = pipeline(
      Readable.from(pieces(piece, HUGE_BYTES / MIB, (one) => sent.update(one))),
      outgoing,
    );
    for await (const chunk of await answered) {
      got.update(chunk as Buffer);
      bytes += (chunk as Buffer).length;
      highest = Math.max(highest, process.memoryUsage.rss());
    }
    await sending;
    expect(bytes).toBe(HUGE_BYTES);
    expect(got.digest("hex")).toBe(sent.digest("hex"));
    // Client, proxy and application together, as all are in this process.
    expect(highest - before).toBeLessThan(GROWTH_BYTES_MAX);
  });

  test("is not read ahead for an application that does not take it", async () => {
    let head: IncomingMessage | undefined;
    await using app = await startRawApp((request) => void (head = request.pause()));
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send(`${POST}Content-Length: ${512 * MIB}\r\n\r\n`);
    const taken = await takenOf(client.socket, () => head !== undefined);
    expect(taken).toBeLessThan(32 * MIB);
    client.socket.destroy();
  });

  test("is not read ahead for a client that does not take it", async () => {
    let given = 0;
    await using app = await startRawApp((_, response) => {
      const more = (): void => {
        do given += MIB;
        while (response.write(Buffer.alloc(MIB)) && given < 512 * MIB);
        response.once("drain", more);
      };
      more();
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send("GET /download HTTP/1.1\r\nHost: a\r\n\r\n");
    client.socket.once("data", () => client.socket.pause());
    await until("the answer has begun", () => given > 0);
    let before = -1;
    for (let looks = 0; looks < 50 && before !== given; looks++) {
      before = given;
      await sleep(100);
    }
    expect(given).toBeLessThan(32 * MIB);
    client.socket.destroy();
  });
});

describe("a small body", () => {
  const ALL = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  test.each([
    ["with a length", { "content-length": ALL.length }, ALL.toString("latin1")],
    ["in a chunk", {}, `100\r\n${ALL.toString("latin1")}\r\n0\r\n\r\n`],
  ])("%s comes byte for byte, whatever the bytes", async (_, head, body) => {
    await using app = await startApp("legacy", (_request, response) => {
      response.writeHead(200, head).end(ALL);
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    const text = await exchangeRaw(proxy.port, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(text.slice(text.indexOf("\r\n\r\n") + 4)).toBe(body);
  });
});

describe("an answer without a body", () => {
  test("to HEAD keeps the length that GET would have", async () => {
    await using app = await startApp("legacy", (_, response) => {
      response.writeHead(200, { "content-length": "1234", etag: '"x"' }).end();
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send("HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n");
    await client.until(/content-length: 1234[^]*\r\n\r\n$/i);
    // The connection is in step: the next answer is the next request's.
    client.send("HEAD /b HTTP/1.1\r\nHost: a\r\n\r\n");
    const text = await client.until(/(?:HTTP\/1\.1 200[^]*){2}\r\n\r\n$/);
    expect(text.match(/etag: "x"/gi)).toHaveLength(2);
    client.socket.destroy();
    expect(app.received.map(({ method }) => method)).toEqual(["HEAD", "HEAD"]);
  });

  test.each([204, 304])("%d has none and the connection goes on", async (status) => {
    await using app = await startApp("legacy", (_, response) => {
      response
        .writeHead(status, status === 304 ? { etag: '"x"', "content-length": "9" } : {})
        .end();
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    const request = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(request);
    await client.until(/\r\n\r\n$/);
    client.send(request);
    const text = await client.until(/(?:HTTP\/1\.1 \d[^]*){2}\r\n\r\n$/);
    expect([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, code]) => Number(code))).toEqual([
      status,
      status,
    ]);
    expect(text).not.toMatch(/transfer-encoding/i);
    client.socket.destroy();
  });
});

describe("a client that waits for leave to send its body", () => {
  const EXPECTING = `${POST}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n`;

  test("gets it, and then its answer", async () => {
    await using app = await startApp("legacy");
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send(EXPECTING);
    await client.until(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    client.send("hello");
    await client.until(/HTTP\/1\.1 200 OK[^]*legacy \/upload$/);
    expect(app.received.map(({ body, headers }) => [body, headers.expect])).toEqual([
      ["hello", undefined],
    ]);
    client.socket.destroy();
  });

  test("is refused instead, and the connection ends, when nobody would take it", async () => {
    await using app = await startApp("legacy");
    await using proxy = await startTestProxy({ legacy: app.port });
    const refused = rawClient(proxy.port);
    refused.send(EXPECTING.replace("Host: a", "Host: a\r\nbanyan-hops: 1,2,3,4,5,6,7,8"));
    const before = performance.now();
    const text = await refused.closed();
    // At once: a connection on which the body may yet come is not waited for.
    expect(performance.now() - before).toBeLessThan(4_000);
    expect([statusOf(text), refusalOf(text)]).toEqual([508, "loop"]);
    expect(text).not.toContain("100 Continue");
    expect(app.begun()).toBe(0);
  });

  test("for anything else is told that it cannot have it", async () => {
    await using app = await startApp("legacy");
    await using proxy = await startTestProxy({ legacy: app.port });
    const answer = await exchangeRaw(
      proxy.port,
      "GET / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n",
    );
    expect([statusOf(answer), refusalOf(answer)]).toEqual([417, "expectation"]);
  });
});

describe("what comes beside a body", () => {
  test("trailers of an answer are passed on", async () => {
    await using app = await startApp("legacy", (_, response) => {
      response.writeHead(200, { trailer: "x-sum" });
      response.write("abc");
      response.addTrailers({ "x-sum": "6" });
      response.end();
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send("GET /a HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    const text = await client.until(/\r\n0\r\n(?:[^]*\r\n)?\r\n$/);
    expect(text).toMatch(/trailer: x-sum\r\n/i);
    expect(text).toMatch(/abc\r\n0\r\nx-sum: 6\r\n\r\n$/i);
    client.socket.destroy();
  });

  test("trailers of a request are left out, not taken for headers", async () => {
    await using app = await startApp("legacy");
    await using proxy = await startTestProxy({ legacy: app.port });
    await exchangeRaw(
      proxy.port,
      `${POST}Transfer-Encoding: chunked\r\nTrailer: x-admin\r\n\r\n3\r\nabc\r\n0\r\nx-admin: yes\r\n\r\n`,
    );
    expect(app.received[0]).toMatchObject({ body: "abc", trailers: {} });
    expect(app.received[0]!.headers["x-admin"]).toBeUndefined();
  });

  test("early hints come before the answer", async () => {
    await using app = await startApp("legacy", (_, response) => {
      response.writeEarlyHints({ link: "</a.css>; rel=preload" }, () => response.end("page"));
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    const text = await client.until(/page$/);
    expect(text).toMatch(
      /^HTTP\/1\.1 103 Early Hints\r\nlink: <\/a\.css>; rel=preload\r\n\r\nHTTP\/1\.1 200/i,
    );
    client.socket.destroy();
  });

  test("an answer that comes before the whole request reaches the client", async () => {
    await using app = await startTcpApp((socket) => {
      socket.once("data", () => {
        socket.end("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
      });
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send(`${POST}Content-Length: ${100 * MIB}\r\n\r\n${"a".repeat(1000)}`);
    const text = await client.until(/\r\n\r\nno$/);
    expect(statusOf(text)).toBe(413);
    client.socket.destroy();
  });

  test("an answer without a length to HTTP/1.0 ends with its connection", async () => {
    await using app = await startApp("legacy", (_, response) => {
      response.write("in ");
      response.end("pieces");
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send("GET /a HTTP/1.0\r\n\r\n");
    const text = await client.closed();
    expect(text).toMatch(/\r\n\r\nin pieces$/);
    expect(text).not.toMatch(/transfer-encoding/i);
  });
});

function* pieces(piece: Buffer, count: number, use: (piece: Buffer) => void): Generator<Buffer> {
  for (let i = 0; i < count; i++) {
    piece.writeUInt32BE(i);
    const one = Buffer.from(piece);
    use(one);
    yield one;
  }
}

/** How many bytes a connection takes until it takes no more. */
async function takenOf(
  socket: ReturnType<typeof rawClient>["socket"],
  hasBegun: () => boolean,
): Promise<number> {
  socket.write(Buffer.alloc(MIB));
  await until("the application has begun", hasBegun);
  let quietLooks = 0;
  for (let looks = 0; looks < 200 && quietLooks < 5 && socket.bytesWritten < 512 * MIB; looks++) {
    if (socket.writableLength === 0) {
      quietLooks = 0;
      socket.write(Buffer.alloc(MIB));
    } else quietLooks++;
    await sleep(20);
  }
  return socket.bytesWritten - socket.writableLength;
}
