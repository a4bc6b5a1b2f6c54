import { appendFileSync } from "node:fs";

/** Every place where a crash test may end the process. The order is the order of a run. */
export const FAILPOINTS = [
  "store-migrating",
  "capture-taken-over",
  "baseline-slot-removed",
  "baseline-slot-created",
  "baseline-first-stage",
  "baseline-middle",
  "baseline-before-commit",
  "baseline-after-commit",
  "chunk-opened",
  "chunk-staged",
  "chunk-before-commit",
  "chunk-after-commit",
  "rebaseline-slot-created",
  "rebaseline-before-commit",
  "rebaseline-after-commit",
  "rebaseline-images-forgotten",
  "tail-first-part",
  "batch-mapped",
  "batch-staged",
  "batch-before-commit",
  "batch-commit-sent",
  "batch-after-commit",
  "batch-after-acknowledge",
  "large-spilled",
  "large-merging",
  "truncate-staged",
  "idle-before-commit",
  "idle-after-commit",
  "quarantine-before-release",
  "reverse-taken-over",
  "reverse-announced",
  "reverse-rows-written",
  "reverse-before-commit",
  "reverse-after-commit",
  "reverse-before-progress",
  "reverse-after-progress",
  "reverse-ids-taken",
] as const;

/** Likewise of a move of a stream type: the state that it has just come to. */
export const MOVE_FAILPOINTS = [
  "move-begun",
  "move-held",
  "move-acknowledged",
  "move-fenced",
  "move-applied",
  "move-equal",
  "move-drained",
  "move-switched",
  "move-settled",
  "move-turned",
  "move-known",
  "move-returning",
  "move-undoing",
] as const;

export type Failpoint = (typeof FAILPOINTS)[number] | (typeof MOVE_FAILPOINTS)[number];

const [wantedName, wantedCount, wantedAct] = (process.env["BANYAN_FAILPOINT"] ?? "").split(":");
let left = Number(wantedCount ?? "1");

/**
 * Ends the process as SIGKILL would, if `BANYAN_FAILPOINT=<name>[:<n>]` asks for the `n`-th passing of
 * this point; with `<name>:<n>:stop` it is stopped instead, until SIGCONT, as a suspended machine
 * would be. Does nothing otherwise. `BANYAN_FAILPOINT_LOG` names a file that is told of it first.
 */
export function failpoint(name: Failpoint): void {
  if (name !== wantedName) return;
  left -= 1;
  if (left !== 0) return;
  const log = process.env["BANYAN_FAILPOINT_LOG"];
  if (log !== undefined) appendFileSync(log, `${name}\n`);
  process.kill(process.pid, wantedAct === "stop" ? "SIGSTOP" : "SIGKILL");
}
