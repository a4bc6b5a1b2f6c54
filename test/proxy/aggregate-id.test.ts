import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { inForm } from "../../src/proxy/aggregate-id.ts";
import { UNCLEAR } from "../../src/proxy/named-id.ts";
import { keyOfStream, streamId } from "../../src/mapping/stream-id.ts";
import { bucketOf } from "../../src/rollout/bucket.ts";
import { MovedStreams } from "../../src/rollout/moved-streams.ts";
import { budget } from "../support/random-budget.ts";

const SALT = "salt";

describe("an id in a request", () => {
  test("that is text has the bucket of its stream, whatever is in it", async () => {
    const rollout = { stage: "canary", share: 5_000, salt: SALT, epoch: 1 } as const;
    const moved = new MovedStreams({ read: () => Promise.resolve(new Map([["order", rollout]])) });
    await moved.refresh();
    const text = fc.oneof(
      fc.string({ minLength: 1, maxLength: 20 }),
      fc.string({ unit: fc.constantFrom(",", "\\", "a", "-", "0"), minLength: 1, maxLength: 8 }),
    );
    fc.assert(
      fc.property(text, (id) => {
        const key = inForm(id, "text") as string;
        const stream = streamId("order", key);
        expect(keyOfStream(stream)).toEqual([id]);
        expect(bucketOf(key, SALT)).toBe(moved.bucketOf(stream));
      }),
      budget(500),
    );
  });

  test("is taken in its form only, a key as it is", () => {
    expect(inForm("north,SKU-1", "key")).toBe("north,SKU-1");
    expect(inForm("north,SKU-1", "text")).toBe("north\\,SKU-1");
    expect(inForm("007", "integer")).toBe(UNCLEAR);
    expect(inForm("", "text")).toBe(UNCLEAR);
    const uuid = "AAAAAAAA-0000-4000-8000-000000000001";
    expect(inForm(uuid, "uuid")).toBe(uuid.toLowerCase());
    expect(inForm(undefined, "text")).toBeUndefined();
  });
});
