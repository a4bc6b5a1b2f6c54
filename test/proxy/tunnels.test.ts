import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { describe, expect, test } from "vitest";
import {
  exchangeRaw,
  rawClient,
  refusalOf,
  startApp,
  startRawApp,
  startTestProxy,
  statusOf,
  until,
} from "./proxy-support.ts";

const UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n";

/** An application that echoes what comes through a tunnel, with its name before. */
async function startEcho(name: string) {
  const sockets = new Set<Socket>();
  const asked: string[] = [];
  const server = createServer((_, response) => response.end(`${name} plain`));
  server.on("upgrade", (request, socket: Socket, early: Buffer) => {
    sockets.add(socket.on("error", () => undefined));
    asked.push(`${request.url} ${request.headers.connection} ${request.headers.upgrade}`);
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Own: 1\r\n\r\n",
    );
    socket.write(`${name}:${early.toString()}`);
    socket.on("end", () => socket.end());
    socket.on("data", (bytes) => socket.write(`${name}:${bytes.toString()}`));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    asked,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

describe("a WebSocket", () => {
  test("becomes a tunnel to legacy, bytes that came early included", async () => {
    await using app = await startEcho("legacy");
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send(`GET /live?a=1 HTTP/1.1\r\nHost: a\r\n${UPGRADE}\r\nearly`);
    const head = await client.until(/legacy:early/);
    expect(statusOf(head)).toBe(101);
    expect(head).toMatch(/x-own: 1/i);
    client.send("later");
    await client.until(/legacy:later/);
    expect(app.asked).toEqual(["/live?a=1 upgrade websocket"]);
    client.socket.destroy();
  });

  test("goes to the side of its aggregate, and to that one only", async () => {
    await using legacy = await startEcho("legacy");
    await using fresh = await startEcho("new");
    await using proxy = await startTestProxy({
      legacy: legacy.port,
      new: fresh.port,
      rollout: { stage: "new" },
    });
    const client = rawClient(proxy.port);
    client.send(`GET /orders/5 HTTP/1.1\r\nHost: a\r\n${UPGRADE}\r\n`);
    await client.until(/new:/);
    expect([legacy.asked.length, fresh.asked.length]).toEqual([0, 1]);
    client.socket.destroy();
  });

  test.each(["client", "application"] as const)(
    "ends for both when the %s ends it",
    async (who) => {
      await using app = await startEcho("legacy");
      await using proxy = await startTestProxy({ legacy: app.port });
      const client = rawClient(proxy.port);
      client.send(`GET /live HTTP/1.1\r\nHost: a\r\n${UPGRADE}\r\n`);
      await client.until(/legacy:/);
      const [other] = app.sockets;
      if (who === "client") client.socket.resetAndDestroy();
      else other!.destroy();
      await until("both are closed", () => client.socket.destroyed && other!.destroyed);
    },
  );

  test("uses a connection of its upstream until it ends", async () => {
    await using app = await startEcho("legacy");
    await using proxy = await startTestProxy({ legacy: app.port, upstream: { connectionsMax: 1 } });
    const client = rawClient(proxy.port);
    client.send(`GET /live HTTP/1.1\r\nHost: a\r\n${UPGRADE}\r\n`);
    await client.until(/legacy:/);
    const plain = (): Promise<string> =>
      exchangeRaw(proxy.port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    expect(refusalOf(await plain())).toBe("upstream-busy");
    client.socket.destroy();
    await until("the tunnel has ended", () => [...app.sockets].every((socket) => socket.destroyed));
    expect(statusOf(await plain())).toBe(200);
  });

  test("that the application refuses is answered as any request", async () => {
    await using app = await startApp("legacy", (_, response) => {
      response.writeHead(403, { "content-length": "2" }).end("no");
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send(`GET /live HTTP/1.1\r\nHost: a\r\n${UPGRADE}\r\n`);
    const text = await client.closed();
    expect(statusOf(text)).toBe(403);
    expect(text).toMatch(/\r\n\r\nno$/);
  });

  test("whose framing is doubtful is refused", async () => {
    await using app = await startEcho("legacy");
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send(`GET /live HTTP/1.1\r\nHost: a\r\nHost: b\r\n${UPGRADE}\r\n`);
    expect(refusalOf(await client.closed())).toBe("framing");
    expect(app.asked).toEqual([]);
  });
});

test("any other protocol is passed over: the request is a plain one", async () => {
  await using app = await startApp("legacy");
  await using proxy = await startTestProxy({ legacy: app.port });
  const client = rawClient(proxy.port);
  client.send(
    "GET /page HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
  );
  const text = await client.closed();
  expect(text).toMatch(/^HTTP\/1\.1 200[^]*legacy \/page$/);
  const { headers } = app.received[0]!;
  expect([headers.upgrade, headers["http2-settings"]]).toEqual([undefined, undefined]);
});

test("events of a server come through one by one, as they are sent", async () => {
  let send: (text: string) => void = () => undefined;
  await using app = await startRawApp((_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
    send = (text) => void response.write(text);
  });
  await using proxy = await startTestProxy({ legacy: app.port });
  const client = rawClient(proxy.port);
  client.send("GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n");
  // The head is there although nothing has been said yet.
  await client.until(/text\/event-stream[^]*\r\n\r\n$/);
  for (const n of [1, 2, 3]) {
    send(`data: ${n}\n\n`);
    await client.until(new RegExp(`data: ${n}\n\n`));
  }
  client.socket.destroy();
});
