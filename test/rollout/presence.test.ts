import { expect, test } from "vitest";
import { MemoryRolloutState } from "../../connectors/memory/rollout-state.ts";
import { Presence } from "../../src/rollout/presence.ts";
import { RolloutWatch } from "../../src/rollout/rollout-watch.ts";
import type { Rollout } from "../../src/rollout/stage.ts";
import { UnderWay } from "../../src/rollout/under-way.ts";
import { RunningTime, until } from "../proxy/proxy-support.ts";

const PROXY = { instance: "one", place: "here" };

function setUp() {
  const state = new MemoryRolloutState();
  let nowMs = 100_000;
  const now = (): number => nowMs;
  const problems: (string | undefined)[] = [];
  const underWay = new UnderWay({ unknownMs: 100, now, onEnd: (type) => presence.ask(type) });
  const watch = new RolloutWatch({
    state,
    now,
    isHeard: () => presence.isHeard,
    onChange: (type) => presence.ask(type),
  });
  const presence: Presence = new Presence({
    state,
    proxy: PROXY,
    types: ["order", "basket"],
    watch,
    underWay,
    now,
    onProblem: (problem) => problems.push(problem),
  });
  const said = (): [string, number][] => [...(state.acknowledged("one") ?? [])];
  return { state, watch, underWay, presence, problems, said, pass: (ms: number) => (nowMs += ms) };
}

function rollout(epoch: number): Rollout {
  return { stage: "canary", share: 100, salt: "s", epoch };
}

test("an epoch is acknowledged when nothing that was decided on an earlier one is under way", async () => {
  const { state, watch, underWay, presence, said } = setUp();
  await presence.say();
  expect(said()).toEqual([
    ["order", 0],
    ["basket", 0],
  ]);
  state.put("order", rollout(4));
  await watch.refresh();
  const end = underWay.begin("order", 4);
  await presence.say();
  expect(said()).toEqual([
    ["order", 4],
    ["basket", 0],
  ]);
  state.put("order", rollout(6));
  state.put("basket", rollout(2));
  await watch.refresh();
  underWay.begin("order", 6);
  await presence.say();
  expect(said()).toEqual([
    ["order", 4],
    ["basket", 2],
  ]);
  end(true);
  await presence.say();
  expect(said()).toEqual([
    ["order", 6],
    ["basket", 2],
  ]);
});

test("it is said at once when the last of them ends, or the time of one of unknown outcome is over", async () => {
  const { state, watch, underWay, presence, said, pass } = setUp();
  const stop = new AbortController();
  state.put("order", rollout(1));
  await presence.say();
  await watch.refresh();
  const running = presence.run(stop.signal);
  await until("the first is said", () => said()[0]![1] === 1);
  const end = underWay.begin("order", 1);
  state.put("order", rollout(2));
  await watch.refresh();
  const lost = underWay.begin("order", 2);
  end(true);
  using time = new RunningTime();
  await until("the second is said", () => said()[0]![1] === 2);
  expect(time.ms).toBeLessThan(500);
  state.put("order", rollout(3));
  await watch.refresh();
  lost(false);
  pass(999);
  await new Promise((done) => setTimeout(done, 120));
  expect(said()[0]![1]).toBe(2);
  pass(1);
  await until("the third is said", () => said()[0]![1] === 3);
  stop.abort();
  await running;
});

test("what a proxy decides by is said at once, whatever is under way", async () => {
  const { state, watch, underWay, presence, said } = setUp();
  const stop = new AbortController();
  state.put("order", rollout(1));
  await presence.say();
  await watch.refresh();
  const running = presence.run(stop.signal);
  const end = underWay.begin("order", 1);
  state.put("order", rollout(5));
  await watch.refresh();
  using time = new RunningTime();
  await until("it is said", () => state.knows("one")?.get("order") === 5);
  expect(time.ms).toBeLessThan(500);
  expect(said()[0]).toEqual(["order", 1]);
  end(true);
  await until("its writes have ended", () => said()[0]![1] === 5);
  stop.abort();
  await running;
});

test("what is read counts only while moves know of the proxy", async () => {
  const { state, watch, presence, problems, pass } = setUp();
  state.put("order", rollout(1));
  await watch.refresh();
  // It has not said yet that it is there.
  expect(watch.of("order")).toBeUndefined();
  await presence.say();
  await watch.refresh();
  expect(watch.of("order")?.epoch).toBe(1);
  const acknowledge = state.acknowledge.bind(state);
  state.acknowledge = () => Promise.reject(new Error("no room"));
  pass(4_001);
  await presence.say();
  await watch.refresh();
  // What was read before holds for ten seconds, as if the store had not been read since.
  expect(watch.of("order")).toBeDefined();
  pass(6_000);
  await watch.refresh();
  expect(watch.of("order")).toBeUndefined();
  state.acknowledge = acknowledge;
  await presence.say();
  await watch.refresh();
  expect(watch.of("order")).toBeDefined();
  expect(problems).toEqual(["no room", undefined]);
});

test("it leaves when nothing is under way, and stays when something is", async () => {
  const { state, underWay, presence } = setUp();
  await presence.say();
  const end = underWay.begin("order", 0);
  await presence.leave();
  expect(state.proxies).toEqual(["one"]);
  end(true);
  state.unreachable = true;
  await presence.leave();
  state.unreachable = false;
  expect(state.proxies).toEqual(["one"]);
  await presence.leave();
  expect(state.proxies).toEqual([]);
});
