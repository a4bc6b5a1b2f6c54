import { setTimeout as sleep } from "node:timers/promises";
import { randomFrom } from "../../examples/shop-postgres/traffic.ts";
import { didNot, type Fault, type Outcome, type Resource } from "./fault.ts";
import { FAULTS } from "./faults.ts";
import { seconds } from "./random.ts";
import type { Part, PlannedFault } from "./schedule.ts";
import type { World } from "./world.ts";

/** What became of a planned fault. */
export interface CarriedFault extends Outcome {
  readonly part: Part;
  readonly name: string;
  readonly seed: number;
  /** When it really began, since the beginning of its part; undefined for what did not. */
  readonly startedMs?: number;
}

export interface UnleashOptions {
  /** Of the part behind the baseline. */
  readonly lengthMs: number;
  readonly say: (line: string) => void;
  /** Ends all early. */
  readonly signal: AbortSignal;
}

export interface Unleashed {
  readonly carried: readonly CarriedFault[];
  /** What must never be. */
  readonly problems: readonly string[];
}

/** A baseline that was disturbed, and begins anew after retries of 15 s at most. */
const BASELINE_MS_MAX = 120_000;
const LOOK_MS = 50;
/** For what was due and waits for its turn when the time is over, and then for each of it, which mends early. */
const QUEUE_MS_MAX = 40_000;
const HURRY_MS = 2_000;
/** For what is under way then, each with a bound of its own. */
const MEND_MS_MAX = 90_000;

/**
 * Carries out a plan: what disturbs the baseline, then, once the capture follows the log, all else. Each
 * fault starts when it is due, those of one resource one after the other; what is due and waits for
 * its turn when the time is over is carried out still. Then all is mended.
 */
export async function unleash(
  world: World,
  plan: readonly PlannedFault[],
  { lengthMs, say, signal }: UnleashOptions,
): Promise<Unleashed> {
  const carried: CarriedFault[] = [];
  const problems: string[] = [];
  const stop = new AbortController();
  const ends = AbortSignal.any([signal, stop.signal]);
  const timeIsOver = new AbortController();
  const busy = new Map<Resource, Promise<unknown>>();
  const underWay = new Set<string>();
  const carryOut = async (
    { part, name, seed }: PlannedFault,
    fault: Fault,
    started: number,
    before: Promise<unknown>,
  ): Promise<void> => {
    await before;
    if (ends.aborted) {
      carried.push({ part, name, seed, ...didNot("the round was over before its turn") });
      return;
    }
    const startedMs = Math.round(performance.now() - started);
    underWay.add(name);
    try {
      const mend = new AbortController();
      const hurry = (): void =>
        void sleep(HURRY_MS, undefined, { ref: false }).then(() => mend.abort());
      if (timeIsOver.signal.aborted) hurry();
      else timeIsOver.signal.addEventListener("abort", hurry, { once: true });
      const either = AbortSignal.any([ends, mend.signal]);
      const outcome = await fault.run(world, randomFrom(seed), either);
      timeIsOver.signal.removeEventListener("abort", hurry);
      carried.push({ part, name, seed, startedMs, ...outcome });
      const not = outcome.did ? "" : "not done: ";
      say(`${seconds(startedMs).padStart(8)}  ${name}: ${not}${outcome.text}`);
    } catch (error) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      carried.push({ part, name, seed, startedMs, did: true, text });
      problems.push(`${name}: ${text}`);
      stop.abort();
    } finally {
      underWay.delete(name);
    }
  };
  const isOver = (): boolean => ends.aborted || world.captures.problems.length > 0;
  const all: Promise<void>[] = [];
  const start = async (part: Part): Promise<void> => {
    const started = performance.now();
    for (const planned of plan.filter((one) => one.part === part)) {
      await untilDue(started + planned.atMs, isOver);
      if (isOver()) return;
      const fault = FAULTS.find((known) => known.name === planned.name)!;
      const before = Promise.all(
        fault.needs.map((resource) => busy.get(resource) ?? Promise.resolve()),
      );
      const run = carryOut(planned, fault, started, before);
      for (const resource of fault.needs) busy.set(resource, run);
      all.push(run);
    }
    if (part === "tail") {
      await untilDue(started + lengthMs, isOver);
      timeIsOver.abort();
    }
    // What is due has its turn, as long as that does not take for ever.
    await Promise.race([Promise.all(all), untilDue(performance.now() + QUEUE_MS_MAX, isOver)]);
  };
  await start("baseline");
  if (!isOver()) {
    const tookMs = await untilTail(world, isOver);
    if (tookMs === undefined) {
      if (!isOver()) problems.push(`there is no baseline after ${BASELINE_MS_MAX / 1000} s`);
    } else {
      say(`${" ".repeat(10)}the baseline is done`);
      await start("tail");
    }
  }
  stop.abort();
  const late = await Promise.race([Promise.all(all), sleep(MEND_MS_MAX, "late", { ref: false })]);
  if (late === "late") problems.push(`not mended in time: ${[...underWay].join(", ")}`);
  return { carried, problems };
}

/** @returns undefined when it did not come to that */
async function untilTail(world: World, isOver: () => boolean): Promise<number | undefined> {
  const started = performance.now();
  while (!isOver()) {
    const tookMs = performance.now() - started;
    if ((await world.phase()) === "tail") return tookMs;
    if (tookMs > BASELINE_MS_MAX) return undefined;
    await sleep(LOOK_MS);
  }
  return undefined;
}

async function untilDue(dueMs: number, isOver: () => boolean): Promise<void> {
  for (;;) {
    const leftMs = dueMs - performance.now();
    if (leftMs <= 0 || isOver()) return;
    await sleep(Math.min(leftMs, LOOK_MS));
  }
}
