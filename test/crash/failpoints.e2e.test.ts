import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FAILPOINTS } from "../../src/runtime/failpoint.ts";
import {
  crashAt,
  runBanyan,
  runToEnd,
  startUntil,
  type CrashPoint,
} from "../support/crash-capture.ts";
import {
  beginTransaction,
  fork,
  forkEmpty,
  openOrigin,
  write,
  writeLargeTransaction,
  writeSchemaChange,
  writeTruncate,
  type Fork,
  type Origin,
} from "../support/crash-log.ts";
import {
  expectSame,
  expectSoundCommits,
  readStore,
  type StoreContents,
} from "../support/crash-store.ts";

/**
 * The invariant: wherever the capture is killed, it is started again and ends with the store that an
 * uninterrupted run over the same log ends with: the same events with the same ids in the same order,
 * the same kept images, quarantine and ledger. And at every commit on the way the ledger balances and
 * counts just the events that came with it.
 *
 * "The same log" is meant literally: each run has a copy of the slot and of the store as they were
 * after the baseline. An interrupted baseline begins anew at another place of the log, so there ids
 * and positions differ, and all else is the same.
 */
const SEED = 11;
/** Several runs of the program, on a busy machine. */
const PREPARE_MS_MAX = 300_000;

/** Where one run is killed, and the next one, and so on. */
type Points = readonly CrashPoint[];

/** In a baseline; the second run of it is complete. */
const BASELINE: readonly Points[] = [
  ["store-migrating:1"],
  ["capture-taken-over:1"],
  ["baseline-slot-created:1"],
  ["baseline-first-stage:1", "baseline-slot-removed:1"],
  ["batch-staged:2"],
  ["baseline-middle:1"],
  ["baseline-before-commit:1"],
  ["batch-commit-sent:1"],
  ["baseline-after-commit:1"],
];

/** While a log is followed in small batches, with a TRUNCATE and a schema change in it. */
const TAIL: readonly Points[] = [
  ["capture-taken-over:1", "tail-first-part:1"],
  ["batch-mapped:2"],
  ["batch-staged:1", "batch-staged:2"],
  ["batch-before-commit:2"],
  ["batch-commit-sent:3"],
  ["batch-after-commit:4"],
  ["batch-after-acknowledge:5"],
  ["truncate-staged:1"],
];

/** In a transaction that is spilled to disk. */
const LARGE: readonly Points[] = [
  ["large-spilled:1", "large-merging:1"],
  ["large-merging:1", "batch-commit-sent:1"],
];

/** While nothing comes; more is written to the log before it is started again. */
const IDLE = [
  "idle-before-commit:1",
  "idle-after-commit:2",
] as const satisfies readonly CrashPoint[];

/** While changes that waited in quarantine are mapped at last. */
const RELEASE: readonly Points[] = [
  ["quarantine-before-release:3"],
  ["batch-staged:1", "batch-before-commit:1"],
  ["batch-commit-sent:1", "batch-after-commit:1"],
];

const named = (runs: readonly Points[]): (readonly [at: string, points: Points])[] =>
  runs.map((points) => [points.map((point) => `killed at ${point}`).join(", then "), points]);

let origin: Origin;

beforeAll(async () => {
  origin = await openOrigin("failpoints", SEED);
}, PREPARE_MS_MAX);
afterAll(() => origin?.[Symbol.asyncDispose]());

async function crashAtEach(run: Fork, points: Points): Promise<void> {
  for (const point of points) await crashAt(run, point);
  await runToEnd(run);
}

describe("a baseline", () => {
  test.each(named(BASELINE))("%s: is made anew, once and whole", async (_, points) => {
    const expected = await readStore(origin.store, false);
    await using run = await forkEmpty(origin, points[0]!);
    await crashAtEach(run, points);
    expectSame(await readStore(run.store, false), expected);
  });
});

describe("a capture that follows the log", () => {
  const idle = new Map<string, Fork>();
  let expected: StoreContents;
  let expectedContents: StoreContents;

  beforeAll(async () => {
    const { shop } = origin;
    const commit = await beginTransaction(shop);
    await write(shop, SEED, 200);
    for (const point of IDLE) {
      const run = await fork(origin, point);
      idle.set(point, run);
      await crashAt(run, point);
    }
    await commit();
    await writeTruncate(shop);
    await writeSchemaChange(shop);
    await write(shop, SEED + 1, 100);
    await using uninterrupted = await fork(origin, "uninterrupted");
    await runToEnd(uninterrupted);
    expected = await readStore(uninterrupted.store);
    expectedContents = await readStore(uninterrupted.store, false);
    // Else the later points would not be passed.
    expect(await expectSoundCommits(uninterrupted.store)).toBeGreaterThan(5);
  }, PREPARE_MS_MAX);
  afterAll(async () => {
    for (const run of idle.values()) await run[Symbol.asyncDispose]();
  });

  test.each(named(TAIL))("%s: neither loses nor repeats an event", async (_, points) => {
    await using run = await fork(origin, points[0]!);
    await crashAtEach(run, points);
    expectSame(await readStore(run.store), expected);
    await expectSoundCommits(run.store);
  });

  test.each(IDLE)("killed at %s goes on with what comes after", async (point) => {
    const run = idle.get(point)!;
    await runToEnd(run);
    expectSame(await readStore(run.store), expected);
    await expectSoundCommits(run.store);
  });

  describe("with a quarantine", () => {
    let parked: Fork;
    let decided: Fork;
    let released: StoreContents;
    let releasedContents: StoreContents;

    beforeAll(async () => {
      parked = await fork(origin, "parked");
      await runToEnd({ ...parked, isBroken: true });
      decided = await fork(parked, "decided");
      await runBanyan(decided, "quarantine", "retry");
      await using uninterrupted = await fork(decided, "uninterrupted");
      await runToEnd(uninterrupted);
      released = await readStore(uninterrupted.store);
      releasedContents = await readStore(uninterrupted.store, false);
    }, PREPARE_MS_MAX);
    afterAll(async () => {
      await parked?.[Symbol.asyncDispose]();
      await decided?.[Symbol.asyncDispose]();
    });

    test("what waited is told in its streams as it would have been at once", () => {
      expect(released.parked.some((line) => line.includes(" public.shipments delete "))).toBe(true);
      expectSame({ ...releasedContents, parked: [] }, expectedContents);
    });

    test.each(named(RELEASE))("%s: maps what waited, once", async (_, points) => {
      await using run = await fork(decided, points[0]!);
      await crashAtEach(run, points);
      expectSame(await readStore(run.store), released);
      await expectSoundCommits(run.store);
    });

    test("killed while it carries out a decision made as it ran maps what waited, once", async () => {
      await using run = await fork(parked, "running");
      const { running } = startUntil(run, "quarantine-before-release:1");
      await runBanyan(run, "quarantine", "retry");
      expect(await running.ended).toMatchObject({ signal: "SIGKILL" });
      await runToEnd(run);
      expectSame(await readStore(run.store), released);
      await expectSoundCommits(run.store);
    });
  });
});

describe("a capture that meets a transaction too large for memory", () => {
  let before: Fork;
  let expected: StoreContents;

  beforeAll(async () => {
    before = await fork(origin, "before_large");
    await runToEnd(before);
    await writeLargeTransaction(origin.shop);
    await using uninterrupted = await fork(before, "uninterrupted");
    await runToEnd(uninterrupted);
    expected = await readStore(uninterrupted.store);
    expect(Number(expected.ledger["in"])).toBeGreaterThan(6_000);
  }, PREPARE_MS_MAX);
  afterAll(() => before?.[Symbol.asyncDispose]());

  test.each(named(LARGE))("%s: takes it whole, and leaves no file behind", async (_, points) => {
    await using run = await fork(before, points[0]!);
    await crashAtEach(run, points);
    expectSame(await readStore(run.store), expected);
    await expectSoundCommits(run.store);
    expect(leftInSpill(origin)).toEqual([]);
  });
});

test("every point of the list is among these", () => {
  const used = [...BASELINE, ...TAIL, ...LARGE, IDLE, ...RELEASE].flat();
  const names = new Set(used.map((point) => point.split(":")[0]));
  // In chunked-baseline.e2e.test.ts, rebaseline.e2e.test.ts and test/reverse/crash.pg.test.ts.
  const elsewhere = (name: string): boolean => /^(chunk|rebaseline|reverse)-/.test(name);
  expect(FAILPOINTS.filter((name) => !names.has(name) && !elsewhere(name))).toEqual([]);
});

/** What a killed run spilled to disk. */
function leftInSpill({ shop }: Origin): string[] {
  const folder = join(shop.directory, ".banyan", "spill-shop");
  return existsSync(folder) ? readdirSync(folder) : [];
}
