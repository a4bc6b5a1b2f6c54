import { describe, expect, test } from "vitest";
import type { RolloutState } from "../../src/rollout/rollout-state.ts";
import { STAGES, type Rollout } from "../../src/rollout/stage.ts";

export interface RolloutHarness extends AsyncDisposable {
  readonly state: RolloutState;
  /** Decides, as the rollout commands do. */
  put(type: string, rollout: Rollout): Promise<void>;
  /** What a proxy has acknowledged, by stream type. Empty when it is not there. */
  acknowledged(instance: string): Promise<ReadonlyMap<string, number>>;
  /** A stream gets its first event. */
  addStream(stream: string): Promise<void>;
}

const PROXY = { instance: "00000000-0000-4000-8000-000000000001", place: "host 1" };
const OTHER = { instance: "00000000-0000-4000-8000-000000000002", place: "host 2" };

/** What every source of the rollout keeps to. */
export function rolloutStateContract(name: string, open: () => Promise<RolloutHarness>): void {
  describe(`the ${name} rollout state`, () => {
    test("is empty before anything was decided", async () => {
      await using harness = await open();
      expect(await harness.state.read()).toEqual(new Map());
    });

    test("gives each decision as it was made, and the latest one", async () => {
      await using harness = await open();
      const decided = new Map<string, Rollout>();
      for (const [at, stage] of STAGES.entries()) {
        const rollout = { stage, share: at * 2_500, salt: `säl:${at}`, epoch: at + 1 };
        decided.set(`type-${at}`, rollout);
        await harness.put(`type-${at}`, rollout);
      }
      expect(await harness.state.read()).toEqual(decided);
      const next: Rollout = { ...decided.get("type-2")!, share: 7_777, epoch: 2 ** 40 };
      await harness.put("type-2", next);
      expect((await harness.state.read()).get("type-2")).toEqual(next);
      expect((await harness.state.read()).size).toBe(STAGES.length);
    });

    test("can be read again after it was closed once", async () => {
      await using harness = await open();
      await harness.state.read();
      await harness.state.close();
      expect(await harness.state.read()).toEqual(new Map());
    });

    test("has a hold with the time that is left of it", async () => {
      await using harness = await open();
      const hold = { from: 100, to: 5_000, leftMs: 60_000, reads: "new" } as const;
      const rollout: Rollout = { stage: "canary", share: 100, salt: "s", epoch: 2, hold };
      await harness.put("order", rollout);
      const read = (await harness.state.read()).get("order");
      expect(read).toMatchObject({ ...rollout, hold: { from: 100, to: 5_000, reads: "new" } });
      expect(read!.hold!.leftMs).toBeGreaterThan(50_000);
      expect(read!.hold!.leftMs).toBeLessThanOrEqual(60_000);
    });

    test("keeps the highest epoch that a proxy has acknowledged, until it leaves", async () => {
      await using harness = await open();
      const { state } = harness;
      await state.acknowledge(
        PROXY,
        new Map([
          ["order", 3],
          ["basket", 0],
        ]),
      );
      await state.acknowledge(
        PROXY,
        new Map([
          ["order", 2],
          ["basket", 2 ** 40],
        ]),
      );
      await state.acknowledge(OTHER, new Map([["order", 1]]));
      await state.acknowledge(OTHER, new Map());
      expect(await harness.acknowledged(PROXY.instance)).toEqual(
        new Map([
          ["order", 3],
          ["basket", 2 ** 40],
        ]),
      );
      await state.leave(PROXY);
      expect(await harness.acknowledged(PROXY.instance)).toEqual(new Map());
      expect(await harness.acknowledged(OTHER.instance)).toEqual(new Map([["order", 1]]));
      await state.leave(PROXY);
    });

    test("ends a hold that is over, once, and none that is not or has changed", async () => {
      await using harness = await open();
      const { state } = harness;
      const rollout: Rollout = { stage: "shadow", share: 0, salt: "s", epoch: 7 };
      const put = (epoch: number, leftMs: number): Promise<void> =>
        harness.put("order", { ...rollout, epoch, hold: { from: 0, to: 100, leftMs } });
      expect(await state.endHold("order", 7, "somebody")).toBe(false);
      await harness.put("order", rollout);
      expect(await state.endHold("order", 7, "somebody")).toBe(false);
      await put(8, 60_000);
      expect(await state.endHold("order", 8, "somebody")).toBe(false);
      await put(9, -1_000);
      expect((await state.read()).get("order")?.hold?.leftMs).toBeLessThan(0);
      expect(await state.endHold("order", 8, "somebody")).toBe(false);
      const both = [state.endHold("order", 9, "one"), state.endHold("order", 9, "another")];
      expect(new Set(await Promise.all(both))).toEqual(new Set([false, true]));
      expect((await state.read()).get("order")).toEqual({ ...rollout, epoch: 10 });
    });

    test("says which streams have an event", async () => {
      await using harness = await open();
      const { state } = harness;
      expect(await state.existing([])).toEqual(new Set());
      await harness.addStream("order-1");
      await harness.addStream("order-2");
      expect(await state.existing(["order-1", "order-11", "order-"])).toEqual(new Set(["order-1"]));
    });
  });
}
