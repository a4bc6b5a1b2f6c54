import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startShopServer } from "../../../examples/shop-postgres/app.ts";
import { runStatements, seedShop, shopFolder } from "../../../examples/shop-postgres/seed.ts";
import { runTraffic } from "../../../examples/shop-postgres/traffic.ts";
import { count, seconds } from "../output.ts";
import type { Progress } from "../progress.ts";
import { Capture } from "./capture.ts";
import { indent, runCli, type CliResult } from "./cli-process.ts";
import { demoRollout, type RolloutDocument } from "./rollout.ts";
import { startDemoServer } from "../wire.ts";
import { loadConfig } from "../../config/load-config.ts";
import { BanyanError } from "../../model/errors.ts";
import type { Scope } from "../../runtime/shutdown.ts";
import type { ParityReport } from "../../verify/parity-report.ts";
import { pause } from "../../runtime/pause.ts";

/** What `banyan demo --json` prints. */
export interface DemoDocument {
  /** In the shop before the traffic. */
  readonly rows: number;
  readonly baselined: number;
  readonly changes: number;
  readonly events: number;
  readonly killedAndResumed: boolean;
  readonly lagSeconds: number;
  readonly parity: Pick<ParityReport, "state" | "compared" | "missing" | "extra" | "different">;
  readonly rates: {
    readonly baselineRowsPerSecond: number;
    readonly changesPerSecond: number;
    readonly catchUpChangesPerSecond: number;
  };
  /** Orders on their way to the new service; absent when that was left out. */
  readonly rollout?: RolloutDocument;
}

export interface DemoOptions {
  readonly scope: Scope;
  readonly seed: number;
  /** How much of the rollout is shown: in ten seconds a share, quickly, or not at all. */
  readonly rollout: "whole" | "short" | "none";
  readonly progress: Progress;
  /** Prints a line of the tale. */
  readonly tell: (text: string) => void;
  /** Everything still runs while this is under way. */
  readonly onDone: (document: DemoDocument, howToLook: string) => Promise<void>;
}

const ORDERS = 12_000;
const REQUESTS_PER_SECOND = 120;
const FOLLOW_MS = 12_000;
const DEAD_MS = 5_000;
const AFTER_RESUME_MS = 6_000;
const CATCH_UP_MS_MAX = 60_000;

/**
 * The whole way in a minute, each step by the command that a user would type.
 *
 * @returns undefined when a signal ended it before its end
 */
export async function runDemo({
  scope,
  seed,
  rollout,
  progress,
  tell,
  onDone,
}: DemoOptions): Promise<DemoDocument | undefined> {
  const { signal, defer } = scope;
  const startedMs = Date.now();
  const step = (text: string): void => tell(`\n${seconds(Date.now() - startedMs)}  ${text}`);
  const rest = (ms: number): Promise<void> => pause(ms, signal);
  defer(() => progress.stop());

  step(
    "A legacy shop: seven tables in a real Postgres, an application over HTTP, customers at work",
  );
  progress.update("starting Postgres");
  const { shopUrl: databaseUrl, eventsUrl } = await startDatabases(scope);
  process.env["SHOP_URL"] = databaseUrl;
  process.env["EVENTS_URL"] = eventsUrl;
  progress.update("filling the shop");
  const rows = await seedShop({ url: databaseUrl, orders: ORDERS, seed });
  progress.stop();
  if (signal.aborted) return undefined;
  tell(`      ${count(rows)} rows`);
  const shop = await startShopServer({ databaseUrl });
  defer(() => shop.close());
  let storyOrder: string | undefined;
  let traffic = startTraffic(scope, shop.url, seed, (orderId) => (storyOrder ??= orderId));

  const configPath = join(shopFolder(), "banyan.config.ts");
  const cli = (...args: string[]): Promise<CliResult> =>
    runCli(scope, [...args, "--config", configPath]);

  step("$ banyan check");
  const check = JSON.parse((await cli("check", "--json")).stdout) as {
    ready: boolean;
    mend: string[];
  };
  for (const sql of check.mend) tell(`      ✗ missing; mended with: ${sql}`);
  await runStatements(databaseUrl, check.mend);
  const checked = await cli("check");
  tell(indent(checked.stdout));
  if (signal.aborted) return undefined;

  step(
    "$ banyan run          the baseline at one exact position of the log, then every change after it",
  );
  const config = await loadConfig(configPath);
  await using capture = await Capture.open({
    config,
    configPath,
    scope,
    tell: (line) => tell(`      ${line}`),
  });
  capture.start();
  await capture.untilBaselined();
  const baselineRowsPerSecond = capture.baselineRowsPerSecond;
  const watching = capture.watch(progress);
  await rest(FOLLOW_MS);
  const { changesPerSecond } = (await capture.status()).rates;

  step(
    `$ kill -9 ${capture.processId}         in the middle of it; the shop knows nothing and goes on`,
  );
  const before = await capture.kill();
  await rest(DEAD_MS);
  if (signal.aborted) return undefined;
  const dead = await capture.status();
  tell(
    `      ${count(dead.lag.bytes)} bytes of the log wait; the checkpoint stands at ${dead.positions.checkpoint}`,
  );

  step("$ banyan run          resumes where the store stands");
  const resumed = await capture.resume(CATCH_UP_MS_MAX);
  if (signal.aborted) return undefined;
  tell(`      ${count(resumed.changes)} changes caught up in ${(resumed.ms / 1000).toFixed(1)} s`);
  await rest(AFTER_RESUME_MS);
  watching.abort();

  step("$ banyan verify       every row against the fold of its events, under live traffic");
  const verified = await cli("verify", "--json");
  if (signal.aborted) return undefined;
  const firstParity = parityOf(verified);
  tell(indent((await cli("verify")).stdout));

  if (storyOrder !== undefined) {
    step(`$ banyan history order-${storyOrder}`);
    tell(indent((await cli("history", `order-${storyOrder}`)).stdout));
  }
  if (signal.aborted) return undefined;

  let parity = firstParity;
  let moved: RolloutDocument | undefined;
  if (rollout !== "none") {
    // Its customers ask legacy itself; those of the second half go through the proxy.
    await traffic.stop();
    moved = await demoRollout({
      ...{ scope, seed, progress, configPath, eventsUrl, step, tell },
      isShort: rollout === "short",
      legacyHttp: shop.url,
    });
    if (moved === undefined) return undefined;
    step("$ banyan verify       every row once more, moved there and back");
    parity = parityOf(await cli("verify", "--json"));
    tell(indent((await cli("verify")).stdout));
    traffic = startTraffic(scope, shop.url, seed + 1, () => undefined);
  }
  if (signal.aborted) return undefined;
  const { ledger, lag, positions } = await capture.status();
  const { state, compared, missing, extra, different } = parity;
  const document: DemoDocument = {
    rows,
    baselined: ledger.baselined,
    changes: ledger.changesIn,
    events: ledger.events,
    killedAndResumed: (positions.checkpoint ?? "") > before && ledger.changesIn > 0,
    lagSeconds: lag.seconds,
    parity: { state, compared, missing, extra, different },
    rates: {
      baselineRowsPerSecond,
      changesPerSecond: Math.round(changesPerSecond),
      catchUpChangesPerSecond: Math.round((resumed.changes * 1000) / Math.max(1, resumed.ms)),
    },
    ...(moved !== undefined && { rollout: moved }),
  };
  await onDone(document, howToLook(databaseUrl, eventsUrl, configPath, shop.url));
  await capture.stop();
  await traffic.stop();
  return document;
}

async function startDatabases({ defer }: Scope): Promise<{ shopUrl: string; eventsUrl: string }> {
  const dir = mkdtempSync(join(tmpdir(), "banyan-demo-"));
  defer(() => rmSync(dir, { recursive: true, force: true }));
  const server = await startDemoServer(dir);
  defer(() => server.stop());
  await server.createDatabase("shop");
  await server.createDatabase("events");
  return { shopUrl: server.url("shop"), eventsUrl: server.url("events") };
}

function startTraffic(
  scope: Scope,
  shopUrl: string,
  seed: number,
  onDelivered: (orderId: string) => void,
): { stop(): Promise<void> } {
  const end = new AbortController();
  const signal = AbortSignal.any([end.signal, scope.signal]);
  const done = runTraffic({
    shopUrl,
    seed,
    requestsPerSecond: REQUESTS_PER_SECOND,
    signal,
    onDelivered,
  });
  const stop = async (): Promise<void> => {
    end.abort();
    await done;
  };
  scope.defer(stop);
  return { stop };
}

function parityOf({ stdout, exitCode }: CliResult): ParityReport {
  try {
    return JSON.parse(stdout) as ParityReport;
  } catch (cause) {
    throw new BanyanError(
      "INVARIANT_BROKEN",
      `banyan verify ended with ${exitCode} and without a report`,
      { cause },
    );
  }
}

function howToLook(
  shopUrl: string,
  eventsUrl: string,
  configPath: string,
  shopHttp: string,
): string {
  return [
    "",
    "All of it runs on until Ctrl-C. In another terminal:",
    `  export SHOP_URL='${shopUrl}' EVENTS_URL='${eventsUrl}'`,
    `  npx banyan status --config ${configPath}`,
    `  npx banyan verify --config ${configPath}`,
    `  curl ${shopHttp}/catalogue`,
  ].join("\n");
}
