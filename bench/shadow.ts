import { spawnSync } from "node:child_process";
import { freePort } from "../connectors/embedded/embedded-postgres.ts";
import { pacedLoad, saturatedPerSecond, type PacedResult } from "./paced-load.ts";
import { BODY, type ChildKind } from "./proxy-kinds.ts";
import { startChild, type StartedChild } from "./start-proxy-child.ts";
import { mainThreadSeconds, median, processNow, ratio, say, spread } from "./support.ts";

export interface ShadowBenchOptions {
  readonly rounds: number;
  readonly seconds: number;
}

interface Case {
  readonly name: string;
  readonly kind: ChildKind;
  /** Whom it asks in shadow: nobody listens where it is dead. */
  readonly fresh: ChildKind | "dead";
}

interface Sample extends PacedResult {
  /** Share of a core that the proxy took, with all its threads. */
  readonly cores: number;
  /** Processor time of the thread that answers clients, for each request. */
  readonly mainMicros: number;
}

/** The second is the first again, in another process: how far two that are the same lie apart. */
const CASES: readonly Case[] = [
  { name: "none compared", kind: "banyan-uncompared", fresh: "upstream" },
  { name: "the same again", kind: "banyan-uncompared", fresh: "upstream" },
  { name: "all compared", kind: "banyan-compared", fresh: "upstream" },
  { name: "with one that is slow", kind: "banyan-compared", fresh: "upstream-slow" },
  { name: "with one that is dead", kind: "banyan-compared", fresh: "dead" },
  { name: "with one that errs", kind: "banyan-compared", fresh: "upstream-erring" },
  { name: "with one that lies", kind: "banyan-compared", fresh: "upstream-lying" },
];
const WARM_SECONDS = 2;
/** Bar of p99 with comparison beside p99 without. */
const BAR = 1.1;

/**
 * What comparing every read costs the clients: proxies at stage shadow, two that compare none and others that
 * compare all, with new services of all sorts, in turn, at half of what the first can do with the same clients
 * on the same processors. Every answer is held against what it should be.
 */
export async function benchShadow({ rounds, seconds }: ShadowBenchOptions): Promise<void> {
  say(
    `\n== shadow: every read compared, half the saturation load, ${rounds} rounds of ${seconds} s`,
  );
  const children: StartedChild[] = [];
  const start = async (kind: ChildKind, ...ports: [number, number?]): Promise<StartedChild> => {
    const child = await startChild(kind, ...ports);
    children.push(child);
    return child;
  };
  try {
    const legacy = await start("upstream", 0);
    const proxies: StartedChild[] = [];
    for (const { kind, fresh } of CASES) {
      const port = fresh === "dead" ? await freePort() : elsewhere(await start(fresh, 0)).port;
      proxies.push(await start(kind, legacy.port, port));
    }
    for (const { port } of proxies) await saturatedPerSecond(port, WARM_SECONDS, BODY);
    const saturated = await saturatedPerSecond(proxies[0]!.port, WARM_SECONDS, BODY);
    const perSecond = Math.floor(saturated / 2);
    say(`saturated without comparison at ${Math.round(saturated)} requests/s`);
    const samples: Sample[][] = CASES.map(() => []);
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < CASES.length; i++) {
        const at = (i + round) % CASES.length;
        samples[at]!.push(await measure(proxies[at]!, perSecond, seconds));
      }
    }
    report(samples);
    for (const [at, { name, kind }] of CASES.entries())
      if (kind === "banyan-compared") say(`${name.padEnd(22)} ${told(await endOf(proxies[at]!))}`);
  } finally {
    for (const { child } of children) child.kill();
  }
}

/**
 * The new service stands for one on a machine of its own: it gets the time that nobody else here wants, where
 * that can be had.
 */
function elsewhere(started: StartedChild): StartedChild {
  spawnSync("chrt", ["--all-tasks", "--idle", "--pid", "0", String(started.child.pid)]);
  return started;
}

async function measure(
  { child, port }: StartedChild,
  perSecond: number,
  seconds: number,
): Promise<Sample> {
  const pid = child.pid!;
  const [all, main] = [processNow(pid).cpuSeconds, mainThreadSeconds(pid)];
  const result = await pacedLoad(port, perSecond, seconds, BODY);
  return {
    ...result,
    cores: (processNow(pid).cpuSeconds - all) / seconds,
    mainMicros: ((mainThreadSeconds(pid) - main) * 1e6) / result.requests,
  };
}

/** Ends a proxy that compares, and gives what came of its reads. */
async function endOf({ child }: StartedChild): Promise<ReadCounts> {
  let text = "";
  child.stdout!.on("data", (piece: Buffer) => (text += piece.toString()));
  const ended = new Promise((done) => child.once("close", done));
  child.kill();
  await ended;
  return (JSON.parse(text) as ReadCounts[])[0]!;
}

interface ReadCounts {
  readonly compared: number;
  readonly different: number;
  readonly uncompared: number;
  readonly dropped: number;
}

/** With the rounds that only warm it, at all it can. */
function told({ compared, different, uncompared, dropped }: ReadCounts): string {
  const of = (count: number): string =>
    `${((count * 100) / (compared + uncompared + dropped)).toFixed(1)} %`;
  return `${of(compared)} compared, ${of(different)} different, ${of(uncompared)} uncompared, ${of(dropped)} dropped`;
}

function report(samples: readonly (readonly Sample[])[]): void {
  const ms = (value: number): string => `${value.toFixed(2)} ms`;
  const none = samples[0]!;
  const beside = (of: readonly Sample[], value: (sample: Sample) => number): string =>
    spread(
      of.map((sample, i) => value(sample) / value(none[i]!)),
      ratio,
    );
  const p99 = (sample: Sample): number => sample.p99Ms;
  const main = (sample: Sample): number => sample.mainMicros;
  for (const [at, of] of samples.entries()) {
    const p50 = median(of.map((one) => one.p50Ms));
    const cores = median(of.map((one) => one.cores));
    say(
      `${CASES[at]!.name.padEnd(22)} p99 ${spread(of.map(p99), ms)}, p50 ${ms(p50)}, ${cores.toFixed(2)} cores, ` +
        `main thread ${median(of.map(main)).toFixed(1)} µs a request`,
    );
  }
  const pooled = samples.map((of) => p99Of(of.flatMap(({ tookMs }) => tookMs)));
  for (const [at, of] of samples.entries()) {
    if (at === 0) continue;
    const bar = CASES[at]!.kind === "banyan-compared" ? ` (bar ${BAR})` : "";
    say(
      `${CASES[at]!.name.padEnd(22)} beside none: p99 of all requests ${ratio(pooled[at]! / pooled[0]!)}${bar}, of each round ${beside(of, p99)}, main thread ${beside(of, main)}`,
    );
  }
}

function p99Of(tookMs: readonly number[]): number {
  return tookMs.toSorted((a, b) => a - b)[Math.floor(tookMs.length * 0.99)]!;
}
