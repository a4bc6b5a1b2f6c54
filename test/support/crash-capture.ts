import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import type { Failpoint } from "../../src/runtime/failpoint.ts";
import { startCli, type CliResult, type RunningCli } from "./cli.ts";
import type { TestShop } from "./shop.ts";

/** One pipeline of a shop: where its events go, and through which slot they come. */
export interface Capture {
  readonly shop: TestShop;
  readonly storeUrl: string;
  readonly slot: string;
  /** The mapping cannot map some orders. */
  readonly isBroken?: boolean;
}

/** Where a process is to be killed: the point, and at which passing of it. */
export type CrashPoint = `${Failpoint}:${number}`;

/** True with BANYAN_TEST_BUDGET=nightly: more of the same, see each test. */
export const isNightly = process.env["BANYAN_TEST_BUDGET"] === "nightly";

const RUN_MS_MAX = 180_000;
const POLL_MS = 20;

/** Runs the built `banyan` on a pipeline; it is killed if it takes very long. */
export function startBanyan(
  { shop, storeUrl, slot, isBroken = false }: Capture,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): RunningCli {
  const running = startCli(args, {
    cwd: shop.directory,
    env: {
      SHOP_URL: shop.database.url,
      EVENTS_URL: storeUrl,
      SHOP_SLOT: slot,
      SHOP_BROKEN: isBroken ? "1" : "0",
      ...env,
    },
  });
  const timer = setTimeout(() => running.child.kill("SIGKILL"), RUN_MS_MAX);
  void running.ended.finally(() => clearTimeout(timer)).catch(() => undefined);
  return running;
}

export async function runBanyan(capture: Capture, ...args: readonly string[]): Promise<CliResult> {
  return await startBanyan(capture, args).ended;
}

/** Runs the capture until all that was committed before is in the store. */
export async function runToEnd(capture: Capture): Promise<void> {
  const result = await runBanyan(capture, "run", "--until-caught-up", "--json");
  const { exitCode, stderr } = result;
  expect({ exitCode, said: exitCode === 0 ? "" : stderr }).toEqual({ exitCode: 0, said: "" });
}

/** Runs the capture until it is killed at the point, and makes sure that it was killed there. */
export async function crashAt(capture: Capture, point: CrashPoint): Promise<void> {
  const { running, log } = startUntil(capture, point);
  const { signal, stderr } = await running.ended;
  const hit = hitIn(log);
  expect({ signal, hit, said: hit === undefined ? stderr : "" }).toEqual({
    signal: "SIGKILL",
    hit: point.split(":")[0],
    said: "",
  });
}

/** Runs the capture until it stands still at the point; SIGCONT lets it go on. */
export async function freezeAt(capture: Capture, point: CrashPoint): Promise<RunningCli> {
  const { running, log } = startUntil(capture, `${point}:stop`);
  const deadline = Date.now() + RUN_MS_MAX;
  while (hitIn(log) === undefined) {
    if (!isAlive(running) || Date.now() > deadline)
      throw new Error(`banyan run did not come to ${point}:\n${running.stderr()}`);
    await sleep(POLL_MS);
  }
  return running;
}

/** The capture, told to end itself at a point. */
export function startUntil(
  capture: Capture,
  point: string,
): { readonly running: RunningCli; readonly log: string } {
  const log = join(capture.shop.directory, `failpoint-${process.hrtime.bigint()}`);
  const env = { BANYAN_FAILPOINT: point, BANYAN_FAILPOINT_LOG: log };
  return { running: startBanyan(capture, ["run", "--json"], env), log };
}

export function isAlive({ child }: RunningCli): boolean {
  return child.exitCode === null && child.signalCode === null;
}

/** The failpoint that a process said it passed last. */
export function hitIn(log: string): string | undefined {
  return existsSync(log) ? readFileSync(log, "utf8").trim() : undefined;
}
