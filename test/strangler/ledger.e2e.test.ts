import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { keepLedger, type LedgerReport } from "../../examples/shop-postgres/ledger.ts";
import { budgetSeconds } from "../support/random-budget.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { auditBoth, doubled } from "./audit.ts";
import { breakThings } from "./faults.ts";
import { openJournal } from "./journal.ts";
import { DeadProxies, moveAbout, type Moves } from "./mover.ts";
import { settle } from "./settle.ts";
import { authorityProblems, nativeEvents, readSeen } from "./witness.ts";
import { openWorld, type World } from "./world.ts";

/*
 * Customers keep receipts of what was acknowledged while orders move to the new service and back, and while
 * processes are killed. In the end every receipt must hold in the legacy rows and in the events, nothing may
 * be there twice, and at each moment one side decided over each order.
 */

const SEED = Number(process.env["BANYAN_TEST_SEED"] ?? Math.floor(Math.random() * 1_000_000));
const CUSTOMERS = 6;
const REQUESTS_PER_SECOND = 60;

interface Story {
  readonly report: LedgerReport;
  readonly moves: Moves;
  /** What customers were told that should not be. */
  readonly told: readonly string[];
  readonly faults: ReadonlyMap<string, number>;
}

interface Bounds {
  /** Things break until the first; it ends there or later, when enough was moved, and at the second in any case. */
  readonly secondsMin: number;
  readonly secondsMax: number;
  readonly isBroken: boolean;
}

/** Moves of each kind that must have been done for a test to mean something. */
const MOVES_MIN = 2;
/** Likewise events that the new service stored, */
const NATIVE_MIN = 20;
/** and kinds of faults. */
const FAULTS_MIN = 4;

/** Customers at work while orders move about, and things break where wanted; customers end last. */
async function live(world: World, { secondsMin, secondsMax, isBroken }: Bounds): Promise<Story> {
  // Before there are customers it is quick; what changes later is compared by the moves themselves.
  const { exitCode, stderr } = await world.banyan("verify");
  expect(exitCode, stderr).toBe(0);
  const random = seededRandom(SEED);
  const [shopping, moving] = [new AbortController(), new AbortController()];
  const told: string[] = [];
  const dead = new DeadProxies();
  const tell = openJournal();
  const ledger = keepLedger({
    shopUrl: world.proxyUrls[0]!,
    seed: SEED,
    customers: CUSTOMERS,
    requestsPerSecond: REQUESTS_PER_SECOND,
    signal: shopping.signal,
    onProblem: (problem) => {
      // Nobody listens between a kill and the new start.
      if (!problem.includes(": 598 ")) tell(problem);
      told.push(problem);
    },
  });
  const timer = setTimeout(() => moving.abort(), secondsMax * 1_000);
  const isOver = AbortSignal.timeout(secondsMin * 1_000);
  let isWhole = false;
  const breaking = isBroken
    ? breakThings({ world, random, dead, tell, kindsMin: FAULTS_MIN }, isOver, moving.signal)
    : Promise.resolve(new Map<string, number>());
  breaking.then(
    () => (isWhole = true),
    () => (isWhole = true),
  );
  try {
    const isEnough = async ({ counts }: Moves): Promise<boolean> =>
      isOver.aborted &&
      isWhole &&
      ["promote done", "rollback done"].every((kind) => (counts.get(kind) ?? 0) >= MOVES_MIN) &&
      (await nativeEvents(world.store.database)) > NATIVE_MIN;
    const moves = await moveAbout(
      { world, random, isKilled: () => isBroken && !isOver.aborted, tell, isEnough },
      dead,
      moving.signal,
    );
    moving.abort();
    const faults = await breaking;
    shopping.abort();
    return { report: await ledger, moves, faults, told };
  } finally {
    clearTimeout(timer);
    moving.abort();
    shopping.abort();
    await Promise.allSettled([breaking, ledger]);
  }
}

async function expectAllHolds(world: World, { report, moves, told }: Story): Promise<void> {
  await settle(world);
  const { receipts, stale } = report;
  const verified = await world.banyan("verify", "--json");
  expect(verified.exitCode, `${verified.stdout}${verified.stderr}`).toBe(0);
  expect(await auditBoth(world, receipts)).toEqual([]);
  const notAnswered = told.filter((problem) => /^placing.*: 5(?!98)/.test(problem)).length;
  expect(await doubled(world, receipts, notAnswered)).toEqual([]);
  const { rows: parked } = await world.store.database.query("SELECT * FROM banyan.quarantine");
  expect(parked).toEqual([]);
  const { rows: conflicts } = await world.store.database.query(
    "SELECT * FROM banyan.reverse_conflicts",
  );
  expect(conflicts).toEqual([]);
  // Lines of the access log are written in bunches.
  await sleep(300);
  const seen = await readSeen(world.store.database, world.accessLines());
  expect(authorityProblems(seen)).toEqual([]);
  expect(moves.problems).toEqual([]);
  expect(stale, told.join("\n")).toBe(0);
  // Enough happened for all of this to mean something.
  for (const kind of ["promote done", "rollback done"])
    expect(moves.counts.get(kind) ?? 0, kind).toBeGreaterThanOrEqual(MOVES_MIN);
  expect(await nativeEvents(world.store.database)).toBeGreaterThan(NATIVE_MIN);
}

const CALM_SECONDS = budgetSeconds(12, 180);
const BROKEN_SECONDS = budgetSeconds(20, 400);
const SECONDS_MORE_MAX = 150;
const SECONDS_BESIDE_MAX = 400;
vi.setConfig({
  testTimeout:
    (Math.max(CALM_SECONDS, BROKEN_SECONDS) + SECONDS_MORE_MAX + SECONDS_BESIDE_MAX) * 1_000,
});

test(`moves on and back under customers' hands cost no request and no write (seed ${SEED})`, async () => {
  await using world = await openWorld({ seed: SEED, proxies: 1 });
  const story = await live(world, {
    secondsMin: CALM_SECONDS,
    secondsMax: CALM_SECONDS + SECONDS_MORE_MAX,
    isBroken: false,
  });
  await expectAllHolds(world, story);
  expect(story.told).toEqual([]);
});

test(`killed processes and restarted databases lose and double nothing (seed ${SEED})`, async () => {
  await using world = await openWorld({
    seed: SEED,
    proxies: 1,
    areGatesLax: true,
    isBroken: true,
  });
  const story = await live(world, {
    secondsMin: BROKEN_SECONDS,
    secondsMax: BROKEN_SECONDS + SECONDS_MORE_MAX,
    isBroken: true,
  });
  await expectAllHolds(world, story);
  expect(story.faults.size).toBeGreaterThanOrEqual(FAULTS_MIN);
  expect(Object.values(world.processes).flatMap(({ problems }) => problems)).toEqual([]);
});
