import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { randomFrom } from "../../examples/shop-postgres/traffic.ts";
import type { Failpoint } from "../../src/runtime/failpoint.ts";
import type { ParityReport } from "../../src/verify/parity-report.ts";
import { matchAudit, readAudit, readColumnTypes, readEvents } from "../support/crash-audit.ts";
import {
  hitIn,
  isAlive,
  isNightly,
  runBanyan,
  runToEnd,
  startBanyan,
  startUntil,
  type Capture,
} from "../support/crash-capture.ts";
import {
  createStore,
  expectSoundCommits,
  readStore,
  witnessCommits,
} from "../support/crash-store.ts";
import { openShop, startTraffic } from "../support/shop.ts";

/**
 * The invariant: whenever the capture of a living shop is killed, and however often, in the end the
 * events tell every committed change of every table, once, in the transaction that made it, with its
 * old and new values, in the log's order, and tell nothing else. What changed is known from triggers
 * in the shop that have nothing to do with the capture. And the fold of the events equals the rows.
 *
 * Each run prints its seed; BANYAN_TEST_SEED runs that one again (the traffic is the same then, the
 * moments of the kills nearly so).
 */
const RUNS = isNightly ? 50 : 2;
/** Before it is let through to a baseline, and after. */
const KILLS_EARLY = 2;
const KILLS_LATE = 4;
/** Three shoppers at once, so that transactions overlap. */
const SHOPPERS = 3;
const REQUESTS_PER_SECOND = 50;
/** A process that was to end at a point which it does not come to is killed after this. */
const LIFE_MS_MAX = 3_000;

const EARLY_POINTS: readonly Failpoint[] = [
  "capture-taken-over",
  "baseline-slot-created",
  "baseline-first-stage",
  "baseline-before-commit",
];
const LATE_POINTS: readonly Failpoint[] = [
  "tail-first-part",
  "batch-mapped",
  "batch-staged",
  "batch-before-commit",
  "batch-commit-sent",
  "batch-after-commit",
  "batch-after-acknowledge",
];

const asked = process.env["BANYAN_TEST_SEED"] ?? "";
const first = asked === "" ? Date.now() % 1_000_000_000 : Number(asked);
const seeds = Array.from({ length: asked === "" ? RUNS : 1 }, (_, run) => first + run * 1_000);

test.each(seeds)(
  "killed at random under traffic, it tells every change once: seed %i",
  async (seed) => {
    process.stderr.write(`random kills: BANYAN_TEST_SEED=${seed}\n`);
    const random = randomFrom(seed);
    await using shop = await openShop({ label: `random_${seed}`, orders: 600, seed, audit: true });
    await using store = await createStore(`random_${seed}`);
    await witnessCommits(store);
    const capture = { shop, storeUrl: store.url, slot: `slot_${store.name}` };
    const traffic = await startTraffic(shop, {
      seeds: Array.from({ length: SHOPPERS }, (_, i) => (seed % 10_000) + i),
      requestsPerSecond: REQUESTS_PER_SECOND,
    });
    const kills: string[] = [];
    for (let kill = 0; kill < KILLS_EARLY; kill++)
      kills.push(await killSomewhere(capture, random, EARLY_POINTS));
    await runToEnd(capture);
    for (let kill = 0; kill < KILLS_LATE; kill++)
      kills.push(await killSomewhere(capture, random, LATE_POINTS));
    for (const report of await traffic.stop()) expect(report).toMatchObject({ failed: 0 });
    const report = await verify(capture);
    process.stderr.write(`  killed ${kills.join(", ")}; ${report.compared} rows compared\n`);
    expect(report).toMatchObject({ state: "equal", missing: 0, extra: 0, different: 0 });

    const audit = await readAudit(shop.database.url);
    const match = matchAudit(
      audit,
      await readEvents(store.url),
      await readColumnTypes(shop.database.url),
    );
    expect(match.problems).toEqual([]);
    expect(match.told).toBeGreaterThan(100);
    const { ledger } = await readStore(store);
    const { in: changesIn, unchanged } = ledger as unknown as Record<"in" | "unchanged", number>;
    expect(changesIn - unchanged).toBe(match.told);
    expect(unchanged).toBeLessThanOrEqual(match.unchanged);
    expect(await expectSoundCommits(store)).toBeGreaterThan(KILLS_LATE);
  },
);

/** Starts the capture and kills it, by the clock or at a point. @returns where */
async function killSomewhere(
  capture: Capture,
  random: () => number,
  points: readonly Failpoint[],
): Promise<string> {
  const name = points[Math.floor(random() * points.length)]!;
  const passings = points === EARLY_POINTS ? 1 : 1 + Math.floor(random() * 4);
  const point = `${name}:${passings}`;
  const isByClock = random() < 0.5;
  const lifeMs = isByClock ? Math.floor(random() * 1_500) : LIFE_MS_MAX;
  const { running, log } = startUntil(capture, isByClock ? "none" : point);
  // From its first words on, because a busy machine may take long to start it.
  while (running.stderr() === "" && isAlive(running)) await sleep(5);
  const timer = setTimeout(() => running.child.kill("SIGKILL"), lifeMs);
  const { signal, exitCode, stderr } = await running.ended;
  clearTimeout(timer);
  expect({ signal, exitCode, said: signal === "SIGKILL" ? "" : stderr }).toEqual({
    signal: "SIGKILL",
    exitCode: null,
    said: "",
  });
  return hitIn(log) === undefined ? `after ${lifeMs} ms` : `at ${point}`;
}

/** Compares all rows while the capture runs, then lets it end in good order. */
async function verify(capture: Capture): Promise<ParityReport> {
  const running = startBanyan(capture, ["run", "--json"]);
  const { stdout, stderr } = await runBanyan(capture, "verify", "--json");
  running.child.kill("SIGINT");
  expect(await running.ended).toMatchObject({ exitCode: 0 });
  if (stdout === "") throw new Error(`banyan verify gave no report:\n${stderr}`);
  return JSON.parse(stdout) as ParityReport;
}
