import { describe, expect, test } from "vitest";
import { sideOf } from "../../src/rollout/side.ts";
import { STAGES } from "../../src/rollout/stage.ts";

const KINDS = ["read", "write", "create"] as const;
/** Below, on the edge of, and above a share of 100; and none. */
const BUCKETS_TRIED = [0, 99, 100, 9_999, undefined] as const;

/* The rule, written out: per stage a line for each kind, in the order of the buckets above. */
const L = "legacy";
const N = "new";
const U = "undecided";
const RULE: Readonly<
  Record<(typeof STAGES)[number], Readonly<Record<(typeof KINDS)[number], readonly string[]>>>
> = {
  legacy: { read: [L, L, L, L, L], write: [L, L, L, L, L], create: [L, L, L, L, L] },
  shadow: { read: [L, L, L, L, L], write: [L, L, L, L, L], create: [L, L, L, L, L] },
  canary: { read: [N, N, L, L, L], write: [N, N, L, L, U], create: [N, N, L, L, L] },
  new: { read: [N, N, N, N, N], write: [N, N, N, N, N], create: [N, N, N, N, N] },
  complete: { read: [N, N, N, N, N], write: [N, N, N, N, N], create: [N, N, N, N, N] },
};

describe.each(STAGES)("at %s", (stage) => {
  test.each(KINDS)("a %s goes where the table says", (kind) => {
    expect(BUCKETS_TRIED.map((bucket) => sideOf(stage, 100, bucket, kind))).toEqual(
      RULE[stage][kind],
    );
  });
});

test("a creation without an id goes to new at canary when what was drawn is below the share", () => {
  for (const stage of STAGES)
    for (const drawn of [0, 99, 100, 9_999]) {
      const byChance = drawn < 100 ? "new" : "legacy";
      const kept = stage === "canary" ? byChance : sideOf(stage, 100, undefined, "create");
      expect(sideOf(stage, 100, undefined, "create", drawn)).toBe(kept);
      expect(sideOf(stage, 100, 9_999, "create", drawn)).toBe(sideOf(stage, 100, 9_999, "create"));
      expect(sideOf(stage, 100, undefined, "read", drawn)).toBe(
        sideOf(stage, 100, undefined, "read"),
      );
      expect(sideOf(stage, 100, undefined, "write", drawn)).toBe(
        sideOf(stage, 100, undefined, "write"),
      );
    }
});

test("with no share nothing has moved, with all of it everything", () => {
  for (const kind of KINDS)
    for (const bucket of [0, 5_000, 9_999]) {
      expect(sideOf("canary", 0, bucket, kind)).toBe("legacy");
      expect(sideOf("canary", 10_000, bucket, kind)).toBe("new");
    }
});

test("a read and a write of one aggregate never part", () => {
  for (const stage of STAGES)
    for (let bucket = 0; bucket < 10_000; bucket += 7)
      expect(sideOf(stage, 4_321, bucket, "read")).toBe(sideOf(stage, 4_321, bucket, "write"));
});
