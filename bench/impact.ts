import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { openPostgresEventStore } from "../connectors/postgres/event-store.ts";
import { say, spread, whole, withServer } from "./support.ts";
import { capture, prepare, type CaptureOptions } from "./workload.ts";
import { verify } from "./verify.ts";

const SLOT = "bench";
const CLIENTS = 4;
const SECONDS = 10;
/** Of a baseline, which takes long beside others, so much is enough to look at. */
const BASELINE_SECONDS_MAX = 60;

export interface ImpactOptions {
  readonly rows: number;
  readonly rounds: number;
  /** What goes on beside the application. */
  readonly beside: readonly ("verify" | "baseline")[];
}

interface Second {
  readonly transactions: number;
  readonly p99Ms: number;
}

/**
 * What a verification without end, and a baseline in chunks, cost an application that does its own work on
 * the same server: transactions a second of as many clients as ever, with and without.
 */
export async function benchImpact({ rows, rounds, beside }: ImpactOptions): Promise<void> {
  say(`\n== the application's own traffic, ${CLIENTS} clients on ${whole(rows)} rows`);
  await withServer(async (server) => {
    for (const name of ["source", "events"]) await server.createDatabase(name);
    const sourceUrl = server.url("source");
    const storeUrl = server.url("events");
    await prepare(sourceUrl, rows, "full");
    const run = { sourceUrl, storeUrl, slot: SLOT };
    await capture({ ...run, isDone: ({ phase }) => phase === "tail" });
    const stop = new AbortController();
    const running = capture({ ...run, isDone: () => false, signal: stop.signal });
    // What ends the benchmark is told where it is awaited, and not this, which follows from it.
    running.catch(() => undefined);
    await verify(sourceUrl, storeUrl, "equal");
    const most = await startLoad(sourceUrl, rows, 0);
    const [, ...full] = await most.seconds(SECONDS);
    await most.stop();
    const fixed = Math.round(mean(rates(full)) / 2);
    for (const [name, rate] of [
      ["fixed", fixed],
      ["most", 0],
    ] as const) {
      say(rate === 0 ? "as fast as it is answered" : `at a fixed ${whole(rate)} transactions/s`);
      const load = await startLoad(sourceUrl, rows, rate);
      await load.seconds(2);
      if (beside.includes("verify")) await besideVerify(load, rounds, sourceUrl, storeUrl);
      if (beside.includes("baseline")) {
        for (const backOff of rate === 0 ? (["with"] as const) : (["with", "without"] as const)) {
          const slot = `bench_${name}_${backOff}`;
          await server.createDatabase(slot);
          await besideBaseline(load, backOff, { sourceUrl, storeUrl: server.url(slot), slot });
        }
      }
      await load.stop();
    }
    stop.abort();
    await running;
  });
}

async function besideVerify(
  load: Load,
  rounds: number,
  sourceUrl: string,
  storeUrl: string,
): Promise<void> {
  const alone: Second[] = [];
  const beside: Second[] = [];
  for (let round = 0; round < rounds; round++) {
    alone.push(...(await load.seconds(SECONDS)));
    const over = new AbortController();
    const verifying = verifyOver(sourceUrl, storeUrl, over.signal);
    beside.push(...(await load.seconds(SECONDS)));
    over.abort();
    await verifying;
  }
  sayKept("verify", alone, beside);
}

/** The load goes on until the baseline is done, or enough is seen. */
async function besideBaseline(
  load: Load,
  backOff: "with" | "without",
  run: Pick<CaptureOptions, "sourceUrl" | "storeUrl" | "slot">,
): Promise<void> {
  const alone = await load.seconds(SECONDS);
  const enough = new AbortController();
  let isOver = false;
  let readRows = 0;
  let reason = "";
  const baselining = capture({
    ...run,
    baseline: "chunked",
    pace: backOff === "with" ? {} : { baselineSlowdownMax: 1 },
    signal: enough.signal,
    isDone({ phase, baseline }) {
      readRows = baseline?.rowsRead ?? 0;
      reason = baseline?.backingOff || reason;
      return phase === "tail";
    },
  }).finally(() => (isOver = true));
  const seconds: Second[] = [];
  while (!isOver && seconds.length <= BASELINE_SECONDS_MAX)
    seconds.push(...(await load.seconds(1)));
  const isDone = isOver;
  // The log is followed for the second time; what that alone costs is told apart.
  const following = isDone ? [] : await pausedSeconds(load, run.storeUrl);
  enough.abort();
  await baselining;
  // The last one was not whole.
  const beside = seconds.slice(0, -1);
  sayKept(`a baseline in chunks, ${backOff} back-off`, alone, beside);
  if (following.length > 0) sayKept("the same, paused: the log alone", alone, following);
  say(
    `    in ${beside.length} s it read ${whole(readRows)} rows${reason === "" ? "" : `; ${reason}`}`,
  );
}

async function pausedSeconds(load: Load, storeUrl: string): Promise<readonly Second[]> {
  const store = await openPostgresEventStore({ url: storeUrl });
  await store.pauseBaseline("bench", true);
  await store.close();
  await load.seconds(2);
  return await load.seconds(SECONDS);
}

function sayKept(what: string, alone: readonly Second[], beside: readonly Second[]): void {
  const p99 = (seconds: readonly Second[]): string =>
    spread(
      seconds.map(({ p99Ms }) => p99Ms),
      tenth,
    );
  say(`  alone            ${spread(rates(alone))} transactions/s, p99 ${p99(alone)} ms`);
  say(`  beside ${what}: ${spread(rates(beside))} transactions/s, p99 ${p99(beside)} ms`);
  say(
    `    share kept     ${(mean(rates(beside)) / mean(rates(alone))).toFixed(2)} (bar 0.9 at a fixed rate)`,
  );
}

/** One verification after the other. */
async function verifyOver(sourceUrl: string, storeUrl: string, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) await verify(sourceUrl, storeUrl, "equal");
}

interface Load {
  /** The next so many seconds. */
  seconds(count: number): Promise<readonly Second[]>;
  stop(): Promise<void>;
}

async function startLoad(url: string, rows: number, rate: number): Promise<Load> {
  const jiti = join(import.meta.dirname, "../node_modules/jiti/lib/jiti-cli.mjs");
  const program = join(import.meta.dirname, "load-client.ts");
  const parameters = [jiti, program, url, CLIENTS, rows, rate].map(String);
  const child = spawn(process.execPath, parameters, { stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise((done) => child.once("close", done));
  const told: Second[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    told.push(JSON.parse(line) as Second);
  });
  return {
    async seconds(count) {
      const from = told.length;
      while (told.length < from + count) {
        if (child.exitCode !== null) throw new Error("the load has ended");
        await sleep(50);
      }
      return told.slice(from, from + count);
    },
    async stop() {
      child.stdin.end();
      await ended;
    },
  };
}

function rates(seconds: readonly Second[]): readonly number[] {
  return seconds.map(({ transactions }) => transactions);
}

function tenth(value: number): string {
  return value.toFixed(1);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
