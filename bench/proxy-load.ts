import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import autocannon from "autocannon";

export interface LoadResult {
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export const CONNECTIONS = 64;
const HEADERS = {
  accept: "application/json",
  "user-agent": "bench/1.0",
  cookie: "session=0123456789abcdef0123456789abcdef",
  traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
};

/** Asks for as long as told on 64 connections, and fails unless every answer is 200 with this body. */
export async function load(port: number, seconds: number, body: string): Promise<LoadResult> {
  return (
    (await loadWithWrk(port, seconds, body)) ?? (await loadWithAutocannon(port, seconds, body))
  );
}

async function loadWithAutocannon(
  port: number,
  seconds: number,
  body: string,
): Promise<LoadResult> {
  const url = `http://127.0.0.1:${port}/orders/4711`;
  const result = await autocannon({
    url,
    connections: CONNECTIONS,
    duration: seconds,
    headers: HEADERS,
    expectBody: body,
  });
  const wrong = result.non2xx + result.mismatches + result.errors;
  if (wrong > 0) throw new Error(`${wrong} answers were wrong`);
  return {
    requests: result.requests.total,
    perSecond: result.requests.total / result.duration,
    p50Ms: result.latency.p50,
    p99Ms: result.latency.p99,
  };
}

/**
 * The same with wrk, which takes less of the processors that all share. Undefined when it is not there.
 *
 * @param pauseMsMax each client waits up to so long between an answer and its next request
 */
export async function loadWithWrk(
  port: number,
  seconds: number,
  body: string,
  pauseMsMax = 0,
): Promise<LoadResult | undefined> {
  const folder = mkdtempSync(join(tmpdir(), "banyan-wrk-"));
  try {
    const script = join(folder, "check.lua");
    writeFileSync(script, luaOf(body, pauseMsMax));
    const args = ["-t1", `-c${CONNECTIONS}`, `-d${seconds}s`, "-s", script];
    const text = await outputOf("wrk", [...args, `http://127.0.0.1:${port}/orders/4711`]);
    if (text === undefined) return undefined;
    const [, requests, micros, p50, p99, wrong] = /result (\d+) (\d+) (\d+) (\d+) (\d+)/
      .exec(text)!
      .map(Number);
    if (wrong! > 0) throw new Error(`${wrong} answers were wrong: ${text}`);
    return {
      requests: requests!,
      perSecond: requests! / (micros! / 1e6),
      p50Ms: p50! / 1_000,
      p99Ms: p99! / 1_000,
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function luaOf(body: string, pauseMsMax: number): string {
  const lines = Object.entries(HEADERS).map(
    ([name, value]) => `wrk.headers["${name}"] = "${value}"`,
  );
  if (pauseMsMax > 0) lines.push(`function delay() return math.random(0, ${pauseMsMax}) end`);
  return `${lines.join("\n")}
    local threads = {}
    function setup(thread) table.insert(threads, thread) end
    wrong = 0
    local expected = [==[${body}]==]
    function response(status, headers, body)
      if status ~= 200 or body ~= expected then wrong = wrong + 1 end
    end
    function done(summary, latency)
      local bad = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status + summary.errors.timeout
      for _, thread in ipairs(threads) do bad = bad + thread:get("wrong") end
      print(string.format("result %d %d %d %d %d", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), bad))
    end`;
}

function outputOf(program: string, args: readonly string[]): Promise<string | undefined> {
  return new Promise((done, fail) => {
    let text = "";
    const child = spawn(program, [...args], { stdio: ["ignore", "pipe", "inherit"] });
    child.once("error", () => done(undefined));
    child.stdout.setEncoding("utf8").on("data", (piece: string) => (text += piece));
    child.once("close", (code) => {
      if (code === 0) done(text);
      else fail(new Error(`${program} ended with ${code}: ${text}`));
    });
  });
}
