import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { MemoryShadowLog } from "../../connectors/memory/shadow-log.ts";
import { decodeAnswer } from "../../src/proxy/decode-answer.ts";
import { ShadowBody, ShadowBytes } from "../../src/proxy/shadow-bytes.ts";
import { ShadowNoise } from "../../src/proxy/shadow-noise.ts";
import { ShadowPressure } from "../../src/proxy/shadow-pressure.ts";
import { ShadowRows } from "../../src/proxy/shadow-rows.ts";
import { sampleDifferences } from "../../src/proxy/shadow-sample.ts";
import { ShadowTurns } from "../../src/proxy/shadow-turns.ts";
import { ShadowTotals } from "../../src/rollout/shadow-counts.ts";
import type { ShadowWrite } from "../../src/rollout/shadow-log.ts";
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
  test("is undone up to a limit, and what is not understood is not guessed", async () => {
    const body = gzipSync(Buffer.alloc(10_000, "a"));
    const headers = ["Content-Encoding", "gzip", "X", "1", "x", "2"];
    const decoded = await decodeAnswer(200, headers, body, 10_000);
    expect(decoded?.body.length).toBe(10_000);
    expect(decoded?.headers.get("x")).toBe("1, 2");
    expect(await decodeAnswer(200, headers, body, 9_999)).toBeUndefined();
    expect(await decodeAnswer(200, headers, Buffer.from("no"), 9_999)).toBeUndefined();
    expect(await decodeAnswer(200, ["content-encoding", "zstd"], body, 9_999)).toBeUndefined();
    expect(await decodeAnswer(200, ["content-encoding", "toString"], body, 9)).toBeUndefined();
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
  test("are made one after the other, in turn, also after one that failed, with rests", async () => {
    const turns = new ShadowTurns();
    const done: number[] = [];
    const busy = (n: number) => () => {
      const startedMs = performance.now();
      while (performance.now() - startedMs < 5);
      done.push(n);
      if (n === 1) throw new Error("a mistake");
    };
    const startedMs = performance.now();
    const all = [0, 1, 2, 3].map((n) => turns.take(() => Promise.resolve(busy(n))));
    const settled = await Promise.allSettled(all);
    expect(done).toEqual([0, 1, 2, 3]);
    expect(settled.map(({ status }) => status)).toEqual([
      "fulfilled",
      "rejected",
      "fulfilled",
      "fulfilled",
    ]);
    // Three rests of three times as long.
    expect(performance.now() - startedMs).toBeGreaterThan(4 * 5 + 3 * 14);
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
