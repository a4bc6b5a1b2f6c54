import { describe, expect, test } from "vitest";
import {
  BOTH,
  isNightly,
  NAMES,
  SIZE,
  tryAll,
  type Identity,
  type Name,
} from "./handover-sizes.ts";

/** Of histories that are about something else than what the log carries of old rows. */
const IDENTITIES: Partial<Record<Name, readonly Identity[]>> = {
  "an aggregate is read anew": ["full"],
  "a child moves to an aggregate that is read anew": ["default"],
  "the source crashes": ["full"],
  "the source crashes while an aggregate is read anew": ["full"],
  "a table joins": ["default"],
  "a table joins an aggregate that is read anew": ["full"],
};

describe.each(["chunks", "exported"] as const)("a baseline by %s", (baseline) => {
  // What else is done meanwhile is done beside chunks.
  const names = baseline === "chunks" ? NAMES : NAMES.filter((name) => !(name in IDENTITIES));
  describe.each(names)("while %s", (name) => {
    test.each(isNightly ? BOTH : (IDENTITIES[name] ?? BOTH))(
      `neither loses nor repeats a change in any order of steps and ${SIZE.mishapsMax} mishaps, replica identity %s`,
      { timeout: 600_000 },
      async (identity) => {
        expect(await tryAll(baseline, name, identity)).toBeUndefined();
      },
    );
  });
});
