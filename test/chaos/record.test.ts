import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readRecord, recordOf } from "./record.ts";

test("a recorded round is planned as it was done: what began, when it began", () => {
  const folder = mkdtempSync(join(tmpdir(), "chaos-record-"));
  try {
    const file = join(folder, "round.json");
    const settings = { seed: 7, minutes: 0.5, only: ["clock jump", "source crash"] };
    const counts = { transactions: 1, changes: 2, told: 2, events: 3, compared: 4, starts: 1 };
    const record = recordOf(settings, {
      ...counts,
      problems: ["something"],
      endings: new Map([["SIGKILL", 2]]),
      retries: new Map(),
      faults: [
        { part: "tail", name: "clock jump", seed: 3, startedMs: 900, did: true, text: "by 1 s" },
        { part: "tail", name: "source crash", seed: 4, startedMs: 20, did: false, text: "no" },
        { part: "tail", name: "source crash", seed: 5, did: false, text: "the round was over" },
        { part: "baseline", name: "clock jump", seed: 6, startedMs: 300, did: true, text: "" },
      ],
    });
    writeFileSync(file, record);
    expect(readRecord(file)).toEqual({
      ...settings,
      plan: [
        { part: "tail", name: "source crash", seed: 4, atMs: 20 },
        { part: "baseline", name: "clock jump", seed: 6, atMs: 300 },
        { part: "tail", name: "clock jump", seed: 3, atMs: 900 },
      ],
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
