import { expect, test } from "vitest";
import { describeLag } from "../../src/cli/commands/status.ts";

test.each([
  [{ running: true, sourceReachable: true }, 2_048, 1.25, "2.0 KB, 1.3 s"],
  [{ running: false, sourceReachable: true }, 0, 0, "0 B, 0.0 s when it was last seen"],
  [{ running: false, sourceReachable: true }, 2_048, 0, "2.0 KB, 0.0 s when it was last seen"],
  [{ running: true, sourceReachable: false }, 2_048, 0, "2.0 KB (source not reachable), 0.0 s"],
])(
  "the lag of a pipeline that is %o is told for when it is known",
  (state, bytes, seconds, text) => {
    expect(describeLag({ ...state, lag: { bytes, seconds } })).toBe(text);
  },
);
