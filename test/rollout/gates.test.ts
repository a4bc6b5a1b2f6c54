import { describe, expect, test } from "vitest";
import { parseConfig } from "../../src/config/load-config.ts";
import { stream, table } from "../../src/mapping/rules.ts";
import { alarmOf } from "../../src/rollout/alarm.ts";
import { NO_TRAFFIC, type GateFacts, type SideTraffic } from "../../src/rollout/gate-facts.ts";
import { GATES, gatesOf, judgeGates, sumUp, type GateName } from "../../src/rollout/gates.ts";
import { percentileMs } from "../../src/rollout/latency.ts";
import { LATENCY_BOUNDS_MS } from "../../src/rollout/traffic.ts";

const { rollout: SETTINGS } = parseConfig(
  {
    name: "shop",
    source: { kind: "postgres", url: "postgres://h/d" },
    streams: { order: stream(table("orders"), { otherwise: "OrderAmended" }) },
  },
  "/x/banyan.config.ts",
  {},
);

/** Requests that took at most so long each. */
function traffic(requests: number, errors: number, withinMs: number): SideTraffic {
  const slower = [...LATENCY_BOUNDS_MS, 0].map((bound) => (bound === withinMs ? requests : 0));
  return { requests, errors, slower };
}

const WELL: GateFacts = {
  standsSeconds: 60,
  parity: {
    state: "equal",
    conclusive: true,
    ageSeconds: 60,
    sweptSeconds: 86_400,
    openFindings: 0,
  },
  dual: { pass: 100, fail: 0, inconclusive: 3, waiting: 0 },
  shadow: { compared: 1_000, different: 1, uncompared: 10, dropped: 0 },
  moved: traffic(200, 0, 10),
  legacy: traffic(1_000, 1, 10),
  capture: { lagSeconds: 1, silentSeconds: 1 },
  quarantined: 0,
  reverse: { lagSeconds: 1, silentSeconds: 1 },
  reverseConflicts: 0,
  proxies: 2,
};

function judge(gate: GateName, facts: Partial<GateFacts>): { state: string; says: string } {
  const [answer] = judgeGates([gate], { ...WELL, ...facts }, SETTINGS.gates, []);
  return answer!;
}

const { parity: _p, capture: _c, reverse: _r, ...bare } = WELL;

describe("a gate", () => {
  test.each(GATES)("%s passes when all is well", (gate) => {
    expect(judge(gate, {})).toMatchObject({ state: "pass" });
  });

  test.each<[GateName, Partial<GateFacts>, string, RegExp]>([
    ["proxies", { proxies: 0 }, "fail", /start banyan proxy/],
    ["lag", { capture: { lagSeconds: 30.1, silentSeconds: 1 } }, "fail", /more than 30 s/],
    ["lag", { capture: { lagSeconds: 0, silentSeconds: 60 } }, "fail", /last seen 60 s ago/],
    [
      "lag",
      { capture: { lagSeconds: undefined, silentSeconds: 1 } },
      "inconclusive",
      /still reads/,
    ],
    ["quarantine", { quarantined: 1 }, "fail", /^1 aggregate waits;/],
    ["parity", { parity: { ...WELL.parity!, state: "different" } }, "fail", /another stream type/],
    ["parity", { parity: { ...WELL.parity!, openFindings: 1 } }, "fail", /1 open findings/],
    ["parity", { parity: { ...WELL.parity!, ageSeconds: 601 } }, "inconclusive", /10 min ago/],
    [
      "parity",
      { parity: { ...WELL.parity!, sweptSeconds: 90_001 } },
      "inconclusive",
      /everything was last compared 25 h ago, more than 24/,
    ],
    ["parity", { parity: { ...WELL.parity!, conclusive: false } }, "inconclusive", /not tell/],
    ["parity", { parity: { ...WELL.parity!, state: "inconclusive" } }, "inconclusive", /not tell/],
    [
      "dual",
      { dual: { ...WELL.dual, pass: 58 } },
      "inconclusive",
      /^waiting for 42 more judged writes/,
    ],
    ["dual", { dual: { ...WELL.dual, pass: 9, fail: 1 } }, "fail", /1 not/],
    [
      "dual",
      { dual: { pass: 0, fail: 0, inconclusive: 10_000, waiting: 0 } },
      "inconclusive",
      /100 more/,
    ],
    [
      "shadow",
      { shadow: { ...WELL.shadow, compared: 99, different: 0 } },
      "inconclusive",
      /1 more/,
    ],
    ["shadow", { shadow: { ...WELL.shadow, different: 2 } }, "fail", /99.9% must be/],
    ["errors", { moved: traffic(200, 3, 10) }, "fail", /1.50% errors of 200/],
    ["errors", { moved: traffic(200, 3, 10), legacy: traffic(1_000, 10, 10) }, "pass", /errors/],
    ["errors", { moved: traffic(199, 199, 10) }, "inconclusive", /waiting for 1 more requests/],
    ["latency", { moved: traffic(200, 0, 500) }, "fail", /within 500 ms, of legacy's within 10 ms/],
    [
      "latency",
      { moved: traffic(200, 0, 0) },
      "fail",
      /^95% of moved requests in more than 5000 ms/,
    ],
    ["latency", { moved: traffic(200, 0, 200) }, "pass", /within 200 ms/],
    ["latency", { legacy: NO_TRAFFIC }, "inconclusive", /200 more requests to legacy/],
    ["reverse", { reverseConflicts: 2 }, "fail", /2 aggregates wait in a conflict/],
    ["reverse", { reverse: { lagSeconds: 31, silentSeconds: 0 } }, "fail", /more than 30 s/],
    ["reverse", { reverse: { lagSeconds: 0, silentSeconds: 16 } }, "fail", /last seen 16 s ago/],
  ])("%s to %j says %s", (gate, facts, state, says) => {
    expect(judge(gate, facts)).toMatchObject({ state, says: expect.stringMatching(says) });
  });

  test("is never passed by what was never measured", () => {
    const nothing: GateFacts = {
      ...bare,
      dual: { pass: 0, fail: 0, inconclusive: 0, waiting: 0 },
      shadow: { compared: 0, different: 0, uncompared: 0, dropped: 0 },
      moved: NO_TRAFFIC,
      legacy: NO_TRAFFIC,
      proxies: 0,
    };
    const answers = judgeGates(GATES, nothing, SETTINGS.gates, []);
    expect(answers.filter(({ state }) => state === "pass").map(({ gate }) => gate)).toEqual([
      "quarantine",
    ]);
    // No traffic is no failure either.
    for (const gate of ["dual", "shadow", "errors", "latency"])
      expect(answers.find((a) => a.gate === gate)).toMatchObject({ state: "inconclusive" });
  });

  test("that waits in vain for a day says what else can be done", () => {
    const facts = { ...WELL, standsSeconds: 90_001, dual: { ...WELL.dual, pass: 0 } };
    const [answer] = judgeGates(["dual"], facts, SETTINGS.gates, []);
    expect(answer).toMatchObject({
      state: "inconclusive",
      says: expect.stringContaining(
        "it has been so for 25 h: send traffic, or pass over it with --force dual",
      ),
    });
  });

  test("that is passed over by name counts no more, and only that one", () => {
    const facts = { ...WELL, quarantined: 1, proxies: 0 };
    const answers = judgeGates(GATES, facts, SETTINGS.gates, ["proxies"]);
    expect(sumUp(answers)).toBe("fail");
    expect(sumUp(judgeGates(GATES, facts, SETTINGS.gates, ["proxies", "quarantine"]))).toBe("pass");
    expect(answers.find(({ gate }) => gate === "proxies")).toMatchObject({
      state: "fail",
      forced: true,
    });
  });

  test("is asked where it can tell something", () => {
    const at = (stage: "legacy" | "shadow" | "canary" | "new", share = 0) => ({ stage, share });
    expect(gatesOf("promote", at("legacy"), at("shadow"))).toEqual(["proxies", "lag"]);
    expect(gatesOf("promote", at("shadow"), at("canary", 1))).toContain("dual");
    expect(gatesOf("promote", at("shadow"), at("canary", 1))).not.toContain("errors");
    expect(gatesOf("promote", at("canary", 1), at("new", 10_000))).toContain("errors");
    expect(gatesOf("rollback", at("new", 10_000), at("shadow"))).toEqual(["reverse"]);
    expect(gatesOf("rollback", at("shadow"), at("legacy"))).toEqual([]);
  });
});

describe("an alarm", () => {
  const CANARY = { stage: "canary", share: 100 } as const;
  const of = (facts: Partial<GateFacts>, standing: Parameters<typeof alarmOf>[0] = CANARY) =>
    alarmOf(standing, { ...WELL, ...facts }, SETTINGS.alarms);

  test("is not raised when all is well, by too few requests, or where nothing has moved", () => {
    expect(of({})).toBeUndefined();
    expect(of({ moved: traffic(199, 199, 10) })).toBeUndefined();
    expect(of({ moved: traffic(200, 200, 10) }, { stage: "shadow", share: 0 })).toBeUndefined();
    expect(
      of({ moved: traffic(200, 200, 10) }, { stage: "complete", share: 10_000 }),
    ).toBeUndefined();
    expect(of({ moved: NO_TRAFFIC, legacy: NO_TRAFFIC })).toBeUndefined();
  });

  test.each<[Partial<GateFacts>, string, boolean]>([
    [{ moved: traffic(200, 10, 10) }, "errors", true],
    [{ moved: traffic(20_000, 300, 10) }, "errors", true],
    [{ moved: traffic(200, 0, 1_000) }, "latency", true],
    [{ shadow: { compared: 200, different: 3, uncompared: 0, dropped: 0 } }, "different", true],
    [{ reverseConflicts: 1 }, "conflict", false],
  ])("to %j is %s", (facts, name, goesBack) => {
    expect(of(facts)).toMatchObject({ name, goesBack });
  });

  test("is not raised by what may be chance, whatever the rate of so few is", () => {
    expect(of({ moved: traffic(200, 6, 10) })).toBeUndefined();
    expect(of({ moved: traffic(2_000, 30, 10) })).toBeUndefined();
    expect(of({ moved: traffic(2_000, 40, 10) })).toMatchObject({ name: "errors" });
  });

  test("leaves alone what is as bad at legacy", () => {
    expect(of({ moved: traffic(200, 20, 10), legacy: traffic(1_000, 100, 10) })).toBeUndefined();
    expect(of({ moved: traffic(200, 0, 5_000), legacy: traffic(1_000, 0, 5_000) })).toBeUndefined();
  });
});

test("a percentile is the upper bound of where it lies", () => {
  expect(percentileMs([], 0.95)).toBeUndefined();
  expect(percentileMs([0, 0], 0.95)).toBeUndefined();
  expect(percentileMs([95, 5], 0.95)).toBe(1);
  expect(percentileMs([94, 6], 0.95)).toBe(2);
  expect(percentileMs([...LATENCY_BOUNDS_MS.map(() => 0), 1], 0.5)).toBe(Number.POSITIVE_INFINITY);
});
