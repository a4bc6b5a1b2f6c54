import { setTimeout as sleep } from "node:timers/promises";
import { startProgram } from "../support/cli.ts";
import { readAudit, readColumnTypes } from "../support/crash-audit.ts";
import { ask, expectSoundCommits } from "../support/crash-store.ts";
import { FAULTS } from "./faults.ts";
import { judge, type TimedEvent } from "./judge.ts";
import { planFaults, type PlannedFault } from "./schedule.ts";
import { startShoppers } from "./shoppers.ts";
import { unleash, type CarriedFault } from "./unleash.ts";
import type { Variant } from "./variant.ts";
import { Witness } from "./witness.ts";
import { openWorld, WHOLE_TABLES, type World } from "./world.ts";

export interface RoundOptions {
  readonly seed: number;
  readonly variant: Variant;
  /** Of the part behind the baseline. */
  readonly lengthMs: number;
  /** Only these kinds of faults, or all. */
  readonly only: readonly string[];
  /** Faults and times of an earlier round, in place of those that the seed draws. */
  readonly replayed?: readonly PlannedFault[];
  /** The built program's folder. */
  readonly dist: string;
  /** A machine on which some kinds cannot be done fails. */
  readonly isComplete: boolean;
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
  readonly faults: readonly CarriedFault[];
  readonly transactions: number;
  readonly changes: number;
  /** Changes that captured events tell. */
  readonly told: number;
  readonly events: number;
  readonly starts: number;
  readonly endings: ReadonlyMap<string, number>;
  readonly retries: ReadonlyMap<string, number>;
  /** Rows that `verify` compared in the end. */
  readonly compared: number;
}

const ORDERS = 1_500;
/**
 * False keeps a shopper who is answered before the log is on disk out of rounds with a baseline in chunks:
 * a crash of the source takes back rows that a chunk may hold already.
 */
const IS_HASTY_IN_CHUNKS = true;
const WITNESS_MS = 500;
/**
 * One capture is left at the end, once the others have heard that they are not alone: not before they
 * give up a source that vanished without a word, for which the product waits two minutes at most.
 */
const ALONE_MS_MAX = 150_000;
/** A retry is at most 15 s away by then; and tables may be joining. */
const BASELINE_MS_MAX = 60_000;
const CATCH_UP_SECONDS_MAX = 120;
/** A round in which fewer changes are told has tried nothing: of all that were made, and in each second. */
const TOLD_SHARE_MIN = 0.1;
const TOLD_PER_SECOND_MIN = 10;

/**
 * One round in a world of its own: traffic, a capture that is kept alive, and the planned faults around
 * both; then everything is mended, and what the store holds must be what the source says that it did.
 */
export async function runRound(options: RoundOptions): Promise<RoundReport> {
  const { seed, variant, lengthMs, only, dist, say, onLine, signal } = options;
  await using world = await openWorld({ seed, variant, orders: ORDERS, dist, onLine });
  const { source, captures, disks } = world;
  const kinds = FAULTS.filter(({ name }) => only.length === 0 || only.includes(name));
  const namesOf = (of: typeof kinds): string[] => of.map(({ name }) => name);
  const plan =
    options.replayed ??
    planFaults({
      ...{ seed, lengthMs, names: namesOf(kinds) },
      early: variant.isBaselineDisturbed ? namesOf(kinds.filter((one) => one.isEarly)) : [],
    });
  const problems: string[] = [];
  if (typeof disks === "string" && options.isComplete)
    problems.push(`disks cannot be made full here: ${disks}`);
  const witness = await Witness.open(source.url);
  const whole = new Map<string, string>();
  const over = new AbortController();
  const witnessing = keepLooking(world, witness, whole, over.signal);
  const isHasty = variant.baseline === "snapshot" || IS_HASTY_IN_CHUNKS;
  const shoppers = await startShoppers(source.url, seed, isHasty);
  captures.supervise();
  let faults: readonly CarriedFault[] = [];
  try {
    const unleashed = await unleash(world, plan, { lengthMs, say, signal });
    faults = unleashed.carried;
    problems.push(...unleashed.problems);
    await world.heal();
    await settlePrepared(source.url);
  } finally {
    await shoppers.stop();
    over.abort();
    await witnessing;
  }
  const counts = { faults, endings: captures.endings, retries: captures.retries };
  if (signal.aborted || problems.length > 0 || captures.problems.length > 0)
    return {
      ...counts,
      starts: captures.starts,
      problems: [...problems, ...captures.problems],
      ...{ transactions: witness.transactions.length, changes: 0, told: 0, events: 0, compared: 0 },
    };
  say("the traffic has stopped and everything is mended; comparing");
  const conclusion = await conclude(world, witness, whole);
  const { changes, told } = conclusion;
  const least = Math.max(changes * TOLD_SHARE_MIN, (lengthMs / 1000) * TOLD_PER_SECOND_MIN);
  const few =
    told < least
      ? [`only ${told} of ${changes} changes are told: the round has hardly followed the log`]
      : [];
  return {
    ...counts,
    starts: captures.starts,
    ...conclusion,
    problems: [...conclusion.problems, ...few],
  };
}

async function keepLooking(
  world: World,
  witness: Witness,
  whole: Map<string, string>,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    // The servers may be away; what was committed waits for the next look.
    await witness.look().catch(() => undefined);
    await noteWhole(world, whole).catch(() => undefined);
    await sleep(WITNESS_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** From where on all that happens to a table must be told: chunks are done somewhere before they are seen to be. */
async function noteWhole({ store, variant }: World, whole: Map<string, string>): Promise<void> {
  const rows = await ask<{ table: string; since: string; checkpoint: string }>(
    store.url,
    WHOLE_TABLES,
  );
  for (const { table, since, checkpoint } of rows) {
    const relation = table.slice(table.indexOf(".") + 1);
    if (!whole.has(relation))
      whole.set(relation, variant.baseline === "chunked" ? checkpoint : since);
  }
}

/** What is prepared and was not settled because the round ended. */
async function settlePrepared(url: string): Promise<void> {
  for (const { gid } of await ask<{ gid: string }>(url, "SELECT gid FROM pg_prepared_xacts"))
    await ask(url, `ROLLBACK PREPARED '${gid}'`);
}

type Conclusion = Omit<RoundReport, "faults" | "starts" | "endings" | "retries">;

async function conclude(
  world: World,
  witness: Witness,
  whole: Map<string, string>,
): Promise<Conclusion> {
  const { captures, source, store } = world;
  const problems: string[] = [];
  if (!(await captures.one(ALONE_MS_MAX)))
    problems.push(`${captures.alive} captures of one pipeline go on beside each other`);
  if (!(await untilWhole(world)))
    problems.push(`there is no baseline after ${BASELINE_MS_MAX / 1000} s of peace`);
  await noteWhole(world, whole);
  const compared = await verify(world, problems);
  using _ = captures.hold();
  await captures.terminate();
  await witness.look();
  const captured = world.captured();
  const audit = await readAudit(source.url);
  const changes = audit.filter(({ relation }) => captured.includes(relation));
  const events = await readTimedEvents(store.url);
  const types = await readColumnTypes(source.url);
  const read = { whole, joined: world.variant.joining };
  const match = judge({ changes, witnessed: witness.transactions, events, types, read });
  problems.push(...match.problems);
  const [ledger] = await ask<{ told: string; waiting: number; unbalanced: boolean }>(
    store.url,
    `SELECT (changes_in - changes_unchanged)::text AS told,
            (SELECT count(*)::int FROM banyan.quarantine) AS waiting,
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
    told: match.told,
    events: events.length,
    compared,
  };
}

/** A round may have been too rough for a baseline, of which `verify` would only say that there is none. */
async function untilWhole({ captured, isWhole }: World): Promise<boolean> {
  const deadline = performance.now() + BASELINE_MS_MAX;
  while (performance.now() < deadline) {
    const all = await Promise.all(captured().map((table) => isWhole(table)));
    if (all.every(Boolean)) return true;
    await sleep(200);
  }
  return false;
}

async function readTimedEvents(storeUrl: string): Promise<readonly TimedEvent[]> {
  return await ask<TimedEvent>(
    storeUrl,
    `SELECT event_id AS id, stream_id AS stream, version, type, origin, source_transaction AS transaction,
            source_position AS position, causation_id AS causation, data,
            (extract(epoch FROM time) * 1000000)::bigint::text AS "timeUs"
       FROM banyan.events ORDER BY transaction_id, banyan.events.position`,
  );
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
