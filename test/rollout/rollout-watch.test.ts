import { describe, expect, test } from "vitest";
import { MemoryRolloutState } from "../../connectors/memory/rollout-state.ts";
import { RolloutWatch } from "../../src/rollout/rollout-watch.ts";
import { STAGES, UNMOVED, type Stage } from "../../src/rollout/stage.ts";

function setUp() {
  const state = new MemoryRolloutState();
  const problems: (string | undefined)[] = [];
  let nowMs = 1_000;
  const watch = new RolloutWatch({
    state,
    keepMs: 10_000,
    now: () => nowMs,
    onProblem: (problem) => problems.push(problem),
  });
  return {
    state,
    watch,
    problems,
    pass: (ms: number) => (nowMs += ms),
    put: (stage: Stage, epoch: number, share = 0) =>
      state.put("order", { stage, share, salt: "s", epoch }),
  };
}

describe("what a proxy knows of the rollout", () => {
  test("is nothing before the first read, and that what is not named has not moved after it", async () => {
    const { watch } = setUp();
    expect(watch.of("order")).toBeUndefined();
    await watch.refresh();
    expect(watch.of("order")).toEqual(UNMOVED);
  });

  test("holds for ten seconds behind a hold too, whatever the stage: the authority may have changed", async () => {
    const { state, watch, pass } = setUp();
    const hold = { from: 0, to: 100, leftMs: 5_000 };
    state.put("order", { stage: "shadow", share: 0, salt: "s", epoch: 2, hold });
    await watch.refresh();
    state.unreachable = true;
    pass(10_000);
    await watch.refresh();
    expect(watch.of("order")?.stage).toBe("shadow");
    pass(1);
    expect(watch.of("order")).toBeUndefined();
  });

  test.each(STAGES)("holds for ten seconds when it cannot be read again, at %s", async (stage) => {
    const { state, watch, put, pass } = setUp();
    put(stage, 1);
    await watch.refresh();
    state.unreachable = true;
    pass(10_000);
    await watch.refresh();
    expect(watch.of("order")?.stage).toBe(stage);
    pass(1);
    expect(watch.of("order")?.stage).toBe(
      stage === "canary" || stage === "new" ? undefined : stage,
    );
    state.unreachable = false;
    await watch.refresh();
    expect(watch.of("order")?.stage).toBe(stage);
  });

  test("is as of the begin of a read, not of its end", async () => {
    const { state, watch, put, pass } = setUp();
    put("new", 1);
    const read = state.read.bind(state);
    state.read = async () => {
      const known = await read();
      pass(9_999);
      return known;
    };
    await watch.refresh();
    expect(watch.of("order")).toBeDefined();
    pass(2);
    expect(watch.of("order")).toBeUndefined();
  });

  test("never goes back to an older epoch, nor forgets a stream type that is no longer named", async () => {
    const { state, watch, put, problems } = setUp();
    put("new", 5);
    await watch.refresh();
    put("legacy", 4);
    await watch.refresh();
    expect(watch.of("order")).toMatchObject({ stage: "new", epoch: 5 });
    expect(problems).toEqual([expect.stringContaining("the later one stands")]);
    state.read = () => Promise.resolve(new Map());
    await watch.refresh();
    expect(watch.of("order")).toMatchObject({ stage: "new", epoch: 5 });
  });

  test("a problem is told once while it lasts, and again after it has ended", async () => {
    const { state, watch, put, problems } = setUp();
    const thrice = async (): Promise<void> => {
      for (let i = 0; i < 3; i++) await watch.refresh();
    };
    const unread = expect.stringContaining("the store is down") as unknown;
    put("new", 5);
    state.put("basket", { stage: "new", share: 0, salt: "s", epoch: 5 });
    await thrice();
    expect(problems).toEqual([]);
    state.unreachable = true;
    await thrice();
    state.unreachable = false;
    await thrice();
    state.unreachable = true;
    await thrice();
    expect(problems).toEqual([unread, undefined, unread]);
    // Two at once are one problem, in whatever order they come.
    state.unreachable = false;
    put("legacy", 4);
    state.put("basket", { stage: "legacy", share: 0, salt: "s", epoch: 3 });
    await thrice();
    const read = state.read.bind(state);
    state.read = async () => new Map([...(await read())].toReversed());
    await thrice();
    expect(problems.slice(3)).toEqual([expect.stringMatching(/basket[^]*3[^]*order[^]*4/)]);
  });

  test("does not change within one epoch", async () => {
    const { watch, put } = setUp();
    put("canary", 5, 100);
    await watch.refresh();
    put("canary", 5, 9_000);
    await watch.refresh();
    expect(watch.of("order")?.share).toBe(100);
  });
});

describe("a hold", () => {
  const HOLD = { from: 0, to: 100, leftMs: 60_000 };

  test("that is over by the clock is ended in the store, and goes on until that is read", async () => {
    const { state } = setUp();
    const ended: string[] = [];
    const watch = new RolloutWatch({ state, who: "me", onHoldEnded: (type) => ended.push(type) });
    const put = (epoch: number, leftMs: number): void =>
      state.put("order", {
        stage: "canary",
        share: 5,
        salt: "s",
        epoch,
        hold: { ...HOLD, leftMs },
      });
    put(3, 60_000);
    await watch.refresh();
    await watch.refresh();
    expect(ended).toEqual([]);
    put(4, -1);
    await watch.refresh();
    expect(ended).toEqual(["order"]);
    expect(watch.of("order")?.hold).toBeDefined();
    await watch.refresh();
    expect(watch.of("order")).toEqual({ stage: "canary", share: 5, salt: "s", epoch: 5 });
    expect(ended).toEqual(["order"]);
  });

  test("is not taken for true for ever when it cannot be read again, at any stage", async () => {
    const { state, watch, pass } = setUp();
    state.put("order", { stage: "shadow", share: 0, salt: "s", epoch: 1, hold: HOLD });
    await watch.refresh();
    state.unreachable = true;
    pass(10_000);
    expect(watch.of("order")?.hold).toBeDefined();
    pass(1);
    expect(watch.of("order")).toBeUndefined();
  });

  test("of an older epoch is nobody's to end", async () => {
    const { state, put } = setUp();
    const watch = new RolloutWatch({ state, who: "me" });
    put("new", 9);
    await watch.refresh();
    state.put("order", {
      stage: "new",
      share: 0,
      salt: "s",
      epoch: 8,
      hold: { ...HOLD, leftMs: -1 },
    });
    await watch.refresh();
    expect((await state.read()).get("order")?.epoch).toBe(8);
  });
});
