import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { MemoryShadowLog } from "../../connectors/memory/shadow-log.ts";
import { AnswerComparer } from "../../src/proxy/answer-comparer.ts";
import { decodeAnswer } from "../../src/proxy/decode-answer.ts";
import { ShadowBody, ShadowBytes } from "../../src/proxy/shadow-bytes.ts";
import { ShadowNoise } from "../../src/proxy/shadow-noise.ts";
import { ShadowPressure } from "../../src/proxy/shadow-pressure.ts";
import { ShadowRows } from "../../src/proxy/shadow-rows.ts";
import { sampleDifferences } from "../../src/proxy/shadow-sample.ts";
import { ShadowTotals } from "../../src/rollout/shadow-counts.ts";
import type { ShadowWrite } from "../../src/rollout/shadow-log.ts";
import type { Answer } from "../../src/verify/compare-answers.ts";
import { until } from "./proxy-support.ts";

describe("noise", () => {
  test("is what differs again and again, and nothing that differed once", () => {
    const noise = new ShadowNoise();
    noise.learn(["requestId", "status"]);
    expect(noise.places).toEqual(new Set());
    noise.learn(["requestId"]);
    expect(noise.places).toEqual(new Set(["requestId"]));
    for (let i = 0; i < 30; i++) noise.learn(["requestId"]);
    noise.learn(["status"]);
    // Twice in more than thirty: a write came between.
    expect(noise.places).toEqual(new Set(["requestId"]));
    expect(noise.known).toEqual([{ place: "requestId", times: 32 }]);
  });

  test("is forgotten when it is none any more, bounded, and never the status", () => {
    const noise = new ShadowNoise();
    for (let i = 0; i < 10; i++) noise.learn(["a", "(status)"]);
    expect(noise.places).toEqual(new Set(["a"]));
    for (let i = 0; i < 100; i++) noise.learn([]);
    expect(noise.places).toEqual(new Set());
    const many = Array.from({ length: 1_000 }, (_, n) => `a${n}`);
    for (let i = 0; i < 5_000; i++) noise.learn(many);
    expect(noise.places.size).toBeLessThanOrEqual(200);
  });
});

describe("bodies in memory", () => {
  test("are bounded one by one and together, and given back", () => {
    const bytes = new ShadowBytes(100);
    const first = new ShadowBody(bytes, 60);
    expect(first.add(Buffer.alloc(60))).toBeUndefined();
    expect(new ShadowBody(bytes, 60).add(Buffer.alloc(41))).toBe("full");
    expect(first.add(Buffer.alloc(1))).toBe("too-large");
    expect(bytes.held).toBe(0);
    first.free();
    expect(bytes.held).toBe(0);
  });

  test("are copies", () => {
    const chunk = Buffer.from("abc");
    const body = new ShadowBody(new ShadowBytes(), 10);
    body.add(chunk);
    body.add(chunk);
    chunk.fill("x");
    expect(body.whole().toString()).toBe("abcabc");
  });
});

describe("an answer's coding", () => {
  test("is undone up to a limit, and what is not understood is not guessed", () => {
    const body = gzipSync(Buffer.alloc(10_000, "a"));
    const headers = ["Content-Encoding", "gzip", "X", "1", "x", "2"];
    const decoded = decodeAnswer(200, headers, body, 10_000);
    expect(decoded?.body.length).toBe(10_000);
    expect(decoded?.headers.get("x")).toBe("1, 2");
    expect(decodeAnswer(200, headers, body, 9_999)).toBeUndefined();
    expect(decodeAnswer(200, headers, Buffer.from("no"), 9_999)).toBeUndefined();
    expect(decodeAnswer(200, ["content-encoding", "zstd"], body, 9_999)).toBeUndefined();
    expect(decodeAnswer(200, ["content-encoding", "toString"], body, 9)).toBeUndefined();
  });
});

describe("samples", () => {
  test("say what kind of value is where, and the values only when asked to", () => {
    const found = [
      { place: "name", a: "Ada", b: undefined },
      { place: "(status)", a: 200, b: 404 },
      { place: "n", a: 1, b: null },
      { place: "list[#]", a: 1, b: 2 },
    ];
    expect(sampleDifferences(found, false)).toEqual([
      { place: "name", legacy: "text of 3", new: "absent" },
      { place: "(status)", legacy: "200", new: "404" },
      { place: "n", legacy: "number", new: "null" },
      { place: "list[#]", legacy: "1", new: "2" },
    ]);
    const long = { place: "name", a: `${"x".repeat(198)}\u{1f600}\u0000`, b: "\u0000" };
    const [shown] = sampleDifferences([long], true);
    expect(shown!.legacy).toBe(`"${"x".repeat(198)}\u{fffd}`);
    expect(shown!.new).toBe('"\\u0000"');
  });
});

describe("comparisons", () => {
  const rules = {
    headers: [],
    ignore: new Set<string>(),
    unordered: new Set(["."]),
    tolerances: new Map<string, number>(),
    timestamps: new Map<string, number>(),
  };
  const answer = (value: unknown): Answer => ({
    status: 200,
    headers: new Map([["content-type", "application/json"]]),
    body: Buffer.from(JSON.stringify(value)),
  });
  const pair = (left: unknown, right: unknown) => {
    const [a, b] = [answer(left), answer(right)];
    const noise = new Set(["[].noise"]);
    return () => ({ a, b, rules, noise, showsValues: true });
  };
  const many = (change: object) =>
    Array.from({ length: 20_000 }, (_, id) => ({ id, name: "x".repeat(20), ...change }));

  test("of large answers come to the same as of small ones, and let this thread go on", async () => {
    const comparer = new AnswerComparer();
    const small = comparer.compare(pair([{ id: 1 }], [{ id: 2, noise: 1 }]));
    const large = [
      comparer.compare(pair(many({}), many({ id: 3, noise: 1 }))),
      comparer.compare(pair(many({}), many({}).toReversed())),
    ];
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    expect(await small).toEqual({
      outcome: "different",
      places: ["[].id"],
      samples: [{ place: "[].id", legacy: "1", new: "2" }],
      isNoisy: true,
    });
    const before = ticks;
    expect(await large[0]).toMatchObject({
      outcome: "different",
      places: ["[].id"],
      isNoisy: true,
    });
    expect(await large[1]).toMatchObject({ outcome: "equal", places: [] });
    expect(ticks - before).toBeGreaterThan(3);
    clearInterval(timer);
    await comparer.close();
  });

  test("that fail, or cannot be made, keep nobody waiting", async () => {
    const comparer = new AnswerComparer();
    const failing = comparer.compare(() => {
      throw new Error("a mistake");
    });
    const nothing = comparer.compare(() => undefined);
    const good = comparer.compare(pair([], []));
    await expect(failing).rejects.toThrow("a mistake");
    expect(await nothing).toMatchObject({ outcome: "uncompared" });
    expect(await good).toMatchObject({ outcome: "equal" });
    const late = comparer.compare(pair(many({}), many({ id: 3 })));
    // It has its thread, which has not begun yet.
    await new Promise((done) => setImmediate(done));
    await comparer.close();
    expect(await late).toMatchObject({ outcome: "uncompared" });
    expect(await comparer.compare(pair([], []))).toMatchObject({ outcome: "uncompared" });
  });
});

describe("a proxy that is busy", () => {
  test("compares fewer reads, at once, and more again step by step", () => {
    let busy = 0.5;
    const pressure = new ShadowPressure(() => busy);
    const admitted = (): number =>
      Array.from({ length: 1_000 }, () => pressure.admit()).filter(Boolean).length;
    pressure.look();
    expect(admitted()).toBe(1_000);
    busy = 0.9;
    for (let i = 0; i < 2; i++) pressure.look();
    expect(admitted()).toBe(250);
    for (let i = 0; i < 20; i++) pressure.look();
    expect(admitted()).toBeGreaterThan(0);
    expect(admitted()).toBeLessThan(20);
    busy = 0.7;
    for (let i = 0; i < 20; i++) pressure.look();
    expect(admitted()).toBe(1_000);
    pressure.close();
  });
});

describe("totals", () => {
  test("count what is different as compared too", () => {
    const totals = new ShadowTotals();
    for (const outcome of ["compared", "different", "uncompared", "dropped", "dropped"] as const)
      totals.addShadow("order", "GET /orders/:id", "legacy", outcome);
    totals.addShadow("order", "GET /orders/:id", "new", "compared");
    expect(totals.all).toMatchObject([
      { side: "legacy", compared: 2, different: 1, uncompared: 1, dropped: 2 },
      { side: "new", compared: 1, different: 0 },
    ]);
  });
});

describe("rows", () => {
  const write = (n: number): ShadowWrite => ({
    correlationId: String(n),
    streamType: "order",
    streamId: undefined,
    route: "POST /orders",
    legacyStatus: 200,
    newStatus: 200,
    askedAt: new Date(),
    answeredAt: new Date(),
  });

  test("wait for a store that is away, so many, and are stored when it is back", async () => {
    const log = new MemoryShadowLog();
    const problems: (string | undefined)[] = [];
    const rows = new ShadowRows(log, (problem) => problems.push(problem));
    log.unreachable = true;
    for (let n = 0; n < 20_010; n++) rows.addWrite(write(n));
    await until("the store is found to be away", () => problems.length === 1);
    expect(rows.dropped).toBe(10);
    log.unreachable = false;
    await until("all are stored", () => rows.waiting === 0);
    expect(log.writes).toHaveLength(20_000);
    expect(problems).toEqual(["the store is down", undefined]);
    rows.addWrite(write(-1));
    await rows.close();
    expect(log.writes).toHaveLength(20_001);
  });

  test("that the store does not take at the end are dropped, and it does not take long", async () => {
    const log = new MemoryShadowLog();
    const rows = new ShadowRows(log, () => undefined);
    log.unreachable = true;
    rows.addWrite(write(1));
    await rows.close();
    expect([rows.waiting, rows.dropped]).toEqual([0, 1]);
  });
});
