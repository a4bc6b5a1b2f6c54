import { expect, test } from "vitest";
import { UnderWay } from "../../src/rollout/under-way.ts";

function setUp() {
  let nowMs = 0;
  const ended: string[] = [];
  const underWay = new UnderWay({
    unknownMs: 5_000,
    now: () => nowMs,
    onEnd: (type) => ended.push(type),
  });
  return { underWay, ended, pass: (ms: number) => (nowMs += ms) };
}

test("the oldest epoch counts until all that was decided on it has ended", () => {
  const { underWay, ended } = setUp();
  expect(underWay.oldest("order")).toBeUndefined();
  const first = underWay.begin("order", 3);
  const second = underWay.begin("order", 3);
  const later = underWay.begin("order", 5);
  const other = underWay.begin("basket", 1);
  expect([underWay.oldest("order"), underWay.oldest("basket")]).toEqual([3, 1]);
  first(true);
  // However often it is told.
  first(true);
  first(false);
  expect(underWay.oldest("order")).toBe(3);
  expect(ended).toEqual([]);
  second(true);
  expect(underWay.oldest("order")).toBe(5);
  later(true);
  expect([underWay.oldest("order"), underWay.oldest("basket")]).toEqual([undefined, 1]);
  other(true);
  expect([ended, underWay.count]).toEqual([["order", "order", "basket"], 0]);
});

test("one of unknown outcome counts until its answer would have been due, and a second at least", () => {
  const { underWay, ended, pass } = setUp();
  const early = underWay.begin("order", 3);
  pass(1_000);
  early(false);
  pass(3_999);
  expect(underWay.oldest("order")).toBe(3);
  pass(1);
  expect(underWay.oldest("order")).toBeUndefined();
  const late = underWay.begin("order", 4);
  pass(60_000);
  late(false);
  pass(999);
  expect(underWay.oldest("order")).toBe(4);
  pass(1);
  expect([underWay.oldest("order"), ended]).toEqual([undefined, []]);
});

test("a known end does not shorten what another left unknown", () => {
  const { underWay, pass } = setUp();
  const one = underWay.begin("order", 3);
  const two = underWay.begin("order", 3);
  one(false);
  two(true);
  pass(4_999);
  expect(underWay.oldest("order")).toBe(3);
  pass(1);
  underWay.begin("order", 3)(true);
  expect(underWay.oldest("order")).toBeUndefined();
});
