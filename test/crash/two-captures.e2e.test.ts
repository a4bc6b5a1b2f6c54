import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  crashAt,
  freezeAt,
  isAlive,
  isNightly,
  runToEnd,
  startBanyan,
  type CrashPoint,
} from "../support/crash-capture.ts";
import {
  fork,
  forkEmpty,
  openOrigin,
  write,
  type Fork,
  type Origin,
} from "../support/crash-log.ts";
import {
  expectSame,
  expectSoundCommits,
  readStore,
  type StoreContents,
} from "../support/crash-store.ts";
import type { CliResult, RunningCli } from "../support/cli.ts";

/**
 * The invariant: of several captures of one pipeline, the one that came last goes on, and each other
 * one ends by itself as fenced and writes nothing more, whatever it was doing when it was fenced, and
 * however long it stood still. What it holds in the source (a slot's reader) or in the store (an open
 * transaction) does not stop its successor, and it takes nothing from it: neither the pipeline nor
 * the slot. In the end the store is that of an undisturbed run.
 */
const SEED = 23;
const WAIT_MS_MAX = 120_000;
const POLL_MS = 50;
/** Two runs of the program, on a busy machine. */
const PREPARE_MS_MAX = 300_000;
const FENCED = { exitCode: 4, code: "PIPELINE_FENCED" } as const;

let origin: Origin;
let expected: StoreContents;

beforeAll(async () => {
  origin = await openOrigin("two_captures", SEED);
  const { database } = origin.shop;
  // So long the server keeps the slot for a reader that says nothing.
  await database.query(`ALTER DATABASE ${database.name} SET wal_sender_timeout = '1500ms'`);
  await write(origin.shop, SEED, 200);
  await using undisturbed = await fork(origin, "undisturbed");
  await runToEnd(undisturbed);
  expected = await readStore(undisturbed.store);
}, PREPARE_MS_MAX);
afterAll(() => origin?.[Symbol.asyncDispose]());

describe("two captures started at once", () => {
  test("share no work: one is fenced, the other takes the log to its end", async () => {
    await using run = await fork(origin, "at_once");
    const survivor = await expectOneFenced(run);
    await untilAt(run, expected.checkpoint!);
    await end(survivor);
    expectSame(await readStore(run.store), expected);
    await expectSoundCommits(run.store);
  });

  test("make one baseline", async () => {
    await using undisturbed = await forkEmpty(origin, "baseline");
    await runToEnd(undisturbed);
    await using run = await forkEmpty(origin, "baseline_at_once");
    const survivor = await expectOneFenced(run);
    await untilAt(run, (await readStore(undisturbed.store)).checkpoint!);
    await end(survivor);
    expectSame(await readStore(run.store, false), await readStore(undisturbed.store, false));
  });
});

describe("a capture that stood still while another took over", () => {
  const TAIL: readonly CrashPoint[] = [
    "capture-taken-over:1",
    "batch-staged:2",
    "batch-commit-sent:2",
    "idle-before-commit:2",
    ...(isNightly ? (["batch-before-commit:2", "batch-after-commit:2"] as const) : []),
  ];
  test.each(TAIL)("stopped at %s, it writes nothing more", async (point) => {
    await using run = await fork(origin, point);
    const stuck = await freezeAt(run, point);
    await runToEnd(run);
    const before = await readStore(run.store);
    expectSame(before, expected);
    stuck.child.kill("SIGCONT");
    await expectFenced(stuck);
    expect(await readStore(run.store)).toEqual(before);
    await expectSoundCommits(run.store);
  });

  const BASELINE: readonly CrashPoint[] = [
    "capture-taken-over:1",
    "batch-commit-sent:1",
    "baseline-middle:1",
    ...(isNightly ? (["baseline-slot-created:1", "baseline-after-commit:1"] as const) : []),
  ];
  test.each(BASELINE)("stopped in a baseline at %s, it leaves the slot alone", async (point) => {
    await using run = await forkEmpty(origin, point);
    // So that there is a slot to be removed.
    await crashAt(run, "baseline-first-stage:1");
    const stuck = await freezeAt(run, point);
    await runToEnd(run);
    const before = await readStore(run.store);
    stuck.child.kill("SIGCONT");
    await expectFenced(stuck);
    expect(await readStore(run.store)).toEqual(before);
    await runToEnd(run);
  });
});

/** Starts two, and waits until one has been fenced. @returns the other */
async function expectOneFenced(run: Fork): Promise<RunningCli> {
  const both = [startBanyan(run, ["run", "--json"]), startBanyan(run, ["run", "--json"])];
  await Promise.race(both.map((running) => running.ended));
  const [fenced, survivor] = isAlive(both[0]!) ? [both[1]!, both[0]!] : [both[0]!, both[1]!];
  await expectFenced(fenced);
  expect(isAlive(survivor)).toBe(true);
  return survivor;
}

async function expectFenced(running: RunningCli): Promise<void> {
  const result = await ended(running);
  const code = /\[([A-Z_]+)\][^[]*$/.exec(result.stderr)?.[1];
  expect({ exitCode: result.exitCode, code }).toEqual(FENCED);
}

async function end(running: RunningCli): Promise<void> {
  running.child.kill("SIGINT");
  expect(await ended(running)).toMatchObject({ exitCode: 0 });
}

/** Waits for its end, and ends it when that takes very long. */
async function ended(running: RunningCli): Promise<CliResult> {
  const timer = setTimeout(() => running.child.kill("SIGKILL"), WAIT_MS_MAX);
  try {
    return await running.ended;
  } finally {
    clearTimeout(timer);
  }
}

async function untilAt(run: Fork, checkpoint: string): Promise<void> {
  const deadline = Date.now() + WAIT_MS_MAX;
  while (((await readStore(run.store)).checkpoint ?? "") < checkpoint) {
    if (Date.now() > deadline) throw new Error(`the pipeline does not come to ${checkpoint}`);
    await sleep(POLL_MS);
  }
}
