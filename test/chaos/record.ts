import { readFileSync } from "node:fs";
import { z } from "zod";
import type { RoundReport } from "./round.ts";
import type { PlannedFault } from "./schedule.ts";

/** What makes a round, but for its faults. */
interface RoundSettings {
  readonly seed: number;
  readonly minutes: number;
  readonly only: readonly string[];
}

const RECORD = z.object({
  seed: z.int().min(0),
  minutes: z.number().positive(),
  only: z.array(z.string()),
  faults: z.array(
    z.object({
      part: z.enum(["baseline", "tail"]),
      name: z.string(),
      seed: z.int().min(0),
      /** Since the beginning of its part; absent for what did not begin. */
      startedMs: z.number().min(0).optional(),
      did: z.boolean(),
      text: z.string(),
    }),
  ),
  /** Ends of captures, by signal or code. */
  endings: z.record(z.string(), z.number()),
});

/** What a round did, for people and for `--replay`. */
export function recordOf(settings: RoundSettings, report: RoundReport): string {
  const { faults, endings, problems, transactions, changes, told, events, compared } = report;
  const record = {
    ...settings,
    ...{ problems, transactions, changes, told, events, compared },
    endings: Object.fromEntries(endings),
    faults,
  };
  return `${JSON.stringify(record, undefined, 2)}\n`;
}

/** A round that is to be done again: the same world, and each fault when it really began. */
export function readRecord(
  file: string,
): RoundSettings & { readonly plan: readonly PlannedFault[] } {
  const { seed, minutes, only, faults } = RECORD.parse(JSON.parse(readFileSync(file, "utf8")));
  const plan = faults
    .flatMap(({ part, name, seed: own, startedMs }) =>
      startedMs === undefined ? [] : [{ part, name, seed: own, atMs: startedMs }],
    )
    .toSorted((a, b) => a.atMs - b.atMs);
  return { seed, minutes, only, plan };
}
