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
import { freePort } from "../support/free-port.ts";

const NIGHTLY = process.env["BANYAN_TEST_BUDGET"] === "nightly";
const GET = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n";
const POST = "POST /page HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

describe("a slow client", () => {
  test("that sends no request, or never ends its head, is told so and closed", async () => {
    await using app = await startApp("legacy");
    await using proxy = await startTestProxy({ legacy: app.port, headersMsMax: 400 });
    const silent = rawClient(proxy.port);
    const dripping = rawClient(proxy.port);
    const timer = setInterval(() => dripping.send("x: y\r\n"), 20);
    dripping.send("GET / HTTP/1.1\r\nHost: a\r\n");
    const answers = await Promise.all([silent.closed(), dripping.closed()]);
    clearInterval(timer);
    expect(answers.map((text) => [statusOf(text), refusalOf(text)])).toEqual([
      [408, "slow-request"],
      [408, "slow-request"],
    ]);
    expect(app.begun()).toBe(0);
  });

  // Takes the half minute that it is given.
  test.each(NIGHTLY ? ["POST"] : [])(
    "that does not go on with the body of its %s is closed",
    async (method) => {
      await using app = await startApp("legacy");
      await using proxy = await startTestProxy({ legacy: app.port });
      const client = rawClient(proxy.port);
      client.send(`${method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc`);
      await sleep(25_000);
      expect(client.socket.closed).toBe(false);
      expect(await client.closed()).toBe("");
      expect(app.received).toEqual([]);
    },
  );

  test("does not hold up others", async () => {
    await using app = await startApp("legacy");
    await using proxy = await startTestProxy({ legacy: app.port });
    const slow = Array.from({ length: 200 }, () => rawClient(proxy.port));
    for (const client of slow) client.send("GET / HTTP/1.1\r\nHo");
    expect(statusOf(await exchangeRaw(proxy.port, GET))).toBe(200);
    for (const client of slow) client.socket.destroy();
  });
});

describe("a client that goes away", () => {
  test("before its answer ends the request at the application", async () => {
    let isClosed = false;
    await using app = await startRawApp((request, response) => {
      request.resume();
      response.once("close", () => (isClosed = true));
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send(GET);
    await until("the application has it", () => app.begun() === 1);
    client.socket.destroy();
    await until("the application is told", () => isClosed);
  });

  test("in the midst of its answer ends it at the application", async () => {
    let isClosed = false;
    await using app = await startRawApp((_, response) => {
      const timer = setInterval(() => response.write("more "), 5);
      response.once("close", () => {
        isClosed = true;
        clearInterval(timer);
      });
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send(GET);
    await client.until(/more/);
    client.socket.destroy();
    await until("the application is told", () => isClosed);
    expect(statusOf(await exchangeRaw(proxy.port, "GET x HTTP/1.1\r\n\r\n"))).toBe(400);
  });

  test("leaves nothing that counts as under way", async () => {
    await using app = await startRawApp((request) => void request.resume());
    await using proxy = await startTestProxy({ legacy: app.port, upstream: { connectionsMax: 3 } });
    for (let round = 0; round < 3; round++) {
      const clients = Array.from({ length: 3 }, () => rawClient(proxy.port));
      for (const client of clients) client.send(POST);
      await until("all three are there", () => app.begun() === (round + 1) * 3);
      const busy = await exchangeRaw(proxy.port, GET);
      expect([statusOf(busy), refusalOf(busy)]).toEqual([503, "upstream-busy"]);
      expect(busy).toMatch(/retry-after: 1/i);
      for (const client of clients) client.socket.destroy();
      await until("none is under way", async () =>
        (await proxy.proxy.metrics.text()).includes('upstream_in_flight{side="legacy"} 0'),
      );
    }
  });
});

describe("an application that breaks off", () => {
  test("in the midst of an answer breaks it off for the client too", async () => {
    await using app = await startTcpApp((socket) => {
      socket.once("data", () => {
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", () => socket.destroy());
      });
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send(GET);
    expect(await client.closed()).toMatch(/content-length: 100[^]*half$/i);
  });

  test("in the midst of chunks is never taken for their end", async () => {
    await using app = await startTcpApp((socket) => {
      socket.once("data", () => {
        socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", () =>
          socket.end(),
        );
      });
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    const client = rawClient(proxy.port);
    client.send(GET);
    const text = await client.closed();
    expect(text).toContain("half");
    expect(text).not.toMatch(/\r\n0\r\n/);
  });

  test.each([
    ["answers nothing", ""],
    ["answers what is not HTTP", "nonsense\r\n\r\n"],
    [
      "has a length and chunks",
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
    ],
    ["has two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"],
    ["has a status that there is not", "HTTP/1.1 99 No\r\nContent-Length: 0\r\n\r\n"],
    [
      "changes the protocol unasked",
      "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
  ])("when it %s is a bad gateway", async (_, answer) => {
    await using app = await startTcpApp((socket) => {
      socket.once("data", () => socket.end(answer));
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    const text = await exchangeRaw(proxy.port, POST);
    expect([statusOf(text), refusalOf(text)]).toEqual([502, "upstream-failed"]);
  });

  test("a second answer on one connection is nobody's", async () => {
    await using app = await startTcpApp((socket) => {
      socket.on("data", () =>
        socket.write(`${OK}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray`),
      );
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    for (let i = 0; i < 5; i++) {
      const text = await exchangeRaw(proxy.port, GET);
      expect(text).not.toContain("stray");
    }
  });

  test("that does not answer in time is a gateway timeout", async () => {
    await using app = await startTcpApp(() => undefined);
    await using proxy = await startTestProxy({
      legacy: app.port,
      upstream: { responseMsMax: 100 },
    });
    const text = await exchangeRaw(proxy.port, POST);
    expect([statusOf(text), refusalOf(text)]).toEqual([504, "upstream-slow"]);
  });

  test("that falls silent in the midst of an answer breaks it off", async () => {
    await using app = await startTcpApp((socket) => {
      socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"));
    });
    await using proxy = await startTestProxy({ legacy: app.port, upstream: { idleMsMax: 100 } });
    const client = rawClient(proxy.port);
    client.send(GET);
    expect(await client.closed()).toMatch(/half$/);
  });
});

describe("a connection that the application closes while it is used again", () => {
  /** Answers the first request of each connection and closes at the second. */
  const closing = (received: string[]) =>
    startTcpApp((socket) => {
      let count = 0;
      socket.on("data", (bytes) => {
        received.push(bytes.toString().split(" ")[0]!);
        if (++count === 1) socket.write(OK);
        else socket.destroy();
      });
    });

  test("costs a safe request nothing: it is sent once more", async () => {
    const received: string[] = [];
    await using app = await closing(received);
    await using proxy = await startTestProxy({ legacy: app.port });
    const statuses: number[] = [];
    for (let i = 0; i < 6; i++) statuses.push(statusOf(await exchangeRaw(proxy.port, GET)));
    expect(statuses).toEqual([200, 200, 200, 200, 200, 200]);
    expect(received.length).toBeGreaterThan(6);
  });

  test("costs a safe request nothing when all kept connections are dead", async () => {
    await using app = await closing([]);
    await using proxy = await startTestProxy({ legacy: app.port });
    const eight = async (): Promise<readonly number[]> => {
      const asked = Array.from({ length: 8 }, () => exchangeRaw(proxy.port, GET));
      return (await Promise.all(asked)).map(statusOf);
    };
    expect(new Set([...(await eight()), ...(await eight())])).toEqual(new Set([200]));
  });

  test("never sends any other request twice", async () => {
    const received: string[] = [];
    await using app = await closing(received);
    await using proxy = await startTestProxy({ legacy: app.port });
    const statuses: number[] = [];
    for (let i = 0; i < 6; i++) statuses.push(statusOf(await exchangeRaw(proxy.port, POST)));
    expect(statuses).toEqual([200, 502, 200, 502, 200, 502]);
    expect(received).toHaveLength(6);
  });

  test("a safe request that fails twice is a bad gateway after two attempts", async () => {
    let count = 0;
    await using app = await startTcpApp((socket) => {
      socket.on("data", () => {
        count++;
        socket.destroy();
      });
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    expect(statusOf(await exchangeRaw(proxy.port, GET))).toBe(502);
    expect(count).toBe(2);
  });
});

describe("an upstream that is down", () => {
  test("is left alone after ten failures, and asked again after a second", async () => {
    let isBroken = true;
    await using app = await startTcpApp((socket) => {
      socket.on("data", () => (isBroken ? socket.destroy() : socket.write(OK)));
    });
    await using proxy = await startTestProxy({ legacy: app.port });
    for (let i = 0; i < 10; i++) expect(statusOf(await exchangeRaw(proxy.port, POST))).toBe(502);
    const before = app.connections();
    const refused = await exchangeRaw(proxy.port, POST);
    expect([statusOf(refused), refusalOf(refused)]).toEqual([503, "upstream-down"]);
    expect(app.connections()).toBe(before);
    isBroken = false;
    await sleep(1_050);
    expect(statusOf(await exchangeRaw(proxy.port, POST))).toBe(200);
    expect(statusOf(await exchangeRaw(proxy.port, POST))).toBe(200);
  });

  test("does not take the other side down with it", async () => {
    const nobody = await freePort();
    await using app = await startApp("new");
    await using proxy = await startTestProxy({
      legacy: nobody,
      new: app.port,
      rollout: { stage: "new" },
    });
    for (let i = 0; i < 12; i++) await exchangeRaw(proxy.port, POST);
    expect(refusalOf(await exchangeRaw(proxy.port, POST))).toBe("upstream-down");
    expect(statusOf(await exchangeRaw(proxy.port, GET.replace("/page", "/orders/1")))).toBe(200);
  });

  test("that fails its health check three times is not asked until it passes one", async () => {
    let isWell = true;
    await using app = await startApp("legacy", (request, response) => {
      response.writeHead(isWell || request.url !== "/health" ? 200 : 500).end();
    });
    await using proxy = await startTestProxy({
      legacy: app.port,
      upstream: { healthPath: "/health" },
    });
    expect(statusOf(await exchangeRaw(proxy.port, GET))).toBe(200);
    isWell = false;
    await until("it is known", () => proxy.notes.some((text) => text.startsWith("legacy fails")));
    expect(refusalOf(await exchangeRaw(proxy.port, GET))).toBe("upstream-down");
    isWell = true;
    await until("it is known", () => proxy.notes.some((text) => text.startsWith("legacy is well")));
    expect(statusOf(await exchangeRaw(proxy.port, GET))).toBe(200);
  });
});
