import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { linearize, type Operation, type SequentialModel } from "./linearizable.ts";

interface Input {
  readonly write?: number;
}

const register: SequentialModel<number, Input, number> = {
  initial: 0,
  step: (state, { write }) => ({ state: write ?? state, output: write ?? state }),
  agrees: (given, expected) => given === expected,
  keyOf: String,
};

function read(value: number | undefined, calledAtMs: number, returnedAtMs: number) {
  return { input: {}, output: value, calledAtMs, returnedAtMs };
}

function write(value: number, calledAtMs: number, returnedAtMs = Number.POSITIVE_INFINITY) {
  const output = returnedAtMs === Number.POSITIVE_INFINITY ? undefined : value;
  return { input: { write: value }, output, calledAtMs, returnedAtMs };
}

function isLinearizable(...history: Operation<Input, number>[]): boolean {
  return linearize(history, register).isLinearizable;
}

describe("a history of a register", () => {
  test("may show what was written at once or later, as long as the write is under way", () => {
    expect(isLinearizable(write(1, 0, 10), read(0, 1, 5), read(1, 6, 9))).toBe(true);
    expect(isLinearizable(write(1, 0, 10), read(1, 1, 5), read(1, 6, 9))).toBe(true);
  });

  test("does not go back, and does not forget what was acknowledged", () => {
    expect(isLinearizable(write(1, 0, 10), read(1, 1, 5), read(0, 6, 9))).toBe(false);
    expect(isLinearizable(write(1, 0, 10), read(0, 11, 12))).toBe(false);
    expect(isLinearizable(write(1, 0, 1), write(2, 2, 3), read(1, 4, 5))).toBe(false);
  });

  test("may have a write without an answer take place late or never, but not twice", () => {
    expect(isLinearizable(write(1, 0), read(0, 5, 6))).toBe(true);
    expect(isLinearizable(write(1, 0), read(0, 5, 6), read(1, 7, 8))).toBe(true);
    expect(isLinearizable(write(1, 0), read(1, 5, 6), write(2, 7, 8), read(1, 9, 10))).toBe(false);
  });

  test("that came from one order is linearizable, and with one answer of nowhere it is not", () => {
    const step = fc.record({
      value: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
      before: fc.integer({ min: 0, max: 3 }),
      after: fc.integer({ min: 0, max: 3 }),
      isAnswered: fc.boolean(),
    });
    const histories = fc.array(step, { minLength: 1, maxLength: 25 });
    fc.assert(
      fc.property(histories, fc.nat(), (steps, place) => {
        let state = 0;
        const history = steps.map(
          ({ value, before, after, isAnswered }, at): Operation<Input, number> => {
            if (value !== undefined) state = value;
            const isKnown = isAnswered || value === undefined;
            return {
              input: value === undefined ? {} : { write: value },
              output: isKnown ? state : undefined,
              calledAtMs: at - before,
              returnedAtMs: isKnown ? at + after : Number.POSITIVE_INFINITY,
            };
          },
        );
        expect(isLinearizable(...history)).toBe(true);
        const wrong = read(9, place % steps.length, (place % steps.length) + 1);
        expect(isLinearizable(...history, wrong)).toBe(false);
      }),
    );
  });
});
