import { expect, test } from "vitest";
import { explore, told, type Model } from "./explore.ts";

/** Two counters that go up one at a time. */
const counters = (max: number, isBroken: (a: number, b: number) => boolean): Model<number[]> => ({
  initial: [0, 0],
  steps: ([a, b]) => [
    ...(a! < max ? [{ name: "a", next: [a! + 1, b!] }] : []),
    ...(b! < max ? [{ name: "b", next: [a!, b! + 1] }] : []),
  ],
  broken: ([a, b], isStuck) => (isBroken(a!, b!) || (isStuck && a !== max) ? "broken" : undefined),
});

test("every state is visited once", async () => {
  const { states, depth, counterexample } = await explore(
    counters(4, () => false),
    25,
  );
  expect({ states, depth, counterexample }).toEqual({
    states: 25,
    depth: 8,
    counterexample: undefined,
  });
});

test("the way to a broken state is a shortest one, in words", async () => {
  const { counterexample } = await explore(
    counters(4, (a, b) => a + b > 2 && b === 1),
    25,
  );
  expect(counterexample?.trace.toSorted()).toEqual(["a", "a", "b"]);
  expect(told(counterexample!)).toMatch(/^ {3}1\. a\n/);
  expect(told(counterexample!)).toMatch(/=> broken$/);
});

test("a state in which nothing can happen is told apart", async () => {
  const model = { ...counters(4, () => false), steps: () => [] };
  expect((await explore(model, 25)).counterexample).toEqual({ broken: "broken", trace: [] });
});

test("what cannot be explored to its end is an error", async () => {
  const exploration = explore(
    counters(4, () => false),
    24,
  );
  await expect(exploration).rejects.toThrow("more than 24 states");
});
