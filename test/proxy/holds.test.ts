import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import {
  exchangeRaw,
  idWhere,
  rawClient,
  refusalOf,
  route,
  startApp,
  startTestProxy,
  statusOf,
  until,
  type RawClient,
  type TestProxyOptions,
} from "./proxy-support.ts";
import type { Hold } from "../../src/rollout/stage.ts";

/** In a hold of the lower half, and not. */
const HELD = idWhere((bucket) => bucket < 5_000);
const FREE = idWhere((bucket) => bucket >= 5_000);
const HALF: Hold = { from: 0, to: 5_000, leftMs: 60_000 };
const SHADOW = { stage: "shadow" } as const;

async function start(options: Partial<TestProxyOptions> = {}) {
  const legacy = await startApp("legacy");
  const fresh = await startApp("new");
  const admin = { listen: { host: "127.0.0.1", port: 0 } };
  const proxy = await startTestProxy({
    legacy: legacy.port,
    new: fresh.port,
    rollout: SHADOW,
    settings: { admin },
    ...options,
  });
  const open: RawClient[] = [];
  const client = (): RawClient => {
    const one = rawClient(proxy.port);
    open.push(one);
    return one;
  };
  return {
    legacy,
    fresh,
    proxy,
    client,
    ask: async (text: string): Promise<string> => whoOf(await exchangeRaw(proxy.port, text)),
    /** Sends what is held back, and waits until it is. */
    async held(count: number, text: (n: number) => string): Promise<readonly RawClient[]> {
      const clients = Array.from({ length: count }, client);
      for (const [n, one] of clients.entries()) one.send(text(n));
      await this.heldNow(count);
      return clients;
    },
    heldNow(count: number): Promise<void> {
      return until(`${count} are held`, async () => {
        const { port } = proxy.proxy.admin!;
        const state = await exchangeRaw(port, `GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n`);
        return state.includes(`"held":{"now":${count},`);
      });
    },
    async [Symbol.asyncDispose]() {
      for (const { socket } of open) socket.destroy();
      await proxy[Symbol.asyncDispose]();
      await legacy[Symbol.asyncDispose]();
      await fresh[Symbol.asyncDispose]();
    },
  };
}

function request(method: string, path: string, body?: string, more = ""): string {
  const length = body === undefined ? "" : `Content-Length: ${Buffer.byteLength(body)}\r\n`;
  return `${method} ${path} HTTP/1.1\r\nHost: a\r\n${more}${length}\r\n${body ?? ""}`;
}

/** Who answered, or why nobody did. */
function whoOf(answer: string): string {
  const refusal = refusalOf(answer);
  return refusal === undefined
    ? answer.split("\r\n\r\n")[1]!.split(" ")[0]!
    : `${statusOf(answer)} ${refusal}`;
}

describe("while writes are held back", () => {
  test("those of held buckets wait, and go where the state says that ends it; nothing else waits", async () => {
    await using at = await start();
    await at.proxy.roll("order", { stage: "shadow", hold: HALF });
    const clients = await at.held(40, (n) => request("PUT", `/orders/${HELD}`, `body ${n}`));
    expect(await at.ask(request("GET", `/orders/${HELD}`))).toBe("legacy");
    expect(await at.ask(request("GET", "/orders"))).toBe("legacy");
    expect(await at.ask(request("PUT", `/orders/${FREE}`, "x"))).toBe("legacy");
    expect(await at.ask(request("POST", "/orders", "{}"))).toBe("legacy");
    expect(await at.ask(request("POST", "/elsewhere", "{}"))).toBe("legacy");
    const seen = at.legacy.received.length;
    await at.proxy.roll("order", { stage: "canary", share: 5_000 });
    const answers = await Promise.all(clients.map((one) => one.until(/orders\/\d+$/)));
    expect(new Set(answers.map(whoOf))).toEqual(new Set(["new"]));
    expect(at.legacy.received).toHaveLength(seen);
    const bodies = at.fresh.received.map(({ body }) => body).toSorted();
    expect(bodies).toEqual(Array.from({ length: 40 }, (_, n) => `body ${n}`).toSorted());
    expect(new Set(at.fresh.received.map(({ headers }) => headers["banyan-epoch"]))).toEqual(
      new Set(["3"]),
    );
  });

  test("they go to the old side when the move is undone, and wait again when another begins", async () => {
    await using at = await start();
    await at.proxy.roll("order", { stage: "shadow", hold: HALF });
    const [client] = await at.held(1, () => request("DELETE", `/orders/${HELD}`));
    await at.proxy.roll("order", { stage: "shadow", hold: { ...HALF, to: 9_000 } });
    await sleep(50);
    expect(client!.text()).toBe("");
    await at.proxy.roll("order", { stage: "shadow" });
    expect(whoOf(await client!.until(/orders\/\d+$/))).toBe("legacy");
    expect(at.fresh.received).toEqual([]);
    const { port } = at.proxy.proxy.admin!;
    const state = await exchangeRaw(port, "GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n");
    expect(state).toContain(`"held":{"now":0,"total":1}`);
  });

  test("a creation with an id waits, one without goes to legacy at canary and waits at new", async () => {
    const routes = [route(["POST"], "/orders", "create", { json: "id" })];
    await using at = await start({
      routes,
      random: () => 0,
      rollout: { stage: "canary", share: 5_000 },
    });
    await at.proxy.roll("order", { stage: "canary", share: 5_000, hold: HALF });
    expect(await at.ask(request("POST", "/orders", "{}"))).toBe("legacy");
    expect(await at.ask(request("POST", "/orders", `{"id":"${FREE}"}`))).toBe("legacy");
    const named = await at.held(1, () => request("POST", "/orders", `{"id":"${HELD}"}`));
    await at.proxy.roll("order", { stage: "new", hold: { ...HALF, to: 10_000 } });
    const unnamed = at.client();
    unnamed.send(request("POST", "/orders", "{}"));
    await at.heldNow(2);
    await at.proxy.roll("order", { stage: "new" });
    for (const one of [...named, unnamed]) expect(whoOf(await one.until(/orders$/))).toBe("new");
  });

  test("what names its aggregate in its body is known by it, and waits when it is not known", async () => {
    await using at = await start();
    await at.proxy.roll("order", { stage: "shadow", hold: HALF });
    const pay = (id: string): string => request("POST", "/payments", `{"order":{"id":${id}}}`);
    expect(await at.ask(pay(FREE))).toBe("legacy");
    const clients = await at.held(3, (n) => pay([HELD, `[${FREE}]`, "null"][n]!));
    await at.proxy.roll("order", { stage: "canary", share: 5_000 });
    const answers = await Promise.all(clients.map((one) => one.until(/payments$|refused/)));
    expect(answers.map(whoOf)).toEqual(["new", "400 no-aggregate-id", "400 no-aggregate-id"]);
    expect(at.fresh.received.map(({ body }) => body)).toEqual([`{"order":{"id":${HELD}}}`]);
  });

  test("a large body is not read", async () => {
    await using at = await start();
    await at.proxy.roll("order", { stage: "shadow", hold: HALF });
    const body = "a".repeat(16_000_000);
    const [client] = await at.held(1, () => request("PUT", `/orders/${HELD}`, body));
    await sleep(100);
    expect(client!.socket.writableLength).toBeGreaterThan(1_000_000);
    await at.proxy.roll("order", { stage: "new" });
    await client!.until(/orders\/\d+$/);
    expect(at.fresh.received[0]!.body === body).toBe(true);
  });

  test("requests on one connection keep their order", async () => {
    await using at = await start();
    await at.proxy.roll("order", { stage: "shadow", hold: HALF });
    const client = at.client();
    client.send(request("PUT", `/orders/${HELD}`, "first") + request("GET", `/orders/${HELD}?x`));
    await at.heldNow(1);
    await sleep(50);
    expect(at.legacy.received).toEqual([]);
    await at.proxy.roll("order", { stage: "new" });
    expect(await client.until(/\?x$/)).toMatch(/new \/orders\/\d+HTTP[^]*new \/orders\/\d+\?x$/);
  });

  test("the client that waits for leave to send its body gets it when its request goes on", async () => {
    await using at = await start();
    await at.proxy.roll("order", { stage: "shadow", hold: HALF });
    const client = at.client();
    client.send(
      `PUT /orders/${HELD} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n`,
    );
    await at.heldNow(1);
    expect(client.text()).toBe("");
    await at.proxy.roll("order", { stage: "new" });
    await client.until(/100 Continue/);
    client.send("body");
    await client.until(/new \/orders/);
    expect(at.fresh.received[0]!.body).toBe("body");
  });
});

describe("waiting has its bounds", () => {
  test("in number and in time: beyond them the client is told to come again", async () => {
    await using at = await start({ heldMax: 2, heldMsMax: 2_000 });
    await at.proxy.roll("order", { stage: "shadow", hold: HALF });
    const clients = await at.held(2, () => request("PUT", `/orders/${HELD}`, "x"));
    const third = await exchangeRaw(at.proxy.port, request("PUT", `/orders/${HELD}`, "x"));
    expect(whoOf(third)).toBe("503 too-many-held");
    expect(third).toMatch(/retry-after: 1/i);
    // Another hold gives no new time.
    await at.proxy.roll("order", { stage: "shadow", hold: { ...HALF, to: 9_000 } });
    for (const one of clients) {
      const text = await one.until(/held-too-long\n$/);
      expect(whoOf(text)).toBe("503 held-too-long");
      expect(text).toMatch(/retry-after: 1/i);
    }
    expect(await at.ask(request("GET", `/orders/${HELD}`))).toBe("legacy");
    expect(at.legacy.received).toHaveLength(1);
  });

  test("a request whose client goes away is dropped", async () => {
    await using at = await start();
    await at.proxy.roll("order", { stage: "shadow", hold: HALF });
    const [gone, stays] = await at.held(2, (n) => request("PUT", `/orders/${HELD}`, String(n)));
    gone!.socket.destroy();
    await at.heldNow(1);
    await at.proxy.roll("order", { stage: "new" });
    await stays!.until(/orders\/\d+$/);
    expect(at.fresh.received.map(({ body }) => body)).toEqual(["1"]);
  });

  test("those that waited are no more at once than the application takes", async () => {
    const slow = await startApp(
      "new",
      (_, response) => void setTimeout(() => response.end("new"), 5),
    );
    await using at = await start({ new: slow.port, upstream: { connectionsMax: 8 } });
    await at.proxy.roll("order", { stage: "shadow", hold: HALF });
    const clients = await at.held(150, (n) => request("PUT", `/orders/${HELD}`, String(n)));
    await at.proxy.roll("order", { stage: "new" });
    const answers = await Promise.all(clients.map((one) => one.until(/\r\n\r\n[^]+$/)));
    expect(new Set(answers.map(whoOf))).toEqual(new Set(["new"]));
    expect(slow.received).toHaveLength(150);
    await slow[Symbol.asyncDispose]();
  });

  test("a hold that is over by the clock is ended by the proxy, and what waited goes on", async () => {
    await using at = await start();
    await at.proxy.roll("order", { stage: "shadow", hold: { ...HALF, leftMs: 1_500 } });
    const [client] = await at.held(1, () => request("PUT", `/orders/${HELD}`, "x"));
    expect(whoOf(await client!.until(/orders\/\d+$/))).toBe("legacy");
    expect(at.legacy.received[0]!.headers["banyan-epoch"]).toBe("3");
    expect(at.proxy.notes).toContain("the hold of order was over by the clock, and is ended");
  });

  test("while the store is away nothing goes on by the clock alone", async () => {
    await using at = await start();
    await at.proxy.roll("order", { stage: "shadow", hold: { ...HALF, leftMs: 1_500 } });
    at.proxy.state.unreachable = true;
    const [client] = await at.held(1, () => request("PUT", `/orders/${HELD}`, "x"));
    await sleep(1_700);
    expect([client!.text(), at.legacy.received]).toEqual(["", []]);
    at.proxy.state.unreachable = false;
    expect(whoOf(await client!.until(/orders\/\d+$/))).toBe("legacy");
  });
});

describe("reads, while writes are held back", () => {
  const read = (at: Awaited<ReturnType<typeof start>>, id: string): Promise<string> =>
    at.ask(request("GET", `/orders/${id}`));

  test("stay with new behind the switch to legacy, until the rollout says that legacy answers", async () => {
    await using at = await start({ rollout: { stage: "canary", share: 5_000 } });
    const held = { ...HALF, reads: "new" } as const;
    await at.proxy.roll("order", { stage: "canary", share: 5_000, hold: held });
    expect(await read(at, HELD)).toBe("new");
    await at.proxy.roll("order", { stage: "shadow", hold: held });
    expect(await read(at, HELD)).toBe("new");
    expect(await read(at, FREE)).toBe("legacy");
    const [write] = await at.held(1, () => request("PUT", `/orders/${HELD}`, "x"));
    await at.proxy.roll("order", { stage: "shadow", hold: { ...HALF, reads: "legacy" } });
    expect(await read(at, HELD)).toBe("legacy");
    expect(write!.text()).toBe("");
    await at.proxy.roll("order", { stage: "shadow" });
    expect(whoOf(await write!.until(/orders\/\d+$/))).toBe("legacy");
  });

  test("go to new behind the switch to it, before the first write does", async () => {
    await using at = await start({ rollout: { stage: "shadow" } });
    await at.proxy.roll("order", { stage: "shadow", hold: { ...HALF, reads: "legacy" } });
    const [write] = await at.held(1, () => request("PUT", `/orders/${HELD}`, "x"));
    expect(await read(at, HELD)).toBe("legacy");
    const canary = { stage: "canary", share: 5_000 } as const;
    await at.proxy.roll("order", { ...canary, hold: { ...HALF, reads: "new" } });
    expect([await read(at, HELD), write!.text()]).toEqual(["new", ""]);
    await at.proxy.roll("order", canary);
    expect(whoOf(await write!.until(/orders\/\d+$/))).toBe("new");
  });

  test("are answered by a proxy that begins within the hold, lists by new where every aggregate is held", async () => {
    const hold = { ...HALF, to: 10_000, reads: "new" } as const;
    await using at = await start({ rollout: { stage: "shadow", hold } });
    expect(await read(at, HELD)).toBe("new");
    expect(await at.ask(request("GET", "/orders"))).toBe("new");
    await at.proxy.roll("order", { stage: "shadow", hold: { ...HALF, reads: "new" } });
    expect(await at.ask(request("GET", "/orders"))).toBe("legacy");
    // One that says nothing changes nothing.
    await at.proxy.roll("order", { stage: "shadow", hold: HALF });
    expect(await read(at, HELD)).toBe("legacy");
  });
});
