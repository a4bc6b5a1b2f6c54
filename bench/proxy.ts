import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BODY, PROXY_KINDS, type ProxyKind } from "./proxy-kinds.ts";
import { load, type LoadResult } from "./proxy-load.ts";
import { startChild } from "./start-proxy-child.ts";
import { median, processNow, ratio, say, spread } from "./support.ts";
import { freePort } from "../connectors/embedded/free-ports.ts";

export interface ProxyBenchOptions {
  readonly rounds: number;
  readonly seconds: number;
}

interface Running {
  readonly kind: ProxyKind;
  readonly port: number;
  /** Those that do its work. */
  readonly pids: () => readonly number[];
  stop(): void;
}

interface Sample extends LoadResult {
  /** Requests per second of processor time that the proxy took. */
  readonly perCore: number;
}

const WARM_SECONDS = 2;
const START_MS_MAX = 20_000;
/** Bars: beside the best packaged proxy for Node, and beside nginx. */
const BARS = { node: 1.3, nginx: 0.35 };

/**
 * Small JSON over kept connections through the proxy, beside proxies from npm and nginx, each in a process of
 * its own with one thread, in turn, in the same run. A request's price is processor time: on a machine
 * where load and application share the processors, requests per second depend on those as well.
 */
export async function benchProxy({ rounds, seconds }: ProxyBenchOptions): Promise<void> {
  say(`\n== proxy: small JSON, kept connections, ${rounds} rounds of ${seconds} s each`);
  const folder = mkdtempSync(join(tmpdir(), "banyan-proxy-bench-"));
  const upstream = await startChild("upstream", 0);
  const running: Running[] = [];
  try {
    for (const kind of PROXY_KINDS) {
      const one = await start(kind, upstream.port, folder);
      if (one === undefined)
        say(`${kind} is left out: it is not installed (apt-get install nginx)`);
      else running.push(one);
    }
    const samples = new Map<ProxyKind, Sample[]>(running.map(({ kind }) => [kind, []]));
    for (const { port } of running) await load(port, WARM_SECONDS, BODY);
    for (let round = 0; round < rounds; round++) {
      // Another one is first each time.
      for (let i = 0; i < running.length; i++) {
        const one = running[(i + round) % running.length]!;
        const before = cpuSeconds(one.pids());
        const result = await load(one.port, seconds, BODY);
        const perCore = result.requests / (cpuSeconds(one.pids()) - before);
        samples.get(one.kind)!.push({ ...result, perCore });
      }
    }
    report(samples);
  } finally {
    for (const one of running) one.stop();
    upstream.child.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

function report(samples: ReadonlyMap<ProxyKind, readonly Sample[]>): void {
  for (const [kind, of] of samples) {
    const perCore = spread(of.map((one) => one.perCore));
    const perSecond = spread(of.map((one) => one.perSecond));
    const p99 = spread(
      of.map((one) => one.p99Ms),
      (ms) => `${ms.toFixed(1)} ms`,
    );
    say(
      `${kind.padEnd(14)} ${perCore} requests per core second, ${perSecond} requests/s, p99 ${p99}`,
    );
  }
  const ours = samples.get("banyan")!;
  const against = (kinds: readonly ProxyKind[], value: (sample: Sample) => number) => {
    const theirs = kinds.map((kind) => samples.get(kind)).filter((of) => of !== undefined);
    if (theirs.length === 0) return undefined;
    const best = theirs.reduce((a, b) => (median(a.map(value)) > median(b.map(value)) ? a : b));
    return ours.map((sample, i) => value(sample) / value(best[i]!));
  };
  const node = against(["httpxy", "http-proxy-3"], (sample) => sample.perCore)!;
  say(`beside the best of Node   ${spread(node, ratio)} per core (bar ${BARS.node})`);
  const nginx = against(["nginx"], (sample) => sample.perCore);
  if (nginx !== undefined)
    say(`beside nginx              ${spread(nginx, ratio)} per core (bar ${BARS.nginx})`);
}

async function start(
  kind: ProxyKind,
  upstream: number,
  folder: string,
): Promise<Running | undefined> {
  if (kind === "nginx") return await startNginx(upstream, folder);
  const { child, port } = await startChild(kind, upstream);
  return { kind, port, pids: () => [child.pid!], stop: () => void child.kill() };
}

async function startNginx(upstream: number, folder: string): Promise<Running | undefined> {
  if (spawnSync("nginx", ["-v"]).error !== undefined) return undefined;
  const port = await freePort();
  const file = join(folder, "nginx.conf");
  writeFileSync(
    file,
    `daemon off; worker_processes 1; pid ${folder}/nginx.pid; error_log ${folder}/error.log;
     events { worker_connections 2048; }
     http {
       access_log off; keepalive_requests 1000000000;
       upstream app { server 127.0.0.1:${upstream}; keepalive 512; keepalive_requests 1000000000; }
       server {
         listen 127.0.0.1:${port};
         location / {
           proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection "";
           proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
         }
       }
     }`,
  );
  const child = spawn("nginx", ["-c", file, "-p", folder, "-e", join(folder, "error.log")], {
    stdio: "ignore",
  });
  const deadline = performance.now() + START_MS_MAX;
  while (childrenOf(child.pid!).length === 0 && performance.now() < deadline) {
    await new Promise((done) => setTimeout(done, 50));
  }
  return { kind: "nginx", port, pids: () => childrenOf(child.pid!), stop: () => void child.kill() };
}

function childrenOf(pid: number): readonly number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
  return text
    .split(" ")
    .filter((one) => one.trim() !== "")
    .map(Number);
}

function cpuSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + processNow(pid).cpuSeconds, 0);
}
