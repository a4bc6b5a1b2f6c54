import { describe, expect, test } from "vitest";
import { LATENCY_BOUNDS_MS, type TrafficRow } from "../../src/rollout/traffic.ts";
import type { TrafficLog } from "../../src/rollout/traffic-log.ts";

export interface TrafficHarness extends AsyncDisposable {
  readonly log: TrafficLog;
  /** All rows of a proxy, by second and route. */
  rows(instance: string): Promise<readonly TrafficRow[]>;
}

const ONE = "00000000-0000-4000-8000-000000000001";
const TWO = "00000000-0000-4000-8000-000000000002";

export function trafficRow(given: Partial<TrafficRow>): TrafficRow {
  return {
    second: 1_800_000_000,
    type: "order",
    route: "PUT /orders/:id",
    side: "legacy",
    requests: 3,
    errors: 1,
    millis: 12.5,
    slower: LATENCY_BOUNDS_MS.map((_, slot) => slot).concat(7),
    compared: 4,
    different: 3,
    uncompared: 2,
    dropped: 1,
    ...given,
  };
}

/** What every place for traffic keeps to. */
export function trafficLogContract(name: string, open: () => Promise<TrafficHarness>): void {
  describe(`the ${name} traffic log`, () => {
    test("gives every row back as it was counted", async () => {
      await using at = await open();
      const rows = [
        trafficRow({}),
        trafficRow({ route: 'Z /öffnen,{"}', requests: 0, slower: new Array<number>(13).fill(0) }),
        trafficRow({ second: 1_800_000_001, side: "new", millis: 0 }),
      ];
      await at.log.write(ONE, rows);
      expect(await at.rows(ONE)).toEqual(rows);
    });

    test("counts nothing twice when rows are written again, and keeps proxies apart", async () => {
      await using at = await open();
      await at.log.write(ONE, [trafficRow({})]);
      await at.log.write(ONE, [trafficRow({}), trafficRow({ side: "new" })]);
      await at.log.write(TWO, [trafficRow({ requests: 9 })]);
      expect((await at.rows(ONE)).map(({ requests }) => requests)).toEqual([3, 3]);
      expect((await at.rows(TWO)).map(({ requests }) => requests)).toEqual([9]);
    });

    test("takes as many rows as are written at once", async () => {
      await using at = await open();
      const rows = Array.from({ length: 5_000 }, (_, n) =>
        trafficRow({ second: 1_800_000_000 + n }),
      );
      await at.log.write(ONE, rows);
      expect(await at.rows(ONE)).toHaveLength(5_000);
    });
  });
}
