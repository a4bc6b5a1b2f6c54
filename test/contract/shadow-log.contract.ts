import { describe, expect, test } from "vitest";
import {
  SAMPLES_PER_ROUTE_MAX,
  type ShadowLog,
  type ShadowSample,
  type ShadowWrite,
} from "../../src/rollout/shadow-log.ts";

export interface ShadowLogHarness extends AsyncDisposable {
  readonly log: ShadowLog;
  /** In any order. */
  writes(): Promise<readonly ShadowWrite[]>;
  /** Of one route in the order they were added. */
  samples(): Promise<readonly ShadowSample[]>;
}

/** What every keeper of shadow traffic keeps to. */
export function shadowLogContract(name: string, open: () => Promise<ShadowLogHarness>): void {
  describe(`the ${name} shadow log`, () => {
    test("keeps writes as they were, with what did not come", async () => {
      await using at = await open();
      const writes = [
        write(1),
        { ...write(2), streamId: undefined, newStatus: undefined },
        { ...write(3), legacyStatus: undefined, streamId: `order-ä,\\"'{}NULL` },
      ];
      await at.log.add(writes, []);
      expect(sorted(await at.writes())).toEqual(writes);
    });

    test("keeps a write once, as it came first", async () => {
      await using at = await open();
      await at.log.add([write(1)], []);
      await at.log.add([{ ...write(1), newStatus: 500 }, write(2)], []);
      expect(sorted(await at.writes())).toEqual([write(1), write(2)]);
    });

    test("keeps the newest samples of each route", async () => {
      await using at = await open();
      const many = SAMPLES_PER_ROUTE_MAX + 5;
      const samples = Array.from({ length: many }, (_, n) => sample("GET /orders/:id", n));
      await at.log.add([write(1)], [sample("GET /orders", 0), ...samples.slice(0, 10)]);
      await at.log.add([], samples.slice(10));
      const kept = await at.samples();
      const of = (route: string) => kept.filter((one) => one.route === route);
      expect(of("GET /orders")).toEqual([sample("GET /orders", 0)]);
      expect(of("GET /orders/:id")).toEqual(samples.slice(-SAMPLES_PER_ROUTE_MAX));
    });

    test("can be used again after it was closed once", async () => {
      await using at = await open();
      await at.log.add([], []);
      await at.log.close();
      await at.log.add([write(1)], [sample("GET /orders", 0)]);
      expect(await at.writes()).toHaveLength(1);
    });
  });
}

function write(n: number): ShadowWrite {
  return {
    correlationId: `correlation-${n}`,
    streamType: "order",
    streamId: `order-${n}`,
    route: "POST /orders/:id/pay",
    legacyStatus: 200,
    newStatus: 409,
    askedAt: new Date(1_700_000_000_000 + n),
    answeredAt: new Date(1_700_000_000_500 + n),
  };
}

function sample(route: string, n: number): ShadowSample {
  return {
    streamType: "order",
    route,
    target: `/orders/${n}`,
    differences: [{ place: "lines[].id", legacy: `"{a","b'\\"`, new: "absent" }],
    seenAt: new Date(1_700_000_000_000 + n),
  };
}

function sorted(writes: readonly ShadowWrite[]): readonly ShadowWrite[] {
  return writes.toSorted((a, b) => (a.correlationId < b.correlationId ? -1 : 1));
}
