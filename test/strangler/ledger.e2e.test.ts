import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { keepLedger, type LedgerReport } from "../../examples/shop-postgres/ledger.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { auditBoth, doubled } from "./audit.ts";
import { DeadProxies, moveAbout, type Moves } from "./mover.ts";
import { settle } from "./settle.ts";
import { authorityProblems, readSeen } from "./witness.ts";
import { openWorld, type World } from "./world.ts";

/*
 * Customers keep receipts of what was acknowledged while orders move to the new service and back, and while
 * processes are killed. In the end every receipt must hold in the legacy rows and in the events, nothing may
 * be there twice, and at each moment one side decided over each order.
 */

const isNightly = process.env["BANYAN_TEST_BUDGET"] === "nightly";
const SEED = Number(process.env["BANYAN_TEST_SEED"] ?? Math.floor(Math.random() * 1_000_000));
/** Ends earlier after so many moves: a quiet machine takes less. */
const SECONDS_MAX = isNightly ? 300 : 45;
const MOVES_MAX = isNightly ? 60 : 10;
const CUSTOMERS = 6;
const REQUESTS_PER_SECOND = 60;

interface FaultOptions {
  readonly random: () => number;
  readonly dead: DeadProxies;
  readonly tell: (line: string) => void;
  readonly signal: AbortSignal;
}

interface Story {
  readonly report: LedgerReport;
  readonly moves: Moves;
  /** What customers were told that should not be. */
  readonly told: readonly string[];
  /** What was done, and when. */
  readonly lines: readonly string[];
}

/** Customers at work while orders move about for so long; then they stop first. */
async function live(
  world: World,
  isKilled: boolean,
  beside: (faults: FaultOptions) => Promise<void>,
): Promise<Story> {
  // Before there are customers it is quick; what changes later is compared by the moves themselves.
  const { exitCode, stderr } = await world.banyan("verify");
  expect(exitCode, stderr).toBe(0);
  const random = seededRandom(SEED);
  const [shopping, moving] = [new AbortController(), new AbortController()];
  const told: string[] = [];
  const dead = new DeadProxies();
  const beganMs = performance.now();
  const lines: string[] = [];
  const tell = (line: string): void =>
    void lines.push(`${((performance.now() - beganMs) / 1_000).toFixed(1)} ${line}`);
  const ledger = keepLedger({
    shopUrl: world.proxyUrls[0]!,
    seed: SEED,
    customers: CUSTOMERS,
    requestsPerSecond: REQUESTS_PER_SECOND,
    signal: shopping.signal,
    onProblem: (problem) => told.push(problem),
  });
  const timer = setTimeout(() => moving.abort(), SECONDS_MAX * 1_000);
  const others = beside({ random, dead, tell, signal: moving.signal });
  const moved = await moveAbout(
    { world, random, isKilled, tell, movesMax: MOVES_MAX },
    dead,
    moving.signal,
  );
  clearTimeout(timer);
  moving.abort();
  await others;
  shopping.abort();
  return { report: await ledger, moves: moved, told, lines };
}

async function expectAllHolds(world: World, { report, moves, told, lines }: Story): Promise<void> {
  console.log(lines.join("\n"));
  await settle(world);
  console.log([...moves.problems, ...told].join("\n"));
  const { receipts, requests, acknowledged, errors, stale, slowestMs } = report;
  const uncertain = receipts.filter(({ isCertain }) => !isCertain).length;
  console.log({ requests, acknowledged, errors, stale, slowestMs, receipts: receipts.length, uncertain });
  console.log(Object.fromEntries(moves.counts));
  const verified = await world.banyan("verify", "--json");
  expect(verified.exitCode, `${verified.stdout}${verified.stderr}`).toBe(0);
  expect(await auditBoth(world, receipts)).toEqual([]);
  const notAnswered = told.filter((problem) => problem.startsWith("placing")).length;
  expect(await doubled(world, receipts, notAnswered)).toEqual([]);
  const { rows: parked } = await world.store.database.query("SELECT * FROM banyan.quarantine");
  expect(parked).toEqual([]);
  const { rows: conflicts } = await world.store.database.query("SELECT * FROM banyan.reverse_conflicts");
  expect(conflicts).toEqual([]);
  // Lines of the access log are written in bunches.
  await sleep(300);
  const seen = await readSeen(world.store.database, world.accessLines());
  expect(authorityProblems(seen)).toEqual([]);
  expect(moves.problems).toEqual([]);
  expect(stale, told.join("\n")).toBe(0);
  // Enough happened for all of this to mean something.
  for (const kind of ["promote done", "rollback done"])
    expect(moves.counts.get(kind) ?? 0, kind).toBeGreaterThan(0);
  for (const origin of ["capture", "native"] as const)
    expect(seen.events.filter((one) => one.origin === origin).length, origin).toBeGreaterThan(20);
}

test(`moves on and back under customers' hands cost no request and no write (seed ${SEED})`, async () => {
  await using world = await openWorld({ seed: SEED, proxies: 1 });
  const story = await live(world, false, () => Promise.resolve());
  await expectAllHolds(world, story);
  expect(story.told).toEqual([]);
});
