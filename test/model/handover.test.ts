import { describe, expect, test } from "vitest";
import { BOTH, namesOf, SIZE, tryAll } from "./handover-sizes.ts";

describe.each(["chunks", "exported"] as const)("a baseline by %s", (baseline) => {
  describe.each(namesOf(false))("while %s", (name) => {
    test.each(BOTH)(
      `neither loses nor repeats a change in any order of steps and ${SIZE.mishapsMax} mishaps, replica identity %s`,
      { timeout: 600_000 },
      async (identity) => {
        expect(await tryAll(baseline, name, identity)).toBeUndefined();
      },
    );
  });
});
