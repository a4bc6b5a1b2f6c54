import { describe, expect, test } from "vitest";
import {
  actionIn,
  after,
  MOVE_EVENTS,
  MOVE_STEPS,
  movingBuckets,
  statesOf,
  wayOf,
  WAYS,
  type MoveState,
} from "../../src/rollout/move.ts";
import { completionOf, promotionOf, rollbackOf } from "../../src/rollout/target.ts";

const ENDS: readonly MoveState[] = ["done", "undone"];

describe.each(WAYS)("the way %s", (way) => {
  test("has an action and an answer to every event in each of its states", () => {
    for (const state of statesOf(way)) {
      expect(actionIn(way, state), state).toBeDefined();
      for (const event of MOVE_EVENTS) {
        const next = after(way, state, event);
        expect([...statesOf(way), ...ENDS], `${state} ${event}`).toContain(next);
      }
    }
  });

  test("ends when all goes well, and from everywhere when nothing more works", () => {
    let state: MoveState = "begun";
    for (let n = 0; !ENDS.includes(state); n++) {
      expect(n).toBeLessThan(MOVE_STEPS.length);
      state = after(way, state, "done");
    }
    expect(state).toBe("done");
    for (const from of statesOf(way)) {
      state = after(way, from, "failed");
      for (let n = 0; n < 3 && !ENDS.includes(state); n++) state = after(way, state, "done");
      expect(ENDS, from).toContain(state);
    }
  });

  test("can be resumed at every step that is noted, also one of another way", () => {
    for (const step of MOVE_STEPS) {
      const state = after(way, step, "resumed");
      expect(statesOf(way)).toContain(state);
    }
  });

  test("never undoes plainly what was switched", () => {
    if (way !== "retreat") return;
    for (const event of MOVE_EVENTS)
      for (const state of ["switched", "settled", "returning"] as const)
        expect(after(way, state, event)).not.toBe("undoing");
  });
});

test("an end is an end", () => {
  for (const way of WAYS)
    for (const end of ENDS)
      for (const event of MOVE_EVENTS) {
        expect(after(way, end, event)).toBe(end);
        expect(actionIn(way, end)).toBeUndefined();
      }
});

const at = (stage: "legacy" | "shadow" | "canary" | "new" | "complete", share = 0) => ({
  stage,
  share: stage === "new" || stage === "complete" ? 10_000 : share,
});

describe("a move", () => {
  test("holds the buckets between where it begins and where it leads", () => {
    expect(movingBuckets(at("legacy"), at("shadow"))).toBeUndefined();
    expect(movingBuckets(at("shadow"), at("canary", 100))).toEqual({ from: 0, to: 100 });
    expect(movingBuckets(at("canary", 100), at("canary", 1_000))).toEqual({ from: 100, to: 1_000 });
    expect(movingBuckets(at("new"), at("shadow"))).toEqual({ from: 0, to: 10_000 });
    expect(movingBuckets(at("new"), at("complete"))).toBeUndefined();
  });

  test("goes the way of its kind", () => {
    const forced: readonly string[] = [];
    const up = { kind: "promote", from: at("shadow"), to: at("canary", 1), forced } as const;
    const down = { kind: "rollback", from: at("new"), to: at("shadow"), forced } as const;
    expect(wayOf(up)).toBe("advance");
    expect(wayOf({ ...up, from: at("legacy"), to: at("shadow") })).toBe("plain");
    expect(wayOf(down)).toBe("retreat");
    expect(wayOf({ ...down, forced: ["reverse"] })).toBe("abandon");
    expect(wayOf({ ...down, kind: "complete", to: at("complete") })).toBe("complete");
  });
});

describe("where a command leads", () => {
  const SHARES = [100, 1_000, 5_000];

  test("is the next stage or share when it does not say", () => {
    const stages = [at("legacy")];
    for (let n = 0; n < 5; n++)
      stages.push(promotionOf("order", stages.at(-1)!, undefined, SHARES) as never);
    expect(stages).toEqual([
      at("legacy"),
      at("shadow"),
      at("canary", 100),
      at("canary", 1_000),
      at("canary", 5_000),
      at("new"),
    ]);
    expect(rollbackOf("order", at("canary", 100), undefined)).toEqual(at("shadow"));
    expect(rollbackOf("order", at("shadow"), undefined)).toEqual(at("legacy"));
    expect(completionOf("order", at("new"))).toEqual(at("complete"));
  });

  test("is what it says where that lies in its direction", () => {
    expect(promotionOf("order", at("shadow"), "0.5%", SHARES)).toEqual(at("canary", 50));
    expect(promotionOf("order", at("canary", 50), "100%", SHARES)).toEqual(at("new"));
    expect(rollbackOf("order", at("new"), "10%")).toEqual(at("canary", 1_000));
    expect(rollbackOf("order", at("canary", 50), "legacy")).toEqual(at("legacy"));
  });

  test.each([
    [() => promotionOf("order", at("legacy"), "10%", SHARES), /before the new service has run/],
    [() => promotionOf("order", at("canary", 1_000), "5%", SHARES), /5% is not ahead of it/],
    [() => promotionOf("order", at("new"), undefined, SHARES), /complete it/],
    [() => promotionOf("order", at("shadow"), "complete", SHARES), /not at new yet/],
    [() => promotionOf("order", at("shadow"), "ten", SHARES), /no stage and no share/],
    [() => promotionOf("order", at("shadow"), "0%", SHARES), /no stage and no share/],
    [() => promotionOf("order", at("shadow"), "0.001%", SHARES), /no stage and no share/],
    [() => rollbackOf("order", at("legacy"), undefined), /not behind it/],
    [() => rollbackOf("order", at("canary", 10), "20%"), /not behind it/],
    [() => rollbackOf("order", at("complete"), "new"), /no way back/],
    [() => completionOf("order", at("canary", 9_999)), /only new can be completed/],
  ])("is refused otherwise: %s", (call, message) => {
    expect(call).toThrowError(
      expect.objectContaining({ code: "USAGE", message: expect.stringMatching(message) }),
    );
  });
});
