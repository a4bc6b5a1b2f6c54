import { expect, test } from "vitest";
import { ChunkFrontier } from "../../src/pipeline/chunk-frontier.ts";
import { Frontiers } from "../../src/pipeline/frontiers.ts";
import { RebaselinePace } from "../../src/pipeline/rebaseline-pace.ts";
import type { RebaselinePage } from "../../src/pipeline/rebaseline-streams.ts";

const page = (more: Partial<RebaselinePage> = {}): RebaselinePage => ({
  after: undefined,
  deferred: [],
  isLeft: false,
  isUnseen: false,
  ...more,
});

test("nothing is due until something was asked for, and again when all pages were passed", () => {
  const pace = new RebaselinePace(new Frontiers());
  expect(pace.due(true)).toBeUndefined();
  pace.asked();
  expect(pace.due(false)).toBe("0");
  pace.passed(page({ after: "200" }), performance.now());
  expect(pace.due(true)).toBe("200");
  pace.passed(page(), performance.now());
  expect(pace.due(true)).toBeUndefined();
});

test("the log gets as much time as a page took, unless it has nothing to tell", () => {
  const pace = new RebaselinePace(new Frontiers());
  pace.asked();
  pace.passed(page({ after: "200" }), performance.now() - 60_000);
  expect(pace.due(false)).toBeUndefined();
  expect(pace.due(true)).toBe("200");
});

test("a source that does not yet show all that was told is left alone for a while, however idle", () => {
  const pace = new RebaselinePace(new Frontiers());
  pace.asked();
  pace.passed(page({ after: "0", isUnseen: true }), performance.now());
  expect([pace.due(true), pace.due(false)]).toEqual([undefined, undefined]);
});

test("streams that wait for the baseline of their type are due when that is done, and not before", () => {
  const frontiers = new Frontiers();
  frontiers.set("order", new ChunkFrontier(["integer"], "none"));
  const pace = new RebaselinePace(frontiers);
  pace.asked();
  pace.passed(page({ deferred: ["order"] }), performance.now());
  expect(pace.due(true)).toBeUndefined();
  const last = { end: undefined, sees: () => true, fence: "F" };
  frontiers.set("order", new ChunkFrontier(["integer"], "none", [last]));
  expect(pace.due(true)).toBe("0");
  pace.passed(page(), performance.now());
  expect(pace.due(true)).toBeUndefined();
});
