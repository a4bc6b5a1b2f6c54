import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import {
  exchangeRaw,
  rawClient,
  refusalOf,
  startTcpApp,
  startTestProxy,
  statusOf,
  until,
} from "./proxy-support.ts";

const GET = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n";
const POST = "POST /page HTTP/1.1\r\nHost: a\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/** An application that gives every request this answer. */
const startAnswering = (answer: string) =>
  startTcpApp((socket) => {
    socket.setEncoding("latin1").on("data", (text: string) => {
      if (text.includes("\r\n\r\n")) socket.write(answer);
    });
  });

describe("an answer goes on", () => {
  test.each([
    [
      "with a length",
      "GET",
      "200 OK\r\nTrailer: X-Sum\r\nContent-Length: 2\r\n\r\nok",
      /\r\n\r\nok$/,
    ],
    [
      "to HEAD",
      "HEAD",
      "200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n",
      /\r\n\r\n$/,
    ],
    ["of status 304", "GET", "304 Not Modified\r\nTrailer: X-Sum\r\n\r\n", /\r\n\r\n$/],
  ])("without the trailers it announces where it has none: %s", async (_, method, answer, end) => {
    await using app = await startAnswering(`HTTP/1.1 ${answer}`);
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send(GET.replace("GET", method));
    expect(await client.until(end)).not.toMatch(/trailer/i);
    client.socket.destroy();
  });

  test("without the length of a body that a status has not", async () => {
    await using app = await startAnswering("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n");
    await using proxy = await startTestProxy({ legacy: app.port });
    const text = await exchangeRaw(proxy.port, GET);
    expect(statusOf(text)).toBe(204);
    expect(text).not.toMatch(/content-length/i);
  });

  test("behind hints with names that objects have", async () => {
    const hint =
      "Link: </a>; rel=preload\r\n__proto__: x\r\nconstructor: y\r\nContent-Length: 9\r\n";
    await using app = await startAnswering(`HTTP/1.1 103 Early Hints\r\n${hint}\r\n${OK}`);
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send(GET);
    const [hinted, answer] = (await client.until(/ok$/)).split("\r\n\r\n");
    expect(hinted).toMatch(/^HTTP\/1\.1 103 [^]*__proto__: x\r\nconstructor: y$/);
    expect(statusOf(answer!)).toBe(200);
    client.socket.destroy();
  });
});

test("an answer in chunks that breaks off is reset for a client that knows none", async () => {
  let upstream: Socket | undefined;
  await using app = await startTcpApp((socket) => {
    upstream = socket;
    socket.once("data", () =>
      socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    );
  });
  await using proxy = await startTestProxy({ legacy: app.port });
  const client = rawClient(proxy.port);
  let problem: NodeJS.ErrnoException | undefined;
  client.socket.on("error", (error) => (problem = error));
  client.send(GET.replace("1.1", "1.0"));
  await client.until(/hello$/);
  upstream!.destroy();
  await client.closed();
  expect(problem?.code).toBe("ECONNRESET");
});

test("an answer to a part of a body is heard although the application closes behind it", async () => {
  await using app = await startTcpApp((socket) => {
    socket.once("data", () => {
      socket.pause();
      socket.write("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno", () => socket.destroy());
    });
  });
  await using proxy = await startTestProxy({ legacy: app.port });
  const answers: number[] = [];
  for (let i = 0; i < 12; i++) {
    const client = rawClient(proxy.port);
    client.send(`${POST}Content-Length: 3000000\r\n\r\n`);
    for (let pieces = 0; pieces < 30 && client.text() === ""; pieces++) {
      client.send("x".repeat(100_000));
      await new Promise((done) => setImmediate(done));
    }
    answers.push(statusOf(await client.until(/\r\n\r\n/)));
    client.socket.destroy();
  }
  expect(new Set(answers)).toEqual(new Set([413]));
});

describe("a client that goes while a connection is being made", () => {
  /** Takes connections, and never says a word of TLS. */
  const startMute = (sockets: Socket[]) =>
    startTcpApp((socket) => void sockets.push(socket.resume()));

  test("leaves none behind", async () => {
    const sockets: Socket[] = [];
    await using app = await startMute(sockets);
    await using proxy = await startTestProxy({
      legacy: app.port,
      scheme: "https",
      upstream: { connectMsMax: 60_000 },
    });
    for (const request of [GET, `${POST}Content-Length: 6\r\n\r\nabc`]) {
      const client = rawClient(proxy.port);
      const before = sockets.length;
      client.send(request);
      await until("a connection is being made", () => sockets.length > before);
      client.socket.destroy();
      await until("it is given up", () => sockets.every((socket) => socket.closed));
    }
  });

  test("costs nobody else anything when it was to try an application that was down", async () => {
    let isMute = false;
    await using app = await startTcpApp(
      (socket) => void (isMute ? socket.resume() : socket.destroy()),
    );
    await using proxy = await startTestProxy({ legacy: app.port, scheme: "https" });
    for (let i = 0; i < 10; i++) await exchangeRaw(proxy.port, GET);
    isMute = true;
    await sleep(1_050);
    const client = rawClient(proxy.port);
    const before = app.connections();
    client.send(`${POST}Content-Length: 6\r\n\r\nabc`);
    await until("a connection is being made", () => app.connections() > before);
    client.socket.destroy();
    await sleep(50);
    expect(refusalOf(await exchangeRaw(proxy.port, GET))).toBe("upstream-down");
  });
});
