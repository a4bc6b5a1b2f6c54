import { setTimeout as sleep } from "node:timers/promises";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import {
  exchangeRaw,
  idWhere,
  rawClient,
  startApp,
  startTestProxy,
  statusOf,
  until,
  type TestProxyOptions,
} from "./proxy-support.ts";
import type { RouteSettings } from "../../src/proxy/settings.ts";

const MOVED = idWhere((bucket) => bucket < 5_000);
const STAYING = idWhere((bucket) => bucket >= 5_000);
const CREATE = { methods: ["POST"], stream: "order", kind: "create", idForm: "integer" } as const;
const ROUTES: readonly RouteSettings[] = [
  { ...CREATE, path: "/orders", created: { json: "order.id" } },
  { ...CREATE, path: "/by-location", created: { header: "Location" } },
  { ...CREATE, path: "/unknown" },
];

/** Longer than an answer takes that waits for nothing. */
const AWAITED_MS_MAX = 2_000;

/** Legacy answers with what it is sent: head lines before an empty line, then the body. */
async function start(options: Partial<TestProxyOptions> = {}) {
  const legacy = await startApp("legacy", (request, response, body) => {
    const [head = "", ...rest] = body.split("\n\n");
    const lines = head === "" ? [] : head.split("\n").map((line) => line.split(": "));
    const status = Number(request.headers["x-status"] ?? 201);
    response.writeHead(status, Object.fromEntries(lines) as Record<string, string>);
    response.end(rest.join("\n\n"));
  });
  const admin = { listen: { host: "127.0.0.1", port: 0 } };
  const proxy = await startTestProxy({
    legacy: legacy.port,
    routes: ROUTES,
    rollout: { stage: "canary", share: 5_000 },
    random: () => 0.9999,
    awaitedMsMax: AWAITED_MS_MAX,
    settings: { admin },
    ...options,
  });
  const text = (path: string, body: string, more = ""): string => {
    return `POST ${path} HTTP/1.1\r\nHost: a\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`;
  };
  return {
    legacy,
    proxy,
    text,
    async timed(path: string, answer: string, more?: string): Promise<[number, string]> {
      const startedMs = performance.now();
      const got = await exchangeRaw(proxy.port, text(path, answer, more));
      return [performance.now() - startedMs, got];
    },
    async counts(): Promise<unknown> {
      const { port } = proxy.proxy.admin!;
      const got = await exchangeRaw(port, `GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      return (JSON.parse(got.split("\r\n\r\n")[1]!) as { creations: unknown }).creations;
    },
    async [Symbol.asyncDispose]() {
      await proxy[Symbol.asyncDispose]();
      await legacy[Symbol.asyncDispose]();
    },
  };
}

const answered = (id: string): string => `x-made: yes\n\n{"order":{"id":${id}},"text":"e"}`;

describe("legacy's answer to a creation", () => {
  test("whose id has moved waits until its stream is in the store, and is passed on unchanged", async () => {
    await using at = await start({ awaitedMsMax: 20_000 });
    const client = rawClient(at.proxy.port);
    client.send(at.text("/orders", answered(MOVED)));
    await until("legacy has it", () => at.legacy.received.length === 1);
    await sleep(200);
    expect(client.text()).toBe("");
    at.proxy.state.addStream(`order-${MOVED}`);
    const text = await client.until(/\}\r\n0\r\n/);
    expect(text).toMatch(/^HTTP\/1\.1 201 Created[^]*x-made: yes/);
    expect(text.split("\r\n\r\n")[1]).toContain(`{"order":{"id":${MOVED}}`);
    expect(await at.counts()).toEqual({ waiting: 0, seen: 1, late: 0, unread: 0 });
    client.socket.destroy();
  });

  test("is passed on after a while although it is not there, and counted", async () => {
    await using at = await start({ awaitedMsMax: 300 });
    for (const [path, answer] of [
      ["/orders", answered(MOVED)],
      ["/by-location", `location: http://x/api/orders/${MOVED}/?a=/b#c\n\n`],
    ] as const) {
      const [millis, text] = await at.timed(path, answer);
      expect([statusOf(text), millis > 290]).toEqual([201, true]);
    }
    expect(await at.counts()).toMatchObject({ seen: 0, late: 2 });
  });

  test.each([
    ["its id has not moved", "/orders", answered(STAYING), ""],
    ["it made nothing", "/orders", answered(MOVED), "X-Status: 422\r\n"],
    ["its route does not say where the id is", "/unknown", answered(MOVED), ""],
  ])("does not wait when %s", async (_, path, answer, more) => {
    await using at = await start();
    const [millis] = await at.timed(path, answer, more);
    expect(millis).toBeLessThan(AWAITED_MS_MAX);
    expect(await at.counts()).toMatchObject({ seen: 0, late: 0, unread: 0 });
  });

  test("does not wait when its id cannot be read, and that is counted", async () => {
    await using at = await start();
    const long = `\n\n{"order":{"id":${MOVED}},"text":"${"a".repeat(70_000)}"}`;
    const answers = [
      ["/orders", `x: y\n\n{"order":{}}`],
      ["/orders", `x: y\n\nnot json`],
      ["/orders", `x: y\n\n{"order":{"id":"0${MOVED}"}}`],
      ["/orders", `content-encoding: gzip\n\nnot packed`],
      ["/orders", `content-encoding: zstd\n\n{"order":{"id":${MOVED}}}`],
      ["/orders", long],
      ["/by-location", "x: y\n\n"],
      ["/by-location", "location: /orders/%\n\n"],
    ] as const;
    for (const [path, answer] of answers) {
      const [millis, text] = await at.timed(path, answer);
      const isSoon = millis < AWAITED_MS_MAX;
      expect([statusOf(text), isSoon], answer.slice(0, 50)).toEqual([201, true]);
      if (answer === long) expect(text).toContain(long.slice(2));
    }
    expect(await at.counts()).toMatchObject({ late: 0, unread: answers.length });
  });

  test.each([
    ["gzip", gzipSync],
    ["br", brotliCompressSync],
  ])("is understood when it is packed with %s", async (coding, pack) => {
    const body = pack(Buffer.from(`{"order":{"id":${MOVED}}}`));
    await using legacy = await startApp("legacy", (_, response) => {
      response.writeHead(201, { "content-encoding": coding }).end(body);
    });
    await using at = await start({ legacy: legacy.port, awaitedMsMax: 300 });
    await at.timed("/orders", "");
    expect(await at.counts()).toMatchObject({ late: 1, unread: 0 });
  });

  test("waits by what is known when it comes: during a hold for the held buckets, after the move for those that have moved", async () => {
    await using at = await start({ rollout: { stage: "shadow" } });
    expect((await at.timed("/orders", answered(MOVED)))[0]).toBeLessThan(AWAITED_MS_MAX);
    const hold = { from: 0, to: 5_000, leftMs: 60_000 };
    await at.proxy.roll("order", { stage: "shadow", hold });
    const [millis] = await at.timed("/orders", answered(MOVED));
    expect(millis).toBeGreaterThan(AWAITED_MS_MAX - 10);
    expect((await at.timed("/orders", answered(STAYING)))[0]).toBeLessThan(AWAITED_MS_MAX);
    expect(await at.counts()).toMatchObject({ late: 1 });
  });

  test("that breaks off, or whose client goes, leaves nothing behind", async () => {
    await using at = await start({ awaitedMsMax: 20_000 });
    const client = rawClient(at.proxy.port);
    client.send(at.text("/orders", answered(MOVED)));
    await until("legacy has it", () => at.legacy.received.length === 1);
    client.socket.destroy();
    at.proxy.state.addStream(`order-${MOVED}`);
    await until("nothing waits", async () => {
      return ((await at.counts()) as { waiting: number }).waiting === 0;
    });
    expect(await at.counts()).toMatchObject({ waiting: 0, late: 0 });
    expect(statusOf((await at.timed("/orders", answered(STAYING)))[1])).toBe(201);
  });
});
