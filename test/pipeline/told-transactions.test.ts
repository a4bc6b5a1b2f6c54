import { expect, test } from "vitest";
import { ToldTransactions } from "../../src/pipeline/told-transactions.ts";

const never = new AbortController().signal;

/** A source that shows the transactions of `seen`, and all earlier ones once `isOver`. */
function source() {
  const state = { seen: new Set<string>(), isOver: true, looks: 0, marks: 0, isGone: false };
  return {
    state,
    seenNow: () => {
      state.looks += 1;
      return Promise.resolve([...state.seen].join());
    },
    visibility: (text: string) => {
      const all = new Set(text.split(","));
      return (transaction: string) => all.has(transaction);
    },
    markTransactions: () => {
      state.marks += 1;
      if (state.isGone) return Promise.reject(new Error("the source is away"));
      return Promise.resolve(() => Promise.resolve(state.isOver));
    },
  };
}

test("what earlier runs told is seen once all has ended that was open at the start, and is not asked for again", async () => {
  const from = source();
  from.state.isOver = false;
  const told = new ToldTransactions(from);
  expect(await told.areSeen(never)).toBe(false);
  expect(from.state.looks).toBe(0);
  from.state.isOver = true;
  expect(await told.areSeen(never)).toBe(true);
  from.state.isOver = false;
  expect(await told.areSeen(never)).toBe(true);
  expect(from.state.marks).toBe(1);
});

test("what was told is waited for a while, and each is looked for until it was seen once", async () => {
  const from = source();
  const told = new ToldTransactions(from);
  for (const transaction of ["1", "2", "3"]) told.note(transaction);
  from.state.seen = new Set(["1", "2"]);
  const startedMs = performance.now();
  expect(await told.areSeen(never)).toBe(false);
  expect(performance.now() - startedMs).toBeLessThan(5_000);
  const asked = told.areSeen(never);
  from.state.seen = new Set(["3"]);
  expect(await asked).toBe(true);
  told.note("4");
  await expect(told.areSeen(AbortSignal.abort(new Error("enough")))).rejects.toThrow(/abort/i);
});

test("a source that was away at the start is asked again", async () => {
  const from = source();
  from.state.isGone = true;
  const told = new ToldTransactions(from);
  await expect(told.areSeen(never)).rejects.toThrow("the source is away");
  from.state.isGone = false;
  await expect(told.areSeen(never)).rejects.toThrow("the source is away");
  expect(await told.areSeen(never)).toBe(true);
});
