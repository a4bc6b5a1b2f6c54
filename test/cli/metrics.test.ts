import { describe, expect, test } from "vitest";
import { parseListenAddress } from "../../src/cli/metrics-address.ts";
import { pipelineMetrics, serveMetrics } from "../../src/cli/metrics.ts";
import type { ParityNote } from "../../src/cli/parity-note.ts";
import type { ReverseNote } from "../../src/cli/reverse-note.ts";
import { EMPTY_LEDGER, type PipelineStatus } from "../../src/pipeline/status.ts";

const STATUS = {
  phase: "tail",
  lag: { bytes: 1_234, seconds: 0.5 },
  quarantine: { streams: 2 },
  ledger: { ...EMPTY_LEDGER, changesClaimed: 7, changesFallback: 3, events: 12, transactions: 4 },
} as PipelineStatus;
const PARITY: ParityNote = {
  state: "different",
  compared: 100,
  present: 101,
  missing: 1,
  extra: 2,
  different: 3,
  verifiedAt: new Date(Date.now() - 60_000).toISOString(),
  fence: undefined,
  stale: false,
  findings: { open: 6, settled: 4 },
};
const REVERSE: ReverseNote = {
  running: true,
  lagSeconds: 1.5,
  applied: 8,
  conflicts: 2,
  samples: [],
  updatedAt: new Date().toISOString(),
};

test.each([
  ["9464", { host: "127.0.0.1", port: 9464 }],
  ["0.0.0.0:80", { host: "0.0.0.0", port: 80 }],
  ["[::1]:0", { host: "::1", port: 0 }],
])("%s is an address to listen on", (text, address) => {
  expect(parseListenAddress(text)).toEqual(address);
});

test.each(["", "x", "70000", "host:", "host:x", "-1"])("%j is none", (text) => {
  expect(() => parseListenAddress(text)).toThrow(expect.objectContaining({ code: "USAGE" }));
});

describe("what is served", () => {
  test("says where the pipeline stands and what the last verification found", async () => {
    const text = await pipelineMetrics(
      "shop",
      () => STATUS,
      () => Promise.resolve(PARITY),
      () => Promise.resolve(REVERSE),
    ).metrics();
    for (const line of [
      'banyan_phase{pipeline="shop",phase="tail"} 1',
      'banyan_phase{pipeline="shop",phase="baseline"} 0',
      'banyan_lag_bytes{pipeline="shop"} 1234',
      'banyan_changes_total{pipeline="shop",told="named"} 7',
      'banyan_events_total{pipeline="shop"} 12',
      'banyan_quarantine_streams{pipeline="shop"} 2',
      'banyan_quarantine_changes{pipeline="shop"} 0',
      'banyan_parity{pipeline="shop",state="different"} 1',
      'banyan_parity{pipeline="shop",state="equal"} 0',
      'banyan_parity_rows{pipeline="shop",verdict="extra"} 2',
      'banyan_parity_findings{pipeline="shop",settled="yes"} 4',
      'banyan_parity_findings{pipeline="shop",settled="no"} 2',
      'banyan_reverse_lag_seconds{pipeline="shop",running="yes"} 1.5',
      'banyan_reverse_events{pipeline="shop",state="applied"} 8',
      'banyan_reverse_conflicts{pipeline="shop",state="open"} 2',
    ])
      expect(text.split("\n")).toContain(line);
    const age = Number(/banyan_parity_age_seconds\{.*\} (\S+)/.exec(text)![1]);
    const ageNow = (Date.now() - Date.parse(PARITY.verifiedAt)) / 1_000;
    expect(age).toBeGreaterThanOrEqual(60);
    expect(age).toBeLessThanOrEqual(ageNow);
  });

  test("has no figures of what is not known yet, and counts each scrape anew", async () => {
    const now: { status?: PipelineStatus } = {};
    const registry = pipelineMetrics(
      "shop",
      () => now.status,
      () => Promise.resolve(undefined),
    );
    expect(await registry.metrics()).not.toMatch(/^banyan_(lag_bytes|parity_rows|reverse_\w+)\{/m);
    now.status = STATUS;
    await registry.metrics();
    expect(await registry.metrics()).toContain('banyan_events_total{pipeline="shop"} 12');
  });

  test("is at /metrics alone, and goes on without parity while the store is away", async () => {
    let fails = false;
    const parity = (): Promise<undefined> =>
      fails ? Promise.reject(new Error("the store is away")) : Promise.resolve(undefined);
    const registry = pipelineMetrics("shop", () => STATUS, parity);
    const served = await serveMetrics(registry, { host: "127.0.0.1", port: 0 });
    try {
      const ok = await fetch(served.url);
      expect([ok.status, ok.headers.get("content-type")]).toEqual([
        200,
        expect.stringContaining("text/plain"),
      ]);
      expect(await ok.text()).toContain("banyan_phase");
      expect((await fetch(new URL("/", served.url))).status).toBe(404);
      expect((await fetch(served.url, { method: "POST" })).status).toBe(404);
      fails = true;
      const away = await (await fetch(served.url)).text();
      expect(away).toContain('banyan_lag_bytes{pipeline="shop"} 1234');
      expect(away).not.toMatch(/^banyan_parity_rows\{/m);
      const { port } = new URL(served.url);
      await expect(
        serveMetrics(registry, { host: "127.0.0.1", port: Number(port) }),
      ).rejects.toMatchObject({ code: "USAGE" });
    } finally {
      await served.close();
    }
  });
});
