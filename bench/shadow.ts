import { pacedLoad, type PacedResult } from "./paced-load.ts";
import { BODY } from "./proxy-kinds.ts";
import { load } from "./proxy-load.ts";
import { startChild, type StartedChild } from "./start-proxy-child.ts";
import { median, processNow, ratio, say, spread } from "./support.ts";

export interface ShadowBenchOptions {
  readonly rounds: number;
  readonly seconds: number;
}

interface Sample extends PacedResult {
  /** Share of a core that the proxy took. */
  readonly cores: number;
}

const KINDS = ["banyan-uncompared", "banyan-compared"] as const;
const WARM_SECONDS = 3;
/** Bar of p99 with comparison beside p99 without. */
const BAR = 1.1;

/**
 * What comparing every read costs the clients: two proxies at stage shadow, one that compares all reads and
 * one that compares none, in turn, at half of what the second one can do.
 */
export async function benchShadow({ rounds, seconds }: ShadowBenchOptions): Promise<void> {
  say(
    `\n== shadow: every read compared, half the saturation load, ${rounds} rounds of ${seconds} s`,
  );
  const upstream = await startChild("upstream", 0);
  const proxies = await Promise.all(KINDS.map((kind) => startChild(kind, upstream.port)));
  try {
    for (const { port } of proxies) await load(port, WARM_SECONDS, BODY);
    const saturated = await load(proxies[0]!.port, WARM_SECONDS, BODY);
    const perSecond = Math.floor(saturated.perSecond / 2);
    say(`saturated without comparison at ${Math.round(saturated.perSecond)} requests/s`);
    const samples: Sample[][] = KINDS.map(() => []);
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < KINDS.length; i++) {
        const at = (i + round) % KINDS.length;
        const { child, port } = proxies[at]!;
        const before = processNow(child.pid!).cpuSeconds;
        const result = await pacedLoad(port, perSecond, seconds, BODY);
        const cores = (processNow(child.pid!).cpuSeconds - before) / seconds;
        samples[at]!.push({ ...result, cores });
      }
    }
    report(samples);
    const told = await endOf(proxies[1]!);
    say(`of ${told.all} reads compared ${told.compared}, different ${told.different}`);
  } finally {
    for (const { child } of [...proxies, upstream]) child.kill();
  }
}

/** Ends the proxy that compares, and gives what came of its reads. */
async function endOf({ child }: StartedChild): Promise<ReadCounts> {
  let text = "";
  child.stdout!.on("data", (piece: Buffer) => (text += piece.toString()));
  const ended = new Promise((done) => child.once("close", done));
  child.kill();
  await ended;
  const [reads] = JSON.parse(text) as Omit<ReadCounts, "all">[];
  return { ...reads!, all: reads!.compared + reads!.uncompared + reads!.dropped };
}

interface ReadCounts {
  readonly compared: number;
  readonly different: number;
  readonly uncompared: number;
  readonly dropped: number;
  readonly all: number;
}

function report(samples: readonly (readonly Sample[])[]): void {
  const ms = (value: number): string => `${value.toFixed(2)} ms`;
  for (const [at, of] of samples.entries()) {
    const p99 = spread(
      of.map((one) => one.p99Ms),
      ms,
    );
    const p50 = median(of.map((one) => one.p50Ms));
    const cores = median(of.map((one) => one.cores));
    say(`${KINDS[at]!.padEnd(18)} p99 ${p99}, p50 ${ms(p50)}, ${cores.toFixed(2)} cores`);
  }
  const [without, compared] = samples;
  const ratios = compared!.map(({ p99Ms }, i) => p99Ms / without![i]!.p99Ms);
  say(`p99 with beside without   ${spread(ratios, ratio)} (bar ${BAR})`);
}
