import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Failpoint } from "../../../src/runtime/failpoint.ts";
import { did, didNot, type Fault } from "../fault.ts";
import { between, oneOf, pause, seconds, type Random } from "../random.ts";
import type { World } from "../world.ts";
import { hugeTransaction } from "./huge-transaction.ts";
import { truncateTable } from "./truncate-table.ts";

const START_MS_MAX = 2_000;

/** SIGKILL, and the operator's restart some time later. */
export const killCapture: Fault = {
  name: "capture killed",
  needs: ["capture"],
  isEarly: true,
  async run({ captures }, random, signal) {
    const times = between(random, 1, 3);
    let killed = 0;
    await captures.one(START_MS_MAX);
    for (let time = 0; time < times; time++) {
      using _ = captures.hold();
      killed += await captures.kill();
      await pause(between(random, 0, 800), signal);
    }
    // A restart is killed again at some point of its start, too.
    const lifeMs = between(random, 50, 2_000);
    await pause(lifeMs, signal);
    killed += await captures.kill();
    if (killed === 0) return didNot("there was none");
    return did(`${killed} times, the last after ${seconds(lifeMs)}`);
  },
};

/** The points that a capture which follows the log passes in a round. */
const TAIL_POINTS = [
  "capture-taken-over",
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
] as const satisfies readonly Failpoint[];
/** Likewise one that reads rows, at first or of tables that join. */
const BASELINE_POINTS = {
  snapshot: [
    "capture-taken-over",
    "baseline-first-stage",
    "baseline-middle",
    "baseline-before-commit",
    "baseline-after-commit",
    "batch-commit-sent",
  ],
  chunked: [
    "capture-taken-over",
    "chunk-opened",
    "chunk-staged",
    "chunk-before-commit",
    "chunk-after-commit",
    "batch-staged",
    "batch-after-commit",
  ],
} as const satisfies Record<string, readonly Failpoint[]>;
const POLL_MS = 50;
const HIT_MS_MAX = 6_000;

/** A capture that kills itself at some point of its work, and another one after it. */
export const killCaptureAtPoint: Fault = {
  name: "capture killed at a point",
  needs: ["capture"],
  isEarly: true,
  async run(world, random, signal) {
    const told: string[] = [];
    let hits = 0;
    const times = between(random, 1, 2);
    for (let time = 0; time < times && !signal.aborted; time++) {
      const isTail = (await world.phase()) === "tail";
      const points = isTail ? TAIL_POINTS : BASELINE_POINTS[world.variant.baseline];
      const point = oneOf<Failpoint>(random, points);
      const passing = isOnce(point) ? 1 : between(random, 1, 6);
      const isHit = await killAt(world, point, passing, random, signal);
      if (isHit) hits += 1;
      told.push(`${point}:${passing}${isHit ? "" : " (not met)"}`);
    }
    const text = told.join(", then ");
    return hits > 0 ? did(text) : didNot(text);
  },
};

async function killAt(
  world: World,
  point: Failpoint,
  passing: number,
  random: Random,
  signal: AbortSignal,
): Promise<boolean> {
  const { captures } = world;
  const log = join(world.directory, `failpoint-${process.hrtime.bigint()}`);
  {
    using _ = captures.hold();
    await captures.kill();
    captures.start({ failpoint: `${point}:${passing}`, log });
  }
  // What it takes to come there.
  if (point.startsWith("large-")) await hugeTransaction.run(world, random, signal);
  if (point === "truncate-staged") await truncateTable.run(world, random, signal);
  const deadline = performance.now() + HIT_MS_MAX;
  // One that never comes there goes on, as any other.
  while (!existsSync(log) && !signal.aborted && performance.now() < deadline)
    await pause(POLL_MS, signal);
  return existsSync(log);
}

/** Points that a run passes once, or that the transaction which leads there passes once. */
function isOnce(point: Failpoint): boolean {
  return (
    point === "capture-taken-over" ||
    point === "large-spilled" ||
    point === "truncate-staged" ||
    point.startsWith("baseline-")
  );
}
