import type { Parameters } from "fast-check";

const NIGHTLY_TIMES = 25;

/**
 * How often a property is tried: `runs` times, 25 times as often with BANYAN_TEST_BUDGET=nightly, and
 * from the seed of BANYAN_TEST_SEED where that is given (a failure prints its seed).
 */
export function budget<T>(runs: number): Parameters<T> {
  const seed = process.env["BANYAN_TEST_SEED"];
  const nightly = process.env["BANYAN_TEST_BUDGET"] === "nightly";
  return {
    numRuns: nightly ? runs * NIGHTLY_TIMES : runs,
    ...(seed === undefined || seed === "" ? {} : { seed: Number(seed) }),
  };
}

/**
 * How long what goes on at random goes on, in seconds: with BANYAN_TEST_BUDGET=nightly so much longer, and
 * as long as BANYAN_TEST_SECONDS says where that is given.
 */
export function budgetSeconds(usual: number, nightly: number): number {
  const wanted = process.env["BANYAN_TEST_SECONDS"];
  if (wanted !== undefined && wanted !== "") return Number(wanted);
  return process.env["BANYAN_TEST_BUDGET"] === "nightly" ? nightly : usual;
}
