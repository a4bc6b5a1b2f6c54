import { describe, expect, test } from "vitest";
import { MemoryRolloutState } from "../../connectors/memory/rollout-state.ts";
import { bucketOf } from "../../src/rollout/bucket.ts";
import { MovedStreams } from "../../src/rollout/moved-streams.ts";
import { STAGES, type Stage } from "../../src/rollout/stage.ts";

const SALT = "s";
const SHARE = 5_000;
const IDS = Array.from({ length: 50 }, (_, i) => String(i));

function setUp() {
  const state = new MemoryRolloutState();
  const put = (stage: Stage, epoch = 1): void =>
    state.put("order", { stage, share: SHARE, salt: SALT, epoch });
  return { state, put, moved: new MovedStreams(state) };
}

describe("which aggregates have moved", () => {
  test.each(STAGES)("follows stage and share, at %s", async (stage) => {
    const { put, moved } = setUp();
    put(stage);
    await moved.refresh();
    const expected = IDS.filter((id) => {
      if (stage === "canary") return bucketOf(id, SALT) < SHARE;
      return stage === "new" || stage === "complete";
    });
    expect(IDS.filter((id) => moved.isMoved(`order-${id}`))).toEqual(expected);
    expect(moved.hasMoved).toBe(expected.length > 0);
    expect(moved.isMoved("customer-1")).toBe(false);
    expect(moved.bucketOf("order-a-b")).toBe(bucketOf("a-b", SALT));
    expect(moved.bucketOf("customer-1")).toBeUndefined();
  });

  test("is nothing before anything is known, and an older epoch changes nothing", async () => {
    const { put, moved } = setUp();
    expect({ ...pick(moved) }).toEqual({ hasBegun: false, hasMoved: false });
    put("new", 5);
    await moved.refresh();
    put("legacy", 4);
    await moved.refresh();
    expect(moved.isMoved("order-1")).toBe(true);
    put("legacy", 6);
    await moved.refresh();
    expect({ ...pick(moved) }).toEqual({ hasBegun: true, hasMoved: false });
  });

  test("is learnt within moments while it is watched, and a state that cannot be read for moments ends nothing", async () => {
    const { state, put, moved } = setUp();
    const stop = new AbortController();
    const running = moved.run(stop.signal);
    state.unreachable = true;
    await expect(moved.refresh()).rejects.toMatchObject({ code: "STORE_UNREACHABLE" });
    put("new");
    await new Promise((resolve) => setTimeout(resolve, 250));
    state.unreachable = false;
    await expect.poll(() => moved.isMoved("order-1"), { timeout: 30_000 }).toBe(true);
    stop.abort();
    await running;
  });
});

function pick({ hasBegun, hasMoved }: MovedStreams) {
  return { hasBegun, hasMoved };
}
