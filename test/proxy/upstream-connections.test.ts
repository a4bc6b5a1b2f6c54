import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import {
  exchangeRaw,
  rawClient,
  refusalOf,
  RunningTime,
  startRawApp,
  startTcpApp,
  startTestProxy,
  statusOf,
  until,
} from "./proxy-support.ts";

const GET = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n";
const POST = "POST /page HTTP/1.1\r\nHost: a\r\n";

/** An application that gives every request this answer, and tells what it got on each connection. */
async function startAnswering(answer: string) {
  const got: string[] = [];
  const sockets: Socket[] = [];
  const app = await startTcpApp((socket) => {
    const at = sockets.push(socket) - 1;
    got[at] = "";
    socket.setEncoding("latin1").on("data", (text: string) => {
      got[at] += text;
      if (text.includes("\r\n\r\n")) socket.write(answer);
    });
  });
  return Object.assign(app, { got, sockets });
}

/** An application that speaks TLS, with a certificate that nobody vouches for. */
async function startTlsApp(onConnection: (socket: TLSSocket) => void) {
  const file = (name: string): Buffer =>
    readFileSync(join(import.meta.dirname, "../support/tls", name));
  const options = { key: file("server.key"), cert: file("server.crt") };
  const server = createTlsServer(options, (socket) => {
    socket.on("error", () => undefined);
    onConnection(socket);
  });
  server.on("tlsClientError", () => undefined);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      await new Promise((done) => server.close(done));
    },
  };
}

describe("a connection to an application", () => {
  test("is kept, and used for the next request", async () => {
    await using app = await startAnswering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    await using proxy = await startTestProxy({ legacy: app.port });
    for (let i = 0; i < 5; i++) expect(statusOf(await exchangeRaw(proxy.port, GET))).toBe(200);
    expect(app.connections()).toBe(1);
  });

  test.each([
    [
      "that it will close",
      "HTTP/1.1 200 OK\r\nConnection: X-A, Close\r\nContent-Length: 0\r\n\r\n",
    ],
    ["of HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"],
    [
      "of HTTP/1.0 that says both",
      "HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 0\r\n\r\n",
    ],
    [
      "that closes within a second",
      "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1, max=5\r\nContent-Length: 0\r\n\r\n",
    ],
  ])("%s is not used again", async (_, answer) => {
    await using app = await startAnswering(answer);
    await using proxy = await startTestProxy({ legacy: app.port });
    for (let i = 0; i < 3; i++) expect(statusOf(await exchangeRaw(proxy.port, GET))).toBe(200);
    expect(app.connections()).toBe(3);
  });

  test("of HTTP/1.0 that is kept says so", async () => {
    await using app = await startAnswering(
      "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    );
    await using proxy = await startTestProxy({ legacy: app.port });
    for (let i = 0; i < 3; i++) expect(statusOf(await exchangeRaw(proxy.port, GET))).toBe(200);
    expect(app.connections()).toBe(1);
  });

  test("that is unused is closed a second before the application would", async () => {
    await using app = await startAnswering(
      "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2\r\nContent-Length: 0\r\n\r\n",
    );
    await using proxy = await startTestProxy({ legacy: app.port });
    await exchangeRaw(proxy.port, GET);
    const sinceMs = performance.now();
    using time = new RunningTime();
    await until("it is closed", () => app.sockets[0]!.closed);
    expect(performance.now() - sinceMs).toBeGreaterThan(700);
    expect(time.ms).toBeLessThan(1_900);
    expect(statusOf(await exchangeRaw(proxy.port, GET))).toBe(200);
  });

  test("on which something comes unasked is closed", async () => {
    await using app = await startAnswering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    await using proxy = await startTestProxy({ legacy: app.port });
    await exchangeRaw(proxy.port, GET);
    app.sockets[0]!.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray");
    await until("it is closed", () => app.sockets[0]!.closed);
    expect(await exchangeRaw(proxy.port, GET)).not.toContain("stray");
    expect(app.connections()).toBe(2);
  });

  test("carries no other request when its last one was not sent to its end", async () => {
    await using app = await startAnswering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send(`${POST}Content-Length: 100\r\n\r\nGET /smuggled HTTP/1.1\r\n`);
    await client.until(/ok$/);
    expect(statusOf(await exchangeRaw(proxy.port, GET))).toBe(200);
    expect(app.connections()).toBe(2);
    expect(app.got[0]!.match(/POST|GET \/page/g)).toEqual(["POST"]);
    client.socket.destroy();
  });

  test("of TLS is not used again before all that came on it is read", async () => {
    // The head and the body are as long as a record, so that what follows is a second one.
    const head = "HTTP/1.1 200 OK\r\nContent-Length: 16342\r\n\r\n";
    const stray = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray";
    await using app = await startTlsApp((socket) => {
      socket.on("data", (asked: Buffer) => {
        const times = asked.toString().match(/GET/g)?.length ?? 0;
        for (let i = 0; i < times; i++) socket.write(head + "a".repeat(16_342) + stray);
      });
    });
    vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
    onTestFinished(() => void vi.unstubAllEnvs());
    await using proxy = await startTestProxy({ legacy: app.port, scheme: "https" });
    const client = rawClient(proxy.port);
    client.send(GET.repeat(4));
    await until("all are answered", () => client.text().length > 4 * 16_384);
    expect(client.text()).not.toContain("stray");
    expect(client.text().match(/a{16342}/g)).toHaveLength(4);
    client.socket.destroy();
  });

  test("that cannot be used within the time is a gateway timeout", async () => {
    // Takes the connection, and never says a word of TLS.
    await using app = await startTcpApp(() => undefined);
    await using proxy = await startTestProxy({
      legacy: app.port,
      upstream: { connectMsMax: 100 },
      scheme: "https",
    });
    const text = await exchangeRaw(proxy.port, GET);
    expect([statusOf(text), refusalOf(text)]).toEqual([504, "upstream-slow"]);
  });

  test("whose certificate nobody vouches for gets no request", async () => {
    let bytes = 0;
    await using app = await startTlsApp((socket) => {
      socket.on("data", (piece: Buffer) => (bytes += piece.length));
    });
    await using proxy = await startTestProxy({ legacy: app.port, scheme: "https" });
    const text = await exchangeRaw(proxy.port, GET);
    expect([statusOf(text), refusalOf(text)]).toEqual([502, "upstream-failed"]);
    expect(bytes).toBe(0);
  });
});

describe("the wait for an answer", () => {
  test("does not go on while the client is silent within its body", async () => {
    await using app = await startRawApp((request, response) => {
      request.resume().once("end", () => response.end("got it"));
    });
    await using proxy = await startTestProxy({
      legacy: app.port,
      upstream: { responseMsMax: 1_000 },
    });
    const client = rawClient(proxy.port);
    client.send(`${POST}Content-Length: 6\r\n\r\nabc`);
    await sleep(1_500);
    client.send("def");
    expect(statusOf(await client.until(/got it/))).toBe(200);
    client.socket.destroy();
  });

  test("goes on while the application takes nothing of it", async () => {
    await using app = await startTcpApp((socket) => void socket.pause());
    await using proxy = await startTestProxy({
      legacy: app.port,
      upstream: { responseMsMax: 200 },
    });
    const client = rawClient(proxy.port);
    client.send(`${POST}Content-Length: 30000000\r\n\r\n${"a".repeat(30_000_000)}`);
    const text = await client.until(/\r\n\r\n/);
    expect([statusOf(text), refusalOf(text)]).toEqual([504, "upstream-slow"]);
    client.socket.destroy();
  });

  test("begins when the request has ended", async () => {
    await using app = await startRawApp((request, response) => {
      request.resume().once("end", () => response.end("got it"));
    });
    await using proxy = await startTestProxy({
      legacy: app.port,
      upstream: { responseMsMax: 1_000 },
    });
    const client = rawClient(proxy.port);
    client.send(`${POST}Content-Length: 6\r\n\r\n`);
    for (let i = 0; i < 6; i++) {
      await sleep(250);
      client.send("a");
    }
    expect(statusOf(await client.until(/got it/))).toBe(200);
    client.socket.destroy();
  });

  test("for more of it rests while the client takes nothing", async () => {
    const piece = Buffer.alloc(1_048_576);
    await using app = await startRawApp((_, response) => {
      for (let i = 0; i < 16; i++) response.write(piece);
      response.end("the end");
    });
    await using proxy = await startTestProxy({ legacy: app.port, upstream: { idleMsMax: 1_000 } });
    const client = rawClient(proxy.port);
    client.send(GET);
    client.socket.once("data", () => client.socket.pause());
    await sleep(2_000);
    client.socket.resume();
    await until("all of it has come", () => client.text().length > 16 * piece.length);
    client.socket.destroy();
  });
});

test("an answer in very many chunks stems no more than it must", async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning);
  process.on("warning", onWarning);
  const chunks = "1\r\na\r\n".repeat(500_000);
  await using app = await startAnswering(
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`,
  );
  await using proxy = await startTestProxy({ legacy: app.port });
  const client = rawClient(proxy.port);
  client.send(GET);
  client.socket.once("data", () => {
    client.socket.pause();
    setTimeout(() => client.socket.resume(), 200);
  });
  const text = await client.until(/\r\n0\r\n\r\n$/);
  expect(text.match(/a\r\n/g)).toHaveLength(500_000);
  process.off("warning", onWarning);
  expect(warnings).toEqual([]);
  client.socket.destroy();
});
