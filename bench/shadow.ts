import { pacedLoad, saturatedPerSecond, type PacedResult } from "./paced-load.ts";
import { BODY, type ChildKind } from "./proxy-kinds.ts";
import { startChild, type StartedChild } from "./start-proxy-child.ts";
import { mainThreadSeconds, median, processNow, ratio, say, spread } from "./support.ts";

export interface ShadowBenchOptions {
  readonly rounds: number;
  readonly seconds: number;
}

interface Sample extends PacedResult {
  /** Share of a core that the proxy took, with all its threads. */
  readonly cores: number;
  /** Processor time of the thread that answers clients, for each request. */
  readonly mainMicros: number;
}

/** The second is the first again, in another process: how far two that are the same lie apart. */
const KINDS: readonly { readonly kind: ChildKind; readonly name: string }[] = [
  { kind: "banyan-uncompared", name: "none compared" },
  { kind: "banyan-uncompared", name: "the same again" },
  { kind: "banyan-compared", name: "all compared" },
];
const WARM_SECONDS = 3;
/** Bar of p99 with comparison beside p99 without. */
const BAR = 1.1;

/**
 * What comparing every read costs the clients: proxies at stage shadow, two that compare none and one that
 * compares all, in turn, at half of what the first can do with the same clients on the same processors.
 */
export async function benchShadow({ rounds, seconds }: ShadowBenchOptions): Promise<void> {
  say(
    `\n== shadow: every read compared, half the saturation load, ${rounds} rounds of ${seconds} s`,
  );
  const [legacy, fresh] = [await startChild("upstream", 0), await startChild("upstream", 0)];
  const proxies: StartedChild[] = [];
  try {
    for (const { kind } of KINDS) proxies.push(await startChild(kind, legacy.port, fresh.port));
    for (const { port } of proxies) await saturatedPerSecond(port, WARM_SECONDS, BODY);
    const saturated = await saturatedPerSecond(proxies[0]!.port, WARM_SECONDS, BODY);
    const perSecond = Math.floor(saturated / 2);
    say(`saturated without comparison at ${Math.round(saturated)} requests/s`);
    const samples: Sample[][] = KINDS.map(() => []);
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < KINDS.length; i++) {
        const at = (i + round) % KINDS.length;
        samples[at]!.push(await measure(proxies[at]!, perSecond, seconds));
      }
    }
    report(samples);
    const told = await endOf(proxies[2]!);
    const share = ratio(told.compared / told.all);
    say(`of ${told.all} reads compared ${told.compared} (${share}), different ${told.different}`);
  } finally {
    for (const { child } of [...proxies, legacy, fresh]) child.kill();
  }
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
    const main = median(of.map((one) => one.mainMicros));
    say(
      `${KINDS[at]!.name.padEnd(14)} p99 ${p99}, p50 ${ms(p50)}, ${cores.toFixed(2)} cores, ` +
        `main thread ${main.toFixed(1)} µs a request`,
    );
  }
  const [none, again, all] = samples;
  const beside = (of: readonly Sample[], value: (sample: Sample) => number): string =>
    spread(
      of.map((sample, i) => value(sample) / value(none![i]!)),
      ratio,
    );
  const p99 = (sample: Sample): number => sample.p99Ms;
  say(`p99 of all beside none     ${beside(all!, p99)} (bar ${BAR})`);
  say(`p99 of the same beside it  ${beside(again!, p99)}`);
  say(`main thread of all beside none  ${beside(all!, (sample) => sample.mainMicros)}`);
}
