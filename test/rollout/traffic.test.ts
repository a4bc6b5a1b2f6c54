import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { MemoryTrafficLog } from "../../connectors/memory/traffic-log.ts";
import { LATENCY_BOUNDS_MS, latencySlot, TrafficCounts } from "../../src/rollout/traffic.ts";
import { writeTraffic } from "../../src/rollout/traffic-log.ts";
import { until } from "../proxy/proxy-support.ts";

test("a duration is counted beside the bounds that it lies between", () => {
  expect([0, 1, 1.01, 2, 499, 5_000, 5_000.1].map(latencySlot)).toEqual([0, 0, 1, 1, 8, 11, 12]);
});

test("nothing is lost and nothing is counted twice, whatever the second and the route", () => {
  const one = fc.record({
    route: fc.constantFrom("GET /a", "PUT /a"),
    side: fc.constantFrom("legacy" as const, "new" as const),
    millis: fc.double({ min: 0, max: 9_000, noNaN: true }),
    isError: fc.boolean(),
    pause: fc.nat({ max: 2 }),
    take: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(one, { maxLength: 60 }), (requests) => {
      let second = 100;
      const counts = new TrafficCounts(() => second);
      const rows: ReturnType<TrafficCounts["rows"]>[number][] = [];
      const take = (): void => {
        const taken = counts.rows(1_000);
        rows.push(...taken);
        counts.written(taken);
      };
      for (const { route, side, millis, isError, pause, take: takes } of requests) {
        counts.add("order", route, side, millis, isError);
        second += pause;
        if (takes) take();
      }
      counts.endSecond();
      take();
      const keys = rows.map((row) => `${row.second} ${row.route} ${row.side}`);
      expect(new Set(keys).size).toBe(keys.length);
      expect(keys).toEqual(
        keys.toSorted((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10)),
      );
      const sum = (of: (row: (typeof rows)[number]) => number): number =>
        rows.reduce((total, row) => total + of(row), 0);
      expect(sum((row) => row.requests)).toBe(requests.length);
      expect(sum((row) => row.errors)).toBe(requests.filter((r) => r.isError).length);
      expect(sum((row) => row.slower.reduce((a, b) => a + b, 0))).toBe(requests.length);
      expect(sum((row) => row.millis)).toBeCloseTo(
        requests.reduce((total, { millis }) => total + millis, 0),
      );
      expect(rows.every(({ slower }) => slower.length === LATENCY_BOUNDS_MS.length + 1)).toBe(true);
    }),
  );
});

test("what shadow reads came to stands beside the requests; a difference was compared too", () => {
  let second = 1;
  const counts = new TrafficCounts(() => second);
  for (const count of ["compared", "different", "uncompared", "dropped", "dropped"] as const)
    counts.addShadow("order", "GET /a", "legacy", count);
  counts.add("order", "GET /a", "legacy", 3, false);
  second++;
  expect(counts.rows(10)).toMatchObject([
    { requests: 1, compared: 2, different: 1, uncompared: 1, dropped: 2 },
  ]);
});

test("a clock that is set back gives no second twice", () => {
  let second = 10;
  const counts = new TrafficCounts(() => second);
  for (second of [10, 9, 11, 10, 12]) counts.add("order", "GET /a", "new", 1, false);
  second = 20;
  expect(counts.rows(10).map((row) => [row.second, row.requests])).toEqual([
    [10, 2],
    [11, 2],
    [12, 1],
  ]);
});

test("seconds go on while the clock of the machine is set back", async () => {
  const counts = new TrafficCounts();
  counts.add("order", "GET /a", "new", 1, false);
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() - 3_600_000 });
  try {
    await vi.waitUntil(() => counts.rows(1).length > 0, { timeout: 30_000 });
  } finally {
    vi.useRealTimers();
  }
  // Not an hour ago.
  expect(Math.abs(counts.rows(1)[0]!.second - Date.now() / 1_000)).toBeLessThan(60);
});

test("rows wait for a store that is away, up to a number; then the oldest are given up, and said so", async () => {
  let second = 1;
  const counts = new TrafficCounts(() => second, 2);
  const log = new MemoryTrafficLog();
  log.unreachable = true;
  const problems: (string | undefined)[] = [];
  const stop = new AbortController();
  const options = {
    counts,
    log,
    instance: "one",
    onProblem: (text?: string) => problems.push(text),
  };
  const running = writeTraffic(options, stop.signal);
  for (; second <= 5; second++) counts.add("order", "GET /a", "new", 1, false);
  await until("it is said", () => problems.length === 1);
  expect(counts.lost).toBe(3);
  expect(problems[0]).toMatch(/the store is down; those of the first seconds are given up/);
  log.unreachable = false;
  await until("they are written", () => log.rowsOf("one").length > 0);
  expect(log.rowsOf("one").map((row) => row.second)).toEqual([4, 5]);
  // The end of the process takes the second that is running along.
  counts.add("order", "GET /a", "new", 1, true);
  stop.abort();
  await running;
  expect(log.rowsOf("one").at(-1)).toMatchObject({ second: 6, errors: 1 });
  expect(problems.slice(1)).toEqual([undefined]);
});
