import { setTimeout as sleep } from "node:timers/promises";
import { randomFrom } from "../../examples/shop-postgres/traffic.ts";
import { startProgram } from "../support/cli.ts";
import { readAudit, readColumnTypes, readEvents } from "../support/crash-audit.ts";
import { ask, expectSoundCommits } from "../support/crash-store.ts";
import type { Fault, Resource } from "./fault.ts";
import { FAULTS } from "./faults.ts";
import { judge } from "./judge.ts";
import { seconds } from "./random.ts";
import { planFaults, type PlannedFault } from "./schedule.ts";
import { startShoppers } from "./shoppers.ts";
import { Witness } from "./witness.ts";
import { openWorld, type World } from "./world.ts";

export interface RoundOptions {
  readonly seed: number;
  readonly lengthMs: number;
  /** Only these kinds of faults, or all. */
  readonly only: readonly string[];
  /** The built program's folder. */
  readonly dist: string;
  /** Told what happens, a line at a time. */
  readonly say: (line: string) => void;
  /** Told every line that a capture says. */
  readonly onLine: (line: string) => void;
  /** Ends the round early: it heals, and gives no verdict. */
  readonly signal: AbortSignal;
}

export interface RoundReport {
  /** What must never be. Empty is the only good answer. */
  readonly problems: readonly string[];
  readonly faults: ReadonlyMap<string, number>;
  readonly leftOut: readonly string[];
  readonly transactions: number;
  readonly changes: number;
  readonly events: number;
  readonly starts: number;
  readonly endings: ReadonlyMap<string, number>;
  readonly retries: ReadonlyMap<string, number>;
  /** Rows that `verify` compared in the end. */
  readonly compared: number;
}

const ORDERS = 1_500;
const WITNESS_MS = 1_000;
/** For what is under way at the end of a round, each with a bound of its own. */
const MEND_MS_MAX = 90_000;
/**
 * One capture is left at the end, once the others have heard that they are not alone: not before they
 * give up a source that vanished without a word, for which the product waits two minutes at most.
 */
const ALONE_MS_MAX = 150_000;
/** A retry is at most 15 s away by then. */
const BASELINE_MS_MAX = 60_000;
const CATCH_UP_SECONDS_MAX = 120;

/**
 * One round in a world of its own: traffic, a capture that is kept alive, and the planned faults around
 * both; then everything is mended, and what the store holds must be what the source says that it did.
 */
export async function runRound(options: RoundOptions): Promise<RoundReport> {
  const { seed, lengthMs, dist, say, onLine, signal } = options;
  await using world = await openWorld({ seed, orders: ORDERS, dist, onLine });
  const { source, captures, disks } = world;
  const leftOut = typeof disks === "string" ? [`full disks: ${disks}`] : [];
  const kinds = FAULTS.filter(
    ({ name }) =>
      (options.only.length === 0 || options.only.includes(name)) &&
      (leftOut.length === 0 || !name.endsWith("disk full")),
  );
  const plan = planFaults(
    seed,
    lengthMs,
    kinds.map(({ name }) => name),
  );
  const problems: string[] = [];
  const witness = await Witness.open(source.url);
  const over = new AbortController();
  const witnessing = keepLooking(witness, over.signal);
  const shoppers = await startShoppers(source.url, seed);
  captures.supervise();
  try {
    await unleash(world, plan, options, problems);
    await world.heal();
    await settlePrepared(source.url);
  } finally {
    await shoppers.stop();
    over.abort();
    await witnessing;
  }
  const counts = { faults: countByName(plan), leftOut, starts: captures.starts };
  if (signal.aborted || problems.length > 0 || captures.problems.length > 0)
    return {
      ...counts,
      problems: [...problems, ...captures.problems],
      transactions: witness.transactions.length,
      changes: 0,
      events: 0,
      endings: captures.endings,
      retries: captures.retries,
      compared: 0,
    };
  say("the traffic has stopped and everything is mended; comparing");
  return { ...counts, ...(await conclude(world, witness)) };
}

/** Starts each fault when it is due, those of one resource one after the other, and waits for all to be mended. */
async function unleash(
  world: World,
  plan: readonly PlannedFault[],
  { lengthMs, say, signal }: RoundOptions,
  problems: string[],
): Promise<void> {
  const started = performance.now();
  const end = new AbortController();
  const abort = (): void => end.abort();
  signal.addEventListener("abort", abort, { once: true });
  const timer = setTimeout(abort, lengthMs);
  const ends = end.signal;
  const busy = new Map<Resource, Promise<unknown>>();
  const underWay = new Set<string>();
  const all: Promise<void>[] = [];
  const carryOut = async (fault: Fault, seed: number, before: Promise<unknown>): Promise<void> => {
    await before;
    if (ends.aborted) return;
    const atMs = performance.now() - started;
    underWay.add(fault.name);
    try {
      const done = await fault.run(world, randomFrom(seed), ends);
      say(`${seconds(atMs).padStart(8)}  ${fault.name}: ${done}`);
    } catch (error) {
      problems.push(
        `${fault.name}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      );
      abort();
    } finally {
      underWay.delete(fault.name);
    }
  };
  for (const { atMs, name, seed } of plan) {
    const dueMs = atMs - (performance.now() - started);
    if (dueMs > 0) await sleep(dueMs, undefined, { signal: ends }).catch(() => undefined);
    if (ends.aborted || world.captures.problems.length > 0) break;
    const fault = FAULTS.find((known) => known.name === name)!;
    const before = Promise.all(
      fault.needs.map((resource) => busy.get(resource) ?? Promise.resolve()),
    );
    const carried = carryOut(fault, seed, before);
    for (const resource of fault.needs) busy.set(resource, carried);
    all.push(carried);
  }
  if (world.captures.problems.length > 0) abort();
  await untilAborted(ends);
  clearTimeout(timer);
  signal.removeEventListener("abort", abort);
  const late = await Promise.race([Promise.all(all), sleep(MEND_MS_MAX, "late", { ref: false })]);
  if (late === "late") problems.push(`not mended in time: ${[...underWay].join(", ")}`);
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted)
    await new Promise((done) => signal.addEventListener("abort", done, { once: true }));
}

async function keepLooking(witness: Witness, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    // The source may be away; what it has committed waits for the next look.
    await witness.look().catch(() => undefined);
    await sleep(WITNESS_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** What is prepared and was not settled because the round ended. */
async function settlePrepared(url: string): Promise<void> {
  for (const { gid } of await ask<{ gid: string }>(url, "SELECT gid FROM pg_prepared_xacts"))
    await ask(url, `ROLLBACK PREPARED '${gid}'`);
}

type Conclusion = Omit<RoundReport, "faults" | "leftOut" | "starts">;

async function conclude(world: World, witness: Witness): Promise<Conclusion> {
  const { captures, source, store } = world;
  const problems: string[] = [];
  if (!(await captures.one(ALONE_MS_MAX)))
    problems.push(`${captures.alive} captures of one pipeline go on beside each other`);
  if (!(await untilBaselined(store.url)))
    problems.push(`there is no baseline after ${BASELINE_MS_MAX / 1000} s of peace`);
  const compared = await verify(world, problems);
  using _ = captures.hold();
  await captures.terminate();
  await witness.look();
  const changes = await readAudit(source.url);
  const events = await readEvents(store.url);
  const types = await readColumnTypes(source.url);
  const match = judge({ changes, witnessed: witness.transactions, events, types });
  problems.push(...match.problems);
  const [ledger] = await ask<{ told: string; waiting: number; unbalanced: boolean }>(
    store.url,
    `SELECT (changes_in - changes_unchanged)::text AS told, (SELECT count(*)::int FROM banyan.quarantine) AS waiting,
            changes_in <> changes_claimed + changes_fallback + changes_unchanged + changes_parked AS unbalanced
       FROM banyan.pipelines`,
  );
  if (ledger === undefined || ledger.unbalanced || ledger.waiting > 0)
    problems.push(`the ledger does not balance, or changes were parked: ${JSON.stringify(ledger)}`);
  else if (Number(ledger.told) !== match.told)
    problems.push(`the ledger says that ${ledger.told} changes are told, and ${match.told} are`);
  await expectSoundCommits(store).catch((error: unknown) => problems.push(String(error)));
  problems.push(...captures.problems);
  return {
    problems,
    transactions: witness.transactions.length,
    changes: changes.length,
    events: events.length,
    endings: captures.endings,
    retries: captures.retries,
    compared,
  };
}

/** A round may have been too rough for one, of which `verify` would only say that there is none. */
async function untilBaselined(storeUrl: string): Promise<boolean> {
  const deadline = performance.now() + BASELINE_MS_MAX;
  while (performance.now() < deadline) {
    const made = await ask(storeUrl, "SELECT FROM banyan.pipelines WHERE phase = 'tail'");
    if (made.length > 0) return true;
    await sleep(200);
  }
  return false;
}

/** Folds against rows, while the capture catches up. @returns rows compared */
async function verify({ commandLine }: World, problems: string[]): Promise<number> {
  const { args, cwd, env } = commandLine([
    ...["verify", "--json", "--show-values"],
    ...["--wait", String(CATCH_UP_SECONDS_MAX)],
  ]);
  const { exitCode, stdout, stderr } = await startProgram(args, { cwd, env }).ended;
  if (exitCode !== 0) {
    problems.push(`banyan verify ended with ${exitCode}:\n${stdout}\n${stderr}`);
    return 0;
  }
  return (JSON.parse(stdout) as { compared: number }).compared;
}

function countByName(plan: readonly PlannedFault[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { name } of plan) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}
