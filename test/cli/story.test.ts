import { expect, test } from "vitest";
import { tellEvent } from "../../src/cli/story.ts";
import type { RecordedEvent } from "../../src/model/event.ts";

const from = "0000000001B95B38/00000000";
const to = "00000000020CB5B0/00000000";

function gap(isGone: boolean, rows: Record<string, unknown>): string {
  return tellEvent({
    version: 3,
    time: "2026-11-30T01:49:22.150000Z",
    type: "OrderHistoryGapped",
    origin: "baseline",
    data: { $gap: { from, to, reason: "asked for", isGone }, $continues: true, ...rows },
  } as never as RecordedEvent);
}

test("a gap says in full from where to where history is not known, why, and the rows behind it", () => {
  expect(gap(false, { id: "7", note: null })).toBe(
    [
      "   3  2026-11-30 01:49:22.150  OrderHistoryGapped  [baseline]",
      `        not known: what happened from ${from} to ${to}`,
      "        reason: asked for",
      "        id: 7",
    ].join("\n"),
  );
  expect(gap(true, {})).toContain("it was gone at the end of that");
});
