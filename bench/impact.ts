import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { say, spread, whole, withServer } from "./support.ts";
import { capture, prepare, type CaptureOptions } from "./workload.ts";
import { verify } from "./verify.ts";

const SLOT = "bench";
const CLIENTS = 4;
const SECONDS = 10;

export interface ImpactOptions {
  readonly rows: number;
  readonly rounds: number;
}

interface Second {
  readonly transactions: number;
  readonly p99Ms: number;
}

/**
 * What a verification without end, and a baseline in chunks, cost an application that does its own work on
 * the same server: transactions a second of as many clients as ever, with and without, in turns.
 */
export async function benchImpact({ rows, rounds }: ImpactOptions): Promise<void> {
  say(`\n== the application's own traffic, ${CLIENTS} clients on ${whole(rows)} rows`);
  await withServer(async (server) => {
    for (const name of ["source", "events", "chunks"]) await server.createDatabase(name);
    const sourceUrl = server.url("source");
    const storeUrl = server.url("events");
    await prepare(sourceUrl, rows, "full");
    const chunks = {
      sourceUrl,
      storeUrl: server.url("chunks"),
      slot: "bench_chunks",
      baseline: "chunked",
    } as const;
    const run = { sourceUrl, storeUrl, slot: SLOT };
    await capture({ ...run, isDone: ({ phase }) => phase === "tail" });
    const stop = new AbortController();
    const running = capture({ ...run, isDone: () => false, signal: stop.signal });
    await verify(sourceUrl, storeUrl, "equal");
    const most = await startLoad(sourceUrl, rows, 0);
    const [, ...full] = await most.seconds(SECONDS);
    await most.stop();
    const fixed = Math.round(mean(full.map(({ transactions }) => transactions)) / 2);
    for (const rate of [fixed, 0]) {
      const load = await startLoad(sourceUrl, rows, rate);
      await load.seconds(2);
      const alone: number[] = [];
      const beside: number[] = [];
      const slowest: number[] = [];
      for (let round = 0; round < rounds; round++) {
        alone.push(...rates(await load.seconds(SECONDS)));
        const over = new AbortController();
        const verifying = verifyOver(sourceUrl, storeUrl, over.signal);
        const measured = await load.seconds(SECONDS);
        over.abort();
        await verifying;
        beside.push(...rates(measured));
        slowest.push(...measured.map(({ p99Ms }) => p99Ms));
      }
      // Once: the store has it then. The load goes on until it is written.
      const baselined = rate === fixed ? await besideBaseline(load, chunks) : [];
      await load.stop();
      const what = rate === 0 ? "all it can" : `fixed at ${whole(rate)}`;
      say(`alone              ${spread(alone)} transactions/s (${what})`);
      say(`  beside verify    ${spread(beside)} transactions/s, p99 ${spread(slowest)} ms`);
      say(`  share kept       ${(mean(beside) / mean(alone)).toFixed(2)} (bar 0.9)`);
      if (baselined.length === 0) continue;
      say(
        `  beside a baseline in chunks, ${baselined.length} s: ${spread(baselined)} transactions/s`,
      );
      say(`  share kept       ${(mean(baselined) / mean(alone)).toFixed(2)} (bar 0.9)`);
    }
    stop.abort();
    await running;
  });
}

/** Transactions of each whole second while a baseline is read in chunks. */
async function besideBaseline(
  load: Load,
  options: Omit<CaptureOptions, "isDone">,
): Promise<readonly number[]> {
  let isOver = false;
  const baselining = capture({ ...options, isDone: ({ phase }) => phase === "tail" }).finally(
    () => (isOver = true),
  );
  const seconds: number[] = [];
  while (!isOver) seconds.push(...rates(await load.seconds(1)));
  await baselining;
  // The last one was not whole.
  return seconds.slice(0, -1);
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

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
