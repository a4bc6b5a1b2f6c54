import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../connectors/embedded/free-ports.ts";
import { BODY, type ChildKind } from "./proxy-kinds.ts";
import { CONNECTIONS, loadWithWrk, type LoadResult } from "./proxy-load.ts";
import { startChild, type StartedChild } from "./start-proxy-child.ts";
import { mainThreadSeconds, median, processNow, ratio, say, spread } from "./support.ts";

export interface ShadowBenchOptions {
  readonly rounds: number;
  readonly seconds: number;
  /** Share of what the first proxy can do. */
  readonly load: number;
}

interface Case {
  readonly name: string;
  readonly kind: "banyan-uncompared" | "banyan-compared";
  /** Whom it asks in shadow: nobody listens where it is dead. */
  readonly fresh: ChildKind | "dead";
  /** Beside a program that has nothing to do with it. */
  readonly isBesideAnother?: boolean;
}

/** What one proxy did in one round. */
interface Sample extends LoadResult {
  /** Share of a core that the proxy took, with all its threads. */
  readonly cores: number;
  /** Processor time of the thread that answers clients, for each request. */
  readonly mainMicros: number;
  /** Of the reads that came to something meanwhile. */
  readonly reads: ReadCounts;
}

/**
 * The second is the first again, in another process: how far two that are the same lie apart. The third says
 * what it costs here that anybody uses the second processor at all, even if only while nobody else wants it.
 */
const CASES: readonly Case[] = [
  { name: "none compared", kind: "banyan-uncompared", fresh: "upstream" },
  { name: "the same again", kind: "banyan-uncompared", fresh: "upstream" },
  {
    name: "none, beside an idler",
    kind: "banyan-uncompared",
    fresh: "upstream",
    isBesideAnother: true,
  },
  { name: "all compared", kind: "banyan-compared", fresh: "upstream" },
  { name: "with one that is slow", kind: "banyan-compared", fresh: "upstream-slow" },
  { name: "with one that is dead", kind: "banyan-compared", fresh: "dead" },
  { name: "with one that errs", kind: "banyan-compared", fresh: "upstream-erring" },
  { name: "with one that lies", kind: "banyan-compared", fresh: "upstream-lying" },
];
const WARM_SECONDS = 3;
const WARM_ROUNDS = 2;
/** What is under way in shadow at the end of a round comes to something. */
const SETTLE_MS = 700;
/** Bar of p99 with comparison beside p99 without. */
const BAR = 1.1;

/**
 * What comparing every read costs the clients: proxies at stage shadow, two that compare none and others that
 * compare all, with new services of all sorts, in turn, at a share of what the first can do with the same
 * clients on the same processors. Every answer is held against what it should be.
 */
export async function benchShadow(options: ShadowBenchOptions): Promise<void> {
  const { rounds, seconds, load: share } = options;
  say(
    `\n== shadow: every read compared, ${share} of the saturation load, ${rounds} rounds of ${seconds} s`,
  );
  if (spawnSync("wrk", ["-v"]).error !== undefined)
    return say("left out: it needs wrk (apt-get install wrk)");
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
    for (let round = 0; round < WARM_ROUNDS; round++)
      for (const { port } of proxies) await load(port, WARM_SECONDS);
    const pauseMsMax = await pauseFor(share, proxies[0]!.port);
    const samples: Sample[][] = CASES.map(() => []);
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < CASES.length; i++) {
        const at = (i + round) % CASES.length;
        const idler = CASES[at]!.isBesideAnother === true ? startIdler() : undefined;
        samples[at]!.push(await measure(CASES[at]!, proxies[at]!, seconds, pauseMsMax));
        idler?.kill();
      }
    }
    report(samples);
  } finally {
    for (const { child } of children) child.kill();
  }
}

/** The pause between two requests of a client with which all of them come to such a share of what they could. */
async function pauseFor(share: number, port: number): Promise<number> {
  const { perSecond } = await load(port, WARM_SECONDS);
  const wanted = perSecond * share;
  let pauseMsMax = Math.round((2 * CONNECTIONS * 1_000) / wanted);
  let paced = (await load(port, WARM_SECONDS, pauseMsMax)).perSecond;
  while (paced < wanted && pauseMsMax > 1)
    paced = (await load(port, WARM_SECONDS, --pauseMsMax)).perSecond;
  say(
    `saturated without comparison at ${Math.round(perSecond)} requests/s; ` +
      `${CONNECTIONS} clients that wait up to ${pauseMsMax} ms: ${Math.round(paced)}`,
  );
  return pauseMsMax;
}

/**
 * The new service stands for one on a machine of its own: it gets the time that nobody else here wants, where
 * that can be had.
 */
function elsewhere(started: StartedChild): StartedChild {
  spawnSync("chrt", ["--all-tasks", "--idle", "--pid", "0", String(started.child.pid)]);
  return started;
}

/** A program that computes whenever nobody else wants a processor, as the thread that compares does. */
function startIdler(): ChildProcess {
  return spawn("chrt", ["--idle", "0", process.execPath, "-e", "for (;;);"], { stdio: "ignore" });
}

async function load(port: number, seconds: number, pauseMsMax = 0): Promise<LoadResult> {
  const result = await loadWithWrk(port, seconds, BODY, pauseMsMax);
  if (result === undefined) throw new Error("wrk is gone");
  return result;
}

async function measure(
  { kind }: Case,
  proxy: StartedChild,
  seconds: number,
  pauseMsMax: number,
): Promise<Sample> {
  const pid = proxy.child.pid!;
  const counts = async (): Promise<ReadCounts> =>
    kind === "banyan-compared" ? await countsOf(proxy) : NOTHING;
  const before = await counts();
  const [all, main] = [processNow(pid).cpuSeconds, mainThreadSeconds(pid)];
  const result = await load(proxy.port, seconds, pauseMsMax);
  const cores = (processNow(pid).cpuSeconds - all) / seconds;
  const mainMicros = ((mainThreadSeconds(pid) - main) * 1e6) / result.requests;
  await sleep(SETTLE_MS);
  return { ...result, cores, mainMicros, reads: difference(await counts(), before) };
}

interface ReadCounts {
  readonly compared: number;
  readonly different: number;
  readonly uncompared: number;
  readonly dropped: number;
}

const NOTHING: ReadCounts = { compared: 0, different: 0, uncompared: 0, dropped: 0 };

/** What came of the reads of a proxy so far. */
async function countsOf({ child }: StartedChild): Promise<ReadCounts> {
  const told = new Promise<string>((done) =>
    child.stdout!.once("data", (text: Buffer) => done(text.toString())),
  );
  child.kill("SIGUSR2");
  return (JSON.parse(await told) as ReadCounts[])[0] ?? NOTHING;
}

function difference(after: ReadCounts, before: ReadCounts): ReadCounts {
  return {
    compared: after.compared - before.compared,
    different: after.different - before.different,
    uncompared: after.uncompared - before.uncompared,
    dropped: after.dropped - before.dropped,
  };
}

function report(samples: readonly (readonly Sample[])[]): void {
  const ms = (value: number): string => `${value.toFixed(2)} ms`;
  for (const [at, of] of samples.entries()) {
    const p50 = median(of.map((one) => one.p50Ms));
    const cores = median(of.map((one) => one.cores));
    const main = median(of.map((one) => one.mainMicros));
    say(
      `${CASES[at]!.name.padEnd(22)} p99 ${spread(
        of.map((one) => one.p99Ms),
        ms,
      )}, p50 ${ms(p50)}, ${cores.toFixed(2)} cores, main thread ${main.toFixed(1)} µs a request`,
    );
  }
  const none = samples[0]!;
  const beside = (of: readonly Sample[], value: (sample: Sample) => number): string =>
    spread(
      of.map((sample, i) => value(sample) / value(none[i]!)),
      ratio,
    );
  for (const [at, of] of samples.entries()) {
    if (at === 0) continue;
    const isCompared = CASES[at]!.kind === "banyan-compared";
    const p99 = beside(of, (sample) => sample.p99Ms);
    const main = beside(of, (sample) => sample.mainMicros);
    say(
      `${CASES[at]!.name.padEnd(22)} beside none: p99 ${p99}${isCompared ? ` (bar ${BAR})` : ""}, ` +
        `main thread ${main}${isCompared ? `; ${told(of)}` : ""}`,
    );
  }
}

function told(samples: readonly Sample[]): string {
  const sum = (name: keyof ReadCounts): number =>
    samples.reduce((all, { reads }) => all + reads[name], 0);
  const all = sum("compared") + sum("uncompared") + sum("dropped");
  const of = (name: keyof ReadCounts): string =>
    `${((sum(name) * 100) / all).toFixed(1)} % ${name}`;
  return `${of("compared")}, ${of("different")}, ${of("uncompared")}, ${of("dropped")}`;
}
