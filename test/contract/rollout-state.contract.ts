import { describe, expect, test } from "vitest";
import type { RolloutState } from "../../src/rollout/rollout-state.ts";
import { STAGES, type Rollout } from "../../src/rollout/stage.ts";

export interface RolloutHarness extends AsyncDisposable {
  readonly state: RolloutState;
  /** Decides, as the rollout commands do. */
  put(type: string, rollout: Rollout): Promise<void>;
}

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
  });
}
