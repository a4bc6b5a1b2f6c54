import { setTimeout as sleep } from "node:timers/promises";
import type { DeadProxies } from "./mover.ts";
import { until, type ProcessName, type World } from "./world.ts";

export interface FaultOptions {
  readonly world: World;
  /** 0 to below 1. */
  readonly random: () => number;
  readonly dead: DeadProxies;
  readonly tell: (line: string) => void;
  /** Kinds of faults that there are to be. */
  readonly kindsMin?: number;
}

const DATABASES = ["store", "legacy"] as const;
/** What may happen, in a drawn order, all of it before one comes again. */
const FAULTS = [
  "proxy",
  "capture",
  "rollout",
  "new",
  ...DATABASES.map((name) => `${name} database`),
];
const PAUSE_MS = 2_000;
const DOWN_MS = 1_000;
const ANSWER_MS_MAX = 60_000;

/**
 * Kills processes and restarts database servers until the signal, and as long as it was of too few kinds; not
 * behind the end in any case. @returns what was done, and how often
 */
export async function breakThings(
  options: FaultOptions,
  isOver: AbortSignal,
  end: AbortSignal,
): Promise<ReadonlyMap<string, number>> {
  const { world, random, tell, kindsMin = 0 } = options;
  const counts = new Map<string, number>();
  let left: string[] = [];
  for (;;) {
    const isEnough = isOver.aborted && counts.size >= kindsMin;
    if (isEnough || end.aborted) break;
    const signal = counts.size >= kindsMin ? AbortSignal.any([isOver, end]) : end;
    await sleep(500 + PAUSE_MS * random(), undefined, { signal }).catch(() => undefined);
    if (signal.aborted) continue;
    if (left.length === 0) left = [...FAULTS];
    const [fault] = left.splice(Math.floor(random() * left.length), 1) as [string];
    tell(`fault: ${fault}`);
    counts.set(fault, (counts.get(fault) ?? 0) + 1);
    const database = DATABASES.find((name) => fault === `${name} database`);
    if (database === undefined) await restartProcess(options, fault as ProcessName);
    else await restartServer(options, database);
    for (const one of Object.values(world.processes)) await one.revive();
    tell(`fault: ${fault} is over`);
  }
  return counts;
}

async function restartProcess(
  { world, random, dead }: FaultOptions,
  name: ProcessName,
): Promise<void> {
  const killed = world.processes[name];
  dead.add(killed.pid);
  await killed.kill();
  await sleep(DOWN_MS * random());
  await killed.start();
}

async function restartServer(
  { world, random }: FaultOptions,
  name: (typeof DATABASES)[number],
): Promise<void> {
  const { server, database } = world[name];
  // A crash, or a restart in good order.
  await server.stop(random() < 0.5 ? "immediate" : "fast");
  await server.start();
  await until(`the ${name} database`, ANSWER_MS_MAX, async () => {
    await database.query("SELECT");
    return true;
  });
}
