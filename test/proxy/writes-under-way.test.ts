import type { ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import {
  exchangeRaw,
  rawClient,
  startApp,
  startRawApp,
  startTcpApp,
  startTestProxy,
  RunningTime,
  statusOf,
  until,
  UPSTREAM,
  type TestProxy,
} from "./proxy-support.ts";
import { freePort } from "../support/free-port.ts";
import type { Hold } from "../../src/rollout/stage.ts";

const ALL: Hold = { from: 0, to: 10_000, leftMs: 60_000 };
const HELD = { stage: "shadow", hold: ALL } as const;
const WRITE = "PUT /orders/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody";

/** What the store knows that the proxy has let end. */
function acknowledged({ proxy, state }: TestProxy): number {
  return state.acknowledged(proxy.place.instance)?.get("order") ?? -1;
}

async function staysBehind(proxy: TestProxy, epoch: number): Promise<void> {
  await sleep(150);
  expect(acknowledged(proxy)).toBeLessThan(epoch);
}

/** An application that answers when it is told to. */
async function startSlowApp() {
  const waiting: ServerResponse[] = [];
  let broken = 0;
  const app = await startApp("legacy", (_, response) => {
    waiting.push(response);
    response.once("close", () => {
      if (!response.writableFinished) broken++;
    });
  });
  return {
    ...app,
    waiting,
    broken: () => broken,
    answerAll: () => {
      for (const response of waiting.splice(0)) response.end("done");
    },
  };
}

describe("an epoch is acknowledged", () => {
  test("when the last write of an earlier one has its answer, and at once then", async () => {
    await using app = await startSlowApp();
    await using proxy = await startTestProxy({ legacy: app.port, rollout: { stage: "shadow" } });
    await until("the first is", () => acknowledged(proxy) === 1);
    const client = rawClient(proxy.port);
    client.send(WRITE);
    await until("it is there", () => app.waiting.length === 1);
    await proxy.roll("order", HELD);
    await staysBehind(proxy, 2);
    using time = new RunningTime();
    app.answerAll();
    await client.until(/done$/);
    await until("it is acknowledged", () => acknowledged(proxy) === 2);
    expect(time.ms).toBeLessThan(700);
  });

  test("although reads and requests without a route are under way", async () => {
    await using app = await startSlowApp();
    await using proxy = await startTestProxy({ legacy: app.port, rollout: { stage: "shadow" } });
    for (const line of ["GET /orders/1", "GET /elsewhere"])
      rawClient(proxy.port).send(`${line} HTTP/1.1\r\nHost: a\r\n\r\n`);
    await until("they are there", () => app.waiting.length === 2);
    await proxy.roll("order", HELD);
    await until("it is acknowledged", () => acknowledged(proxy) === 2);
    app.answerAll();
  });

  test("not before a write has ended whose client has gone: it is not broken off", async () => {
    await using app = await startSlowApp();
    await using proxy = await startTestProxy({ legacy: app.port, rollout: { stage: "shadow" } });
    const clients = [WRITE, WRITE.replace("PUT /orders/1", "POST /orders")].map((text) => {
      const client = rawClient(proxy.port);
      client.send(text);
      return client;
    });
    await until("both are there", () => app.waiting.length === 2);
    for (const { socket } of clients) socket.destroy();
    await proxy.roll("order", HELD);
    await staysBehind(proxy, 2);
    expect(app.broken()).toBe(0);
    app.answerAll();
    await until("it is acknowledged", () => acknowledged(proxy) === 2);
    expect([app.broken(), app.received.map(({ body }) => body)]).toEqual([0, ["body", "body"]]);
  });

  test("not before the end of an answer that is under way to a client that goes", async () => {
    let end: () => void = () => undefined;
    await using app = await startRawApp((request, response) => {
      request.resume();
      response.write("a".repeat(4_000_000));
      end = () => response.end("b".repeat(4_000_000));
    });
    await using proxy = await startTestProxy({ legacy: app.port, rollout: { stage: "shadow" } });
    const client = rawClient(proxy.port);
    client.send(WRITE);
    await client.until(/200 OK/);
    client.socket.pause();
    await proxy.roll("order", HELD);
    await staysBehind(proxy, 2);
    client.socket.destroy();
    await staysBehind(proxy, 2);
    end();
    await until("it is acknowledged", () => acknowledged(proxy) === 2);
  });

  test("after a while when the application broke a write off, because it may go on with it", async () => {
    await using app = await startTcpApp((socket) => socket.once("data", () => socket.destroy()));
    const upstream = { responseMsMax: 1_500 };
    await using proxy = await startTestProxy({
      legacy: app.port,
      upstream,
      rollout: { stage: "shadow" },
    });
    const startedMs = performance.now();
    expect(statusOf(await exchangeRaw(proxy.port, WRITE))).toBe(502);
    await proxy.roll("order", HELD);
    await until("it is acknowledged", () => acknowledged(proxy) === 2);
    expect(performance.now() - startedMs).toBeGreaterThan(1_450);
  });

  test("at once when a write was never sent", async () => {
    const nobody = await freePort();
    await using proxy = await startTestProxy({ legacy: nobody, rollout: { stage: "shadow" } });
    const startedMs = performance.now();
    expect(statusOf(await exchangeRaw(proxy.port, WRITE))).toBe(502);
    await proxy.roll("order", HELD);
    await until("it is acknowledged", () => acknowledged(proxy) === 2);
    expect(performance.now() - startedMs).toBeLessThan(UPSTREAM.responseMsMax / 2);
  });

  test("when a write that its client did not send to its end is over", async () => {
    await using app = await startApp("legacy");
    const upstream = { responseMsMax: 1_000 };
    await using proxy = await startTestProxy({
      legacy: app.port,
      upstream,
      rollout: { stage: "shadow" },
    });
    const client = rawClient(proxy.port);
    client.send(WRITE.replace("4", "400"));
    await until("it has begun", () => app.begun() === 1);
    client.socket.destroy();
    await proxy.roll("order", HELD);
    await until("it is acknowledged", () => acknowledged(proxy) === 2);
    expect(app.received).toEqual([]);
  });
});

describe("a proxy that drains", () => {
  test("waits for writes whose clients have gone, and then leaves the store", async () => {
    await using app = await startSlowApp();
    await using proxy = await startTestProxy({ legacy: app.port, rollout: { stage: "shadow" } });
    expect(proxy.state.proxies).toEqual([proxy.proxy.place.instance]);
    const client = rawClient(proxy.port);
    client.send(WRITE);
    await until("it is there", () => app.waiting.length === 1);
    client.socket.destroy();
    const closing = proxy.proxy.close(AbortSignal.timeout(60_000));
    await sleep(150);
    expect([app.broken(), proxy.state.proxies.length]).toEqual([0, 1]);
    app.answerAll();
    await closing;
    expect([app.broken(), proxy.state.proxies]).toEqual([0, []]);
  });

  test("stays in the store when it had to cut one off", async () => {
    await using app = await startSlowApp();
    await using proxy = await startTestProxy({ legacy: app.port, rollout: { stage: "shadow" } });
    rawClient(proxy.port).send(WRITE);
    await until("it is there", () => app.waiting.length === 1);
    await proxy.proxy.close(AbortSignal.timeout(100));
    expect(proxy.state.proxies).toHaveLength(1);
  });
});
