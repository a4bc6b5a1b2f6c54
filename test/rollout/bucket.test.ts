import fc from "fast-check";
import { expect, test } from "vitest";
import { BUCKETS, bucketOf } from "../../src/rollout/bucket.ts";
import { sideOf } from "../../src/rollout/side.ts";

test("a bucket never changes: these were computed before", () => {
  expect(["1", "2", "order-1", "é", "", "x".repeat(600)].map((id) => bucketOf(id, "salt"))).toEqual(
    PINNED,
  );
});

const PINNED = [1896, 2824, 3817, 388, 3528, 9298];

test("every id has one, and the same each time", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.string(), (id, salt) => {
      const bucket = bucketOf(id, salt);
      expect(Number.isInteger(bucket) && bucket >= 0 && bucket < BUCKETS).toBe(true);
      expect(bucketOf(id, salt)).toBe(bucket);
    }),
  );
});

test("raising the share never moves an aggregate back", () => {
  fc.assert(
    fc.property(fc.string(), fc.nat(BUCKETS), fc.nat(BUCKETS), (id, one, other) => {
      const [less, more] = [Math.min(one, other), Math.max(one, other)];
      const bucket = bucketOf(id, "salt");
      const before = sideOf("canary", less, bucket, "write");
      expect([before, sideOf("canary", more, bucket, "write")]).not.toEqual(["new", "legacy"]);
    }),
  );
});

test("ids that follow one another fall into all buckets alike, and otherwise with another salt", () => {
  const counts = new Array<number>(100).fill(0);
  let same = 0;
  for (let id = 0; id < 100_000; id++) {
    const bucket = bucketOf(String(id), "salt");
    counts[Math.floor(bucket / 100)]!++;
    if (bucket === bucketOf(String(id), "pepper")) same++;
  }
  // A thousand each, give or take five standard deviations.
  expect(counts.filter((count) => Math.abs(count - 1_000) > 160)).toEqual([]);
  expect(same).toBeLessThan(50);
});
