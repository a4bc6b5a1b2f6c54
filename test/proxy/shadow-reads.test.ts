import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { startApp, startRawApp, startTcpApp, until, type TestApp } from "./proxy-support.ts";
import { freePort } from "../support/free-port.ts";
import { ask, startShadowProxy } from "./shadow-support.ts";
import { bucketOf } from "../../src/rollout/bucket.ts";

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

function json(value: unknown): Answer {
  return (_, response) => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify(value));
  };
}

const LARGE = 300_000;
/** Of the one process that clients, proxy and applications are; it collects garbage when it likes. */
const GROWTH_BYTES_MAX = 240 * 1024 * 1024;
const ORDER = { id: 7, total: "19.90", lines: [{ sku: "a" }] };
/** Beside a shadow of which a client that waited for it would wait for longer. */
const CLIENT_MS_MAX = 4_000;

describe("a read at stage shadow", () => {
  test("is answered by legacy, asked of new with the same words in shadow, and equal", async () => {
    await using legacy = await startApp("legacy", json(ORDER));
    await using fresh = await startApp("new", json({ ...ORDER }));
    await using proxy = await startShadowProxy({ legacy: legacy.port, new: fresh.port });
    const headers = { cookie: "a=b", "if-none-match": "x", range: "bytes=0-1", "banyan-mode": "x" };
    const { body } = await ask(proxy, "/orders/7?full=1", { headers });
    expect(JSON.parse(body)).toEqual(ORDER);
    expect(await proxy.readsOf(1)).toMatchObject({ compared: 1, different: 0 });
    const [asked] = fresh.received;
    expect(asked).toMatchObject({
      method: "GET",
      url: "/orders/7?full=1",
      headers: { cookie: "a=b", host: legacy.received[0]!.headers.host, "banyan-mode": "shadow" },
    });
    expect(asked!.headers).not.toHaveProperty("if-none-match");
    expect(asked!.headers).not.toHaveProperty("range");
    expect(legacy.received).toHaveLength(1);
    expect(legacy.received[0]!.headers["banyan-mode"]).not.toBe("shadow");
    expect(proxy.shadow()).toMatchObject({ heldBytes: 0, underWay: 0 });
  });

  test("that stays different is told with its places, cut and redacted unless values are wanted", async () => {
    await using legacy = await startApp("legacy", json(ORDER));
    await using fresh = await startApp("new", json({ ...ORDER, total: "x".repeat(500) }));
    for (const showValues of [true, false]) {
      await using proxy = await startShadowProxy({
        legacy: legacy.port,
        new: fresh.port,
        shadow: { showValues },
      });
      for (let i = 0; i < 30; i++) await ask(proxy, `/orders/${i}?token=secret`);
      expect(await proxy.readsOf(30)).toMatchObject({ compared: 30, different: 30 });
      await until("samples are stored", () => proxy.log.samples.length === 20);
      const [sample] = proxy.log.samples;
      expect(sample).toMatchObject({ streamType: "order", route: "GET /orders/:id" });
      expect(sample!.target).toMatch(/^\/orders\/\d+$/);
      expect(sample!.differences).toEqual([
        showValues
          ? { place: "total", legacy: '"19.90"', new: `"${"x".repeat(199)}` }
          : { place: "total", legacy: "text of 5", new: "text of 500" },
      ]);
    }
  });

  test("counts as different only if it stays so: the sides come in step a little later", async () => {
    let asked = 0;
    await using legacy = await startApp("legacy", json({ version: 2 }));
    await using fresh = await startApp("new", (_, response) => {
      json({ version: ++asked === 3 ? 2 : 1 })(_, response);
    });
    await using proxy = await startShadowProxy({ legacy: legacy.port, new: fresh.port });
    await ask(proxy, "/orders/7");
    expect(await proxy.readsOf(1)).toMatchObject({ compared: 1, different: 0 });
    expect(asked).toBe(3);
  });

  test("leaves out what differs between two answers of legacy, and learns it by route", async () => {
    let request = 0;
    const answer = (_: IncomingMessage, response: ServerResponse): void => {
      json({ ...ORDER, requestId: ++request })(_, response);
    };
    await using legacy = await startApp("legacy", answer);
    await using fresh = await startApp("new", answer);
    // Nothing was learned before the first one.
    const trial = { recheckMs: [20] };
    await using proxy = await startShadowProxy({ legacy: legacy.port, new: fresh.port, trial });
    for (let i = 0; i < 3; i++) {
      await ask(proxy, "/orders/7");
      await proxy.readsOf(i + 1);
    }
    expect(proxy.reads()).toMatchObject({ compared: 3, different: 0 });
    const [noise] = proxy.shadow().noise;
    expect(noise).toMatchObject({ route: "/orders/:id", places: [{ place: "requestId" }] });
    expect(noise!.noisy).toBeGreaterThan(0);
    // It is known now: nothing is asked again.
    const before = legacy.received.length;
    await ask(proxy, "/orders/8");
    expect(await proxy.readsOf(4)).toMatchObject({ compared: 4, different: 0 });
    expect(legacy.received.length).toBe(before + 1);
  });

  test("is noise only where legacy differs from itself: what is wrong beside it is found", async () => {
    let request = 0;
    const answer = (total: string) => (_: IncomingMessage, response: ServerResponse) => {
      json({ ...ORDER, total, requestId: ++request })(_, response);
    };
    await using legacy = await startApp("legacy", answer("19.90"));
    await using fresh = await startApp("new", answer("19.91"));
    const shadow = { noise: 1 };
    await using proxy = await startShadowProxy({ legacy: legacy.port, new: fresh.port, shadow });
    for (let i = 0; i < 3; i++) await ask(proxy, "/orders/7");
    expect(await proxy.readsOf(3)).toMatchObject({ compared: 3, different: 3 });
    await until("samples are stored", () => proxy.log.samples.length === 3);
    for (const { differences } of proxy.log.samples)
      expect(differences.map(({ place }) => place)).toEqual(["total"]);
  });

  test("is compared by the rules of its route", async () => {
    await using legacy = await startApp("legacy", json({ a: 1, b: [1, 2], c: 1 }));
    await using fresh = await startApp("new", json({ a: 2, b: [2, 1], c: 1.01 }));
    const rule = { ignore: ["a"], unordered: [], tolerances: {}, timestampsWithinMs: {} };
    const normalise = [
      rule,
      { ...rule, path: "/orders/:id", unordered: ["b"], tolerances: { c: 0.1 } },
      { ...rule, path: "/orders", ignore: ["b", "c"] },
    ];
    await using proxy = await startShadowProxy({
      legacy: legacy.port,
      new: fresh.port,
      shadow: { normalise },
    });
    await ask(proxy, "/orders/7");
    await ask(proxy, "/orders");
    expect(await proxy.readsOf(2)).toMatchObject({ compared: 2, different: 0 });
  });

  test("is compared without the coding of either side", async () => {
    await using legacy = await startApp("legacy", (_, response) => {
      response.setHeader("content-encoding", "gzip");
      response.setHeader("content-type", "application/json");
      response.end(gzipSync(JSON.stringify(ORDER)));
    });
    await using fresh = await startApp("new", json(ORDER));
    await using proxy = await startShadowProxy({ legacy: legacy.port, new: fresh.port });
    expect(JSON.parse((await ask(proxy, "/orders/7")).body)).toEqual(ORDER);
    expect(await proxy.readsOf(1)).toMatchObject({ compared: 1, different: 0 });
  });

  test("HEAD, a status and a header that counts are compared", async () => {
    await using legacy = await startApp("legacy", (_, response) => {
      response.writeHead(200, { etag: "1", "content-length": "5" }).end("abcde");
    });
    await using fresh = await startApp("new", (_, response) => {
      response.writeHead(200, { etag: "2", "content-length": "5" }).end("abcde");
    });
    await using proxy = await startShadowProxy({
      legacy: legacy.port,
      new: fresh.port,
      shadow: { headers: ["ETag"] },
    });
    await ask(proxy, "/orders/7", { method: "HEAD" });
    expect(await proxy.readsOf(1)).toMatchObject({ different: 1 });
    await until("a sample is stored", () => proxy.log.samples.length === 1);
    expect(proxy.log.samples[0]).toMatchObject({
      route: "HEAD /orders/:id",
      differences: [{ place: "(header etag)", legacy: '"1"', new: '"2"' }],
    });
  });

  test("of the sample alone is asked twice, and none of a route that is left out", async () => {
    await using legacy = await startApp("legacy");
    await using fresh = await startApp("new");
    let drawn = 0;
    await using proxy = await startShadowProxy({
      legacy: legacy.port,
      new: fresh.port,
      // Without noise to learn nobody else draws.
      shadow: { reads: 0.25, noise: 0, except: ["/orders"] },
      trial: { random: () => (drawn++ % 4) / 4 },
    });
    for (let i = 0; i < 8; i++) await ask(proxy, "/orders/7");
    await ask(proxy, "/orders");
    await ask(proxy, "/elsewhere");
    await proxy.readsOf(2);
    expect(legacy.received.length).toBeGreaterThanOrEqual(10);
    expect(new Set(fresh.received.map(({ url }) => url))).toEqual(new Set(["/orders/7"]));
    expect(proxy.reads().dropped + proxy.reads().compared + proxy.reads().uncompared).toBe(2);
  });
});

test("a proxy that is busy with its clients compares fewer reads, and counts the others as dropped", async () => {
  await using legacy = await startApp("legacy", json(ORDER));
  await using fresh = await startApp("new", json(ORDER));
  const trial = { busy: () => 1 };
  await using proxy = await startShadowProxy({ legacy: legacy.port, new: fresh.port, trial });
  await until("it has noticed", () => proxy.shadow().share < 0.02);
  for (let i = 0; i < 50; i++) expect((await ask(proxy, "/orders/7")).status).toBe(200);
  expect((await proxy.readsOf(50)).dropped).toBeGreaterThanOrEqual(48);
});

describe("at the other stages", () => {
  test.each(["legacy", "complete"] as const)("%s: nothing is asked twice", async (stage) => {
    await using legacy = await startApp("legacy");
    await using fresh = await startApp("new");
    const ports = { legacy: legacy.port, new: fresh.port };
    await using proxy = await startShadowProxy({ ...ports, rollout: { stage } });
    await ask(proxy, "/orders/7");
    await ask(proxy, "/orders/7", { method: "PUT", body: "{}" });
    expect(legacy.received.length + fresh.received.length).toBe(2);
    expect(proxy.shadow()).toMatchObject({ reads: [], underWay: 0, writesMirrored: 0 });
  });

  test("new: new answers and legacy is compared; writes are not mirrored", async () => {
    await using legacy = await startApp("legacy", json(ORDER));
    await using fresh = await startApp("new", json({ ...ORDER, total: "1" }));
    const ports = { legacy: legacy.port, new: fresh.port };
    await using proxy = await startShadowProxy({ ...ports, rollout: { stage: "new" } });
    expect((await ask(proxy, "/orders/7")).body).toContain('"total":"1"');
    await ask(proxy, "/orders/7", { method: "PUT", body: "{}" });
    expect(await proxy.readsOf(1)).toMatchObject({ different: 1 });
    expect(proxy.shadow().reads).toMatchObject([{ side: "new", route: "GET /orders/:id" }]);
    await until("a sample is stored", () => proxy.log.samples.length === 1);
    expect(proxy.log.samples[0]!.differences).toEqual([
      { place: "total", legacy: '"19.90"', new: '"1"' },
    ]);
    expect(legacy.received.map(({ method }) => method)).not.toContain("PUT");
  });

  test("canary: each side is compared with the other, and only what legacy writes is mirrored", async () => {
    await using legacy = await startApp("legacy", json(ORDER));
    await using fresh = await startApp("new", json(ORDER));
    const ports = { legacy: legacy.port, new: fresh.port };
    const rollout = { stage: "canary", share: 5_000 } as const;
    await using proxy = await startShadowProxy({ ...ports, rollout });
    const ids = Array.from({ length: 20 }, (_, n) => String(n));
    const moved = ids.filter((id) => bucketOf(id, "salt") < 5_000);
    expect(moved.length).toBeGreaterThan(2);
    for (const id of ids) await ask(proxy, `/orders/${id}`);
    for (const id of ids) await ask(proxy, `/orders/${id}`, { method: "PUT", body: "{}" });
    expect(await proxy.readsOf(ids.length)).toMatchObject({ compared: ids.length, different: 0 });
    const puts = (app: TestApp, mode: string): number =>
      app.received.filter(
        ({ method, headers }) => method === "PUT" && (headers["banyan-mode"] ?? "live") === mode,
      ).length;
    const rest = ids.length - moved.length;
    await until("all of them", () => proxy.shadow().writesMirrored === rest);
    expect([puts(legacy, "live"), puts(legacy, "shadow")]).toEqual([rest, 0]);
    expect([puts(fresh, "live"), puts(fresh, "shadow")]).toEqual([moved.length, rest]);
  });
});

describe("a shadow that", () => {
  const BODY = JSON.stringify(ORDER);
  /** Asks often, and holds that nothing of it is to be seen in the answers. */
  async function hold(freshPort: number, count = 20, shadow: object = {}) {
    await using legacy = await startApp("legacy", json(ORDER));
    const proxy = await startShadowProxy({ legacy: legacy.port, new: freshPort, shadow });
    try {
      const answers = await Promise.all(
        Array.from({ length: count }, () => ask(proxy, "/orders/7")),
      );
      for (const { status, body } of answers) expect([status, body]).toEqual([200, BODY]);
      expect(Math.max(...answers.map(({ tookMs }) => tookMs))).toBeLessThan(CLIENT_MS_MAX);
      return { reads: await proxy.readsOf(count), state: proxy.shadow() };
    } finally {
      await proxy[Symbol.asyncDispose]();
      expect(proxy.shadow()).toMatchObject({ heldBytes: 0, underWay: 0 });
    }
  }

  test("is dead is left alone after a while", async () => {
    const { reads } = await hold(await freePort(), 40);
    expect(reads.uncompared).toBeGreaterThan(0);
    expect(reads.dropped).toBeGreaterThan(0);
    expect(reads.compared).toBe(0);
  });

  test.each<[string, Answer]>([
    ["hangs up", (request) => void request.socket.destroy()],
    ["says nothing", () => undefined],
  ])(
    "%s is handed one read now and then, and is compared again once it is well",
    async (_, fail) => {
      let isWell = false;
      await using legacy = await startApp("legacy", json(ORDER));
      await using fresh = await startRawApp((request, response) => {
        if (isWell) json(ORDER)(request, response);
        else fail(request, response);
      });
      await using proxy = await startShadowProxy({
        legacy: legacy.port,
        new: fresh.port,
        shadow: { timeoutMs: 1_000 },
      });
      const read = (): Promise<unknown> => ask(proxy, "/orders/7");
      const isLeftAlone = (): boolean =>
        proxy.shadow().clients.some(({ breakerOpen }) => breakerOpen);
      await until("it is left alone", async () => {
        await read();
        return isLeftAlone();
      });
      // What was begun before is not the one that tries it.
      await until("all of it has ended", () =>
        proxy.shadow().clients.every(({ inFlight, waiting }) => inFlight + waiting === 0),
      );
      // Also while it is tried, which takes as long as a request may take.
      const begun = fresh.begun();
      await until("it is tried", async () => {
        await read();
        return fresh.begun() > begun;
      });
      await sleep(50);
      const before = proxy.reads().dropped;
      const sinceMs = performance.now();
      await Promise.all(Array.from({ length: 30 }, read));
      // At once, and not when the thread has said so; but one is handed over every 100 ms.
      const handedMax = 1 + Math.ceil((performance.now() - sinceMs) / 100);
      expect(proxy.reads().dropped - before).toBeGreaterThanOrEqual(30 - handedMax);
      isWell = true;
      // One whose turn comes too late is dropped, so not at once all of them.
      await until("all are compared again", async () => {
        const { compared, uncompared, dropped } = proxy.reads();
        await Promise.all(Array.from({ length: 30 }, read));
        const after = await proxy.readsOf(compared + uncompared + dropped + 30);
        return after.compared - compared >= 30;
      });
    },
  );

  test("is silent is given up in time, and what waits for it is dropped", async () => {
    await using fresh = await startTcpApp(() => undefined);
    const { reads } = await hold(fresh.port, 20, { timeoutMs: 6_000, connectionsMax: 4 });
    expect(reads).toMatchObject({ compared: 0, uncompared: 4, dropped: 16 });
  });

  test.each<[string, Answer]>([
    ["hangs up", (request) => void request.socket.destroy()],
    [
      "drips",
      (_, response) => {
        const timer = setInterval(() => response.write("x"), 20);
        response.on("close", () => clearInterval(timer));
      },
    ],
    [
      "never ends",
      (_, response) => {
        const more = (): void => {
          while (response.write(Buffer.alloc(65_536)) && !response.destroyed);
        };
        response.on("drain", more);
        more();
      },
    ],
    [
      "breaks off",
      (_, response) => {
        response.writeHead(200, { "content-length": "100" });
        response.write("x", () => response.destroy());
      },
    ],
    [
      "streams events",
      (_, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
      },
    ],
    [
      "packs what cannot be unpacked",
      (_, response) => {
        response.writeHead(200, { "content-encoding": "gzip" }).end("no gzip");
      },
    ],
  ])("%s is not compared", async (_name, answer) => {
    await using fresh = await startRawApp(answer);
    // Longer than the thread waits for its turn: what waits for half of it is dropped.
    const { reads } = await hold(fresh.port, 5, { timeoutMs: 6_000 });
    expect(reads).toMatchObject({ compared: 0, uncompared: 5 });
  });

  test("never ends is given up at the limit, long before its time is over", async () => {
    await using fresh = await startRawApp((_, response) => {
      const timer = setInterval(() => response.write(Buffer.alloc(30_000)), 1);
      response.on("close", () => clearInterval(timer));
    });
    const startedMs = performance.now();
    const { reads } = await hold(fresh.port, 5, { timeoutMs: 60_000 });
    expect(reads).toMatchObject({ compared: 0, uncompared: 5 });
    expect(performance.now() - startedMs).toBeLessThan(30_000);
  });

  test("does not speak HTTP is not compared", async () => {
    await using fresh = await startTcpApp((socket) => {
      socket.on("data", () =>
        socket.write("HTTP/1.1 200 OK\r\nno header\r\ncontent-length: x\r\n\r\n"),
      );
    });
    const { reads } = await hold(fresh.port, 5);
    expect(reads).toMatchObject({ compared: 0, uncompared: 5 });
  });

  test.each<[string, Answer]>([
    ["errs", (_, response) => response.writeHead(500).end("no")],
    ["lies", json({ ...ORDER, id: 8 })],
    ["says less", json({})],
    [
      "breaks its JSON",
      (_, response) => {
        response.writeHead(200, { "content-type": "application/json" }).end('{"id":7,');
      },
    ],
  ])("%s is different", async (_name, answer) => {
    await using fresh = await startRawApp(answer);
    const { reads } = await hold(fresh.port, 5);
    expect(reads).toMatchObject({ compared: 5, different: 5 });
  });
});

describe("an answer to the client that", () => {
  test("is large, goes on for ever, or is a part is not compared", async () => {
    await using legacy = await startRawApp((request, response) => {
      if (request.url === "/orders/large") response.end(Buffer.alloc(70_000));
      else if (request.url === "/orders/events")
        response.writeHead(200, { "content-type": "text/event-stream" }).write("data: 1\n\n");
      else if (request.url === "/orders/open") response.writeHead(200).write("a");
      else response.writeHead(304).end();
    });
    await using fresh = await startApp("new");
    await using proxy = await startShadowProxy({
      legacy: legacy.port,
      new: fresh.port,
      shadow: { timeoutMs: 100 },
    });
    const gone = new AbortController();
    expect((await ask(proxy, "/orders/large")).body).toHaveLength(70_000);
    expect((await ask(proxy, "/orders/none")).status).toBe(304);
    const endless = await Promise.all(
      ["events", "open"].map((path) =>
        fetch(`${proxy.url}/orders/${path}`, { signal: gone.signal }),
      ),
    );
    expect(await proxy.readsOf(4)).toMatchObject({ uncompared: 4, compared: 0 });
    // An answer that nobody holds any more is given up by the client.
    expect(endless.map(({ status }) => status)).toEqual([200, 200]);
    expect(fresh.received).toEqual([]);
    expect(proxy.shadow()).toMatchObject({ heldBytes: 0, underWay: 0 });
    gone.abort();
  });

  test("breaks off breaks off, and is nothing to be compared", async () => {
    await using legacy = await startRawApp((_, response) => {
      response.writeHead(200, { "content-length": "100" });
      response.write("x", () => response.destroy());
    });
    await using fresh = await startApp("new");
    await using proxy = await startShadowProxy({ legacy: legacy.port, new: fresh.port });
    await expect(ask(proxy, "/orders/7")).rejects.toThrow();
    await until("nothing is under way", () => proxy.shadow().underWay === 0);
    expect(proxy.shadow()).toMatchObject({ reads: [], heldBytes: 0 });
  });
});

test("a thousand large answers at once are held up to the bound, and all reach their clients", async () => {
  const body = Buffer.alloc(LARGE, "a");
  await using legacy = await startRawApp((_, response) => response.end(body));
  await using fresh = await startRawApp(
    (_, response) => void setTimeout(() => response.end(body), 200),
  );
  const bytesMax = 10 * LARGE;
  await using proxy = await startShadowProxy({
    legacy: legacy.port,
    new: fresh.port,
    upstream: { connectionsMax: 1_000 },
    shadow: { bodyBytesMax: 1_048_576, timeoutMs: 1_000 },
    trial: { bytesMax },
  });
  let highest = 0;
  let rss = 0;
  const before = process.memoryUsage.rss();
  const timer = setInterval(() => {
    highest = Math.max(highest, proxy.shadow().heldBytes);
    rss = Math.max(rss, process.memoryUsage.rss());
  }, 2);
  const client = async (): Promise<void> => {
    for (let i = 0; i < 20; i++) expect((await ask(proxy, "/orders/7")).body).toHaveLength(LARGE);
  };
  await Promise.all(Array.from({ length: 50 }, client));
  clearInterval(timer);
  const reads = await proxy.readsOf(1_000);
  expect(reads.dropped + reads.uncompared).toBeGreaterThan(0);
  expect(reads.different).toBe(0);
  expect(highest).toBeGreaterThan(LARGE);
  expect(highest).toBeLessThanOrEqual(bytesMax);
  expect(rss - before).toBeLessThan(GROWTH_BYTES_MAX);
  expect(proxy.shadow()).toMatchObject({ heldBytes: 0, underWay: 0 });
});
