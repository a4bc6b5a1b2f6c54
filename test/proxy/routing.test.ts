import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { Rollout } from "../../src/rollout/stage.ts";
import {
  exchangeRaw,
  idWhere,
  refusalOf,
  route,
  startApp,
  startTestProxy,
  statusOf,
  until,
  type TestProxyOptions,
} from "./proxy-support.ts";

/** Ids on either side of half of the buckets. */
const MOVED = idWhere((bucket) => bucket < 5_000);
const STAYING = idWhere((bucket) => bucket >= 5_000);
const HALF: Partial<Rollout> = { stage: "canary", share: 5_000 };

/** Two applications and a proxy; `ask` says who answered, or why nobody did. */
async function start(options: Partial<TestProxyOptions> = {}) {
  const legacy = await startApp("legacy");
  const fresh = await startApp("new");
  const proxy = await startTestProxy({ legacy: legacy.port, new: fresh.port, ...options });
  const ask = async (line: string, rest = "\r\n"): Promise<string> => {
    const text = await exchangeRaw(proxy.port, `${line} HTTP/1.1\r\nHost: a\r\n${rest}`);
    const refusal = refusalOf(text);
    return refusal === undefined
      ? text.split("\r\n\r\n")[1]!.split(" ")[0]!
      : `${statusOf(text)} ${refusal}`;
  };
  return {
    legacy,
    fresh,
    proxy,
    ask,
    async [Symbol.asyncDispose]() {
      await proxy[Symbol.asyncDispose]();
      await legacy[Symbol.asyncDispose]();
      await fresh[Symbol.asyncDispose]();
    },
  };
}

function json(body: string, more = ""): string {
  return `Content-Type: application/json\r\n${more}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${Buffer.from(body).toString("latin1")}`;
}

describe("at each stage", () => {
  test.each([
    ["legacy", "legacy", "legacy", "legacy"],
    ["shadow", "legacy", "legacy", "legacy"],
    ["new", "new", "new", "new"],
    ["complete", "new", "new", "new"],
  ] as const)(
    "%s: reads go to %s, writes to %s, creations to %s",
    async (stage, read, write, create) => {
      await using at = await start({ rollout: { stage } });
      expect(await at.ask(`GET /orders/${MOVED}`)).toBe(read);
      expect(await at.ask(`DELETE /orders/${MOVED}`)).toBe(write);
      expect(await at.ask("POST /orders", json("{}"))).toBe(create);
      expect(await at.ask("GET /elsewhere")).toBe("legacy");
      expect(await at.ask("POST /orders/5", json("{}"))).toBe("legacy");
    },
  );

  test("canary: each aggregate is on one side, wherever a request names it", async () => {
    await using at = await start({ rollout: HALF });
    for (const [id, side] of [
      [MOVED, "new"],
      [STAYING, "legacy"],
    ] as const) {
      expect(await at.ask(`GET /orders/${id}`)).toBe(side);
      expect(await at.ask(`HEAD /orders/${id}`)).toBe("");
      expect(await at.ask(`PUT /orders/${id}`, json("{}"))).toBe(side);
      expect(await at.ask(`GET /orders?id=${id}&x=1`)).toBe(side);
      expect(await at.ask("POST /payments", json(`{"amount":1,"order":{"id":"${id}"}}`))).toBe(
        side,
      );
      expect(await at.ask("POST /payments", json(`{"order":{"id":${id}}}`))).toBe(side);
      expect(await at.ask("POST /shipments", `X-Order-Id: ${id}\r\n\r\n`)).toBe(side);
      const last = side === "new" ? at.fresh : at.legacy;
      expect(last.received.map(({ method }) => method)).toContain("HEAD");
    }
  });

  test("canary: a write that names no aggregate, or could name two, reaches no side", async () => {
    await using at = await start({ rollout: { stage: "canary", share: 10_000 } });
    const twice = `{"order":{"id":"1"},"order":{"id":"2"}}`;
    const asked = [
      at.ask("POST /payments", json(`{"order":{}}`)),
      at.ask("POST /payments", json(`{"order":{"id":1.5}}`)),
      at.ask("POST /payments", json(`not json`)),
      at.ask("POST /payments", json(twice)),
      at.ask(
        "POST /payments",
        json(twice.replace(`"order":{"id":"2"}`, String.raw`"\u006frder":{"id":"2"}`)),
      ),
      at.ask("POST /payments", json(`{"order":{"id":"1"}}`, "Content-Encoding: gzip\r\n")),
      at.ask(
        "POST /payments",
        json(`{"order":{"id":"1"}}`).replace("/json", "/json; charset=utf-16"),
      ),
      at.ask("POST /payments", json(`{"x":"${"a".repeat(1_048_577)}","order":{"id":"1"}}`)),
      at.ask("POST /shipments"),
      at.ask("POST /shipments", "X-Order-Id: 1\r\nX-Order-Id: 2\r\n\r\n"),
      at.ask("POST /shipments", "X-Order-Id: 1\r\nX_Order_Id: 2\r\n\r\n"),
      at.ask("POST /shipments", "X_Order_Id: 2\r\n\r\n"),
      at.ask("POST /payments", json(`{"order":{"id":"1","ID":"2"}}`)),
      at.ask("POST /payments", json(`{"Order":{"id":"2"},"order":{"id":"1"}}`)),
      at.ask("POST /payments", json(`{"ORDER":{"id":"1"}}`)),
    ];
    expect(new Set(await Promise.all(asked))).toEqual(new Set(["400 no-aggregate-id"]));
    expect([at.legacy.received, at.fresh.received]).toEqual([[], []]);
    // Lists stay with legacy.
    expect(await at.ask("GET /orders")).toBe("legacy");
    expect(await at.ask("GET /orders?id=1&id=2")).toBe("legacy");
  });

  test("canary: a creation that names no aggregate goes by chance; one that may name a moved one reaches no side", async () => {
    const create = route(["POST"], "/orders", "create", { json: "id" });
    const routes = [
      { ...create, idForm: "integer" as const },
      route(["POST"], "/by-query", "create", { query: "id" }),
      route(["POST"], "/by-header", "create", { header: "x-order-id" }),
    ];
    await using at = await start({ routes, rollout: { stage: "canary", share: 10_000 } });
    const post = (body: string, more?: string): Promise<string> =>
      at.ask("POST /orders", json(body, more));
    expect(await post(`{"id":7}`)).toBe("new");
    expect(await at.ask("POST /by-query?id=7")).toBe("new");
    expect(await at.ask("POST /by-header", "X-Order-Id: 7\r\n\r\n")).toBe("new");
    const unclear = {
      "another spelling": post(`{"id":"007"}`),
      "an empty text": post(`{"id":""}`),
      "no whole number": post(`{"id":7.5}`),
      "a list": post(`{"id":[7]}`),
      "several at once": post(`[{"id":7}]`),
      "a name twice": post(`{"id":7,"id":8}`),
      "a name in two cases": post(`{"id":7,"ID":8}`),
      "another case of the name": post(`{"ID":7}`),
      "a letter that folds to one of the name": post(`{"ıd":7}`),
      "an encoding": post(`{"id":7}`, "Content-Encoding: gzip\r\n"),
      "what is not JSON": post(`id=7`),
      "more than is read": post(`{"x":"${"a".repeat(1_048_577)}","id":7}`),
      "a query with two": at.ask("POST /by-query?id=7&id=8"),
      "a query in two cases": at.ask("POST /by-query?id=7&ID=8"),
      "two header lines": at.ask("POST /by-header", "X-Order-Id: 7\r\nX-Order-Id: 8\r\n\r\n"),
      "two spellings of a header": at.ask(
        "POST /by-header",
        "X-Order-Id: 7\r\nX_Order_Id: 8\r\n\r\n",
      ),
    };
    for (const [what, answer] of Object.entries(unclear))
      expect(await answer, what).toBe("400 no-aggregate-id");
    expect([at.legacy.received.length, at.fresh.received.length]).toEqual([0, 3]);
    const unnamed = async (): Promise<ReadonlySet<string>> => {
      const bodies = [`{}`, `{"id":null}`, `{"items":[{"id":1,"x":1,"X":2}]}`];
      const asked = [...bodies.map((body) => post(body)), at.ask("POST /orders")];
      asked.push(at.ask("POST /by-query?x=1"), at.ask("POST /by-header"));
      return new Set(await Promise.all(asked));
    };
    expect(await unnamed()).toEqual(new Set(["new"]));
    await at.proxy.roll("order", { stage: "canary", share: 0 });
    expect(await unnamed()).toEqual(new Set(["legacy"]));
  });

  test("canary: the share of creations without an id that go to new is the share that has moved", async () => {
    let drawn = 0;
    await using at = await start({
      rollout: { stage: "canary", share: 2_500 },
      random: () => drawn,
    });
    const sides: string[] = [];
    for (drawn of [0, 0.2499, 0.25, 0.99999]) sides.push(await at.ask("POST /orders", json("{}")));
    expect(sides).toEqual(["new", "new", "legacy", "legacy"]);
  });

  test("canary: a body that was looked into arrives whole", async () => {
    await using at = await start({ rollout: { stage: "canary", share: 10_000 } });
    const body = `{"order":{"id":"é1"},"text":"${"ä".repeat(50_000)}"}`;
    expect(await at.ask("POST /payments", json(body))).toBe("new");
    const chunked = `Transfer-Encoding: chunked\r\n\r\n14\r\n{"order":{"id":"1"}}\r\n0\r\n\r\n`;
    expect(await at.ask("POST /payments", chunked)).toBe("new");
    expect(at.fresh.received.map((one) => one.body)).toEqual([body, `{"order":{"id":"1"}}`]);
  });

  test("canary: a large body that need not be looked into is not", async () => {
    await using at = await start({ rollout: { stage: "new" } });
    const body = `{"x":"${"a".repeat(2_000_000)}"}`;
    expect(await at.ask("POST /payments", json(body))).toBe("new");
    expect(at.fresh.received[0]!.body).toBe(body);
  });

  test("another spelling of an id is not another aggregate", async () => {
    const routes = [
      { ...route(["DELETE"], "/orders/:id", "write", { path: "id" }), idForm: "integer" as const },
    ];
    await using at = await start({ routes, rollout: HALF });
    expect(await at.ask(`DELETE /orders/${MOVED}`)).toBe("new");
    for (const id of [`0${MOVED}`, `+${MOVED}`, `${MOVED}.0`, `%20${MOVED}`, "x"])
      expect(await at.ask(`DELETE /orders/${id}`), id).toBe("400 no-aggregate-id");
  });
});

describe("a path that servers read in different ways", () => {
  const WAYS = [
    `/orders%2F${MOVED}`,
    `/orders/${MOVED}%2Flines%2F..`,
    `/x/../orders/${MOVED}`,
    `/x/%2e%2e/orders/${MOVED}`,
    `//orders/${MOVED}`,
    `/orders//${MOVED}`,
    `/orders\\${MOVED}`,
    `/orders;v=1/${MOVED}`,
    `/orders/${STAYING}/../${MOVED}`,
    `/orders/${MOVED};${STAYING}`,
    `/%256frders/${MOVED}`,
  ];

  test.each(WAYS)("%s goes to no side while they differ", async (path) => {
    await using at = await start({ rollout: { stage: "new" } });
    const answer = await at.ask(`DELETE ${path}`);
    // Where every reading is of a moved aggregate there is nothing to be unsure of.
    expect(["400 ambiguous-path", "new"]).toContain(answer);
    expect(at.legacy.received).toEqual([]);
  });

  test("goes to legacy as it came while legacy decides for all", async () => {
    await using at = await start({ rollout: { stage: "shadow" } });
    for (const path of WAYS) expect(await at.ask(`DELETE ${path}`), path).toBe("legacy");
    expect(at.legacy.received.map(({ url }) => url)).toEqual(WAYS);
  });

  test("the case of words, a slash at the end and encoded letters change nothing", async () => {
    await using at = await start({ rollout: HALF });
    for (const path of [
      `/Orders/${MOVED}`,
      `/orders/${MOVED}/`,
      `/%6Frders/${MOVED}`,
      `/ORDERS/${MOVED}?a=/../b`,
    ]) {
      expect(await at.ask(`DELETE ${path}`), path).toBe("new");
    }
    expect(at.fresh.received.map(({ url }) => url)[2]).toBe(`/%6Frders/${MOVED}`);
  });
});

describe("authority", () => {
  test("moves with the rollout, and the upstream is told the epoch", async () => {
    await using at = await start({ rollout: { stage: "shadow" } });
    expect(await at.ask("GET /orders/1")).toBe("legacy");
    await at.proxy.roll("order", { stage: "new", epoch: 7 });
    expect(await at.ask("GET /orders/1")).toBe("new");
    expect(at.fresh.received[0]!.headers["banyan-epoch"]).toBe("7");
    expect(await at.ask("GET /elsewhere")).toBe("legacy");
    expect(at.legacy.received.at(-1)!.headers["banyan-epoch"]).toBeUndefined();
  });

  test("never goes back to an older epoch, whatever the store says later", async () => {
    await using at = await start({ rollout: { stage: "new", epoch: 5 } });
    at.proxy.state.put("order", { stage: "legacy", share: 0, salt: "salt", epoch: 4 });
    await until("it is noted", () =>
      at.proxy.notes.some((text) => text.includes("the later one stands")),
    );
    expect(await at.ask("GET /orders/1")).toBe("new");
    await at.proxy.roll("order", { stage: "legacy", epoch: 6 });
    expect(await at.ask("GET /orders/1")).toBe("legacy");
  });

  test("that is not known yet refuses what is routed, and nothing else", async () => {
    const legacy = await startApp("legacy");
    const proxy = await startTestProxy({ legacy: legacy.port, stateUnreachable: true });
    const first = await exchangeRaw(proxy.port, "GET /orders/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    expect([statusOf(first), refusalOf(first)]).toEqual([503, "authority-unknown"]);
    expect(statusOf(await exchangeRaw(proxy.port, "GET /page HTTP/1.1\r\nHost: a\r\n\r\n"))).toBe(
      200,
    );
    proxy.state.unreachable = false;
    await until("it is known", () => proxy.notes.length > 0);
    await until("it is served", () => proxy.proxy.isReady());
    expect(
      statusOf(await exchangeRaw(proxy.port, "GET /orders/1 HTTP/1.1\r\nHost: a\r\n\r\n")),
    ).toBe(200);
    await proxy[Symbol.asyncDispose]();
    await legacy[Symbol.asyncDispose]();
  });

  test.each([
    ["legacy", "legacy"],
    ["shadow", "legacy"],
    ["canary", "503 authority-unknown"],
    ["new", "503 authority-unknown"],
    ["complete", "new"],
  ] as const)("that cannot be read any more: %s is answered by %s", async (stage, who) => {
    const keepMs = 1_000;
    await using at = await start({ rollout: { stage, share: 10_000 }, watch: { keepMs } });
    const known = await at.ask("GET /orders/1");
    expect(known).toBe(["legacy", "shadow"].includes(stage) ? "legacy" : "new");
    at.proxy.state.unreachable = true;
    // What is known holds for a while.
    expect(await at.ask("GET /orders/1")).toBe(known);
    await sleep(keepMs + 100);
    expect(await at.ask("GET /orders/1")).toBe(who);
    expect(await at.ask("GET /elsewhere")).toBe("legacy");
    at.proxy.state.unreachable = false;
    await until("it is read again", () => at.proxy.proxy.isReady());
    await sleep(50);
    expect(await at.ask("GET /orders/1")).toBe(known);
  });
});
