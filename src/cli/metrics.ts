import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Counter, Gauge, Registry } from "prom-client";
import type { ParityNote } from "./parity-note.ts";
import type { ReverseNote } from "./reverse-note.ts";
import { BanyanError } from "../model/errors.ts";
import type { PipelineStatus } from "../pipeline/status.ts";
import type { ParityState } from "../verify/parity-report.ts";

const PHASES: readonly PipelineStatus["phase"][] = ["new", "baseline", "tail", "stopped"];
const STATES: readonly ParityState[] = ["equal", "different", "inconclusive"];

/** How a pipeline stands, what the last verification found, and how far the way back is, for Prometheus. */
export function pipelineMetrics(
  pipeline: string,
  status: () => PipelineStatus | undefined,
  parity: () => Promise<ParityNote | undefined>,
  reverse: () => Promise<ReverseNote | undefined> = () => Promise.resolve(undefined),
): Registry {
  const registry = new Registry();
  const registers = [registry];
  // One question for all that are collected together; while the store is away the other figures go on.
  let asked: Promise<ParityNote | undefined> | undefined;
  const note = (): Promise<ParityNote | undefined> =>
    (asked ??= parity()
      .catch(() => undefined)
      .finally(() => (asked = undefined)));
  type Set = (value: number, labels?: Record<string, string>) => void;
  const gauge = (
    name: string,
    help: string,
    labelNames: readonly string[],
    read: (set: Set) => void | Promise<void>,
  ): void => {
    new Gauge({
      name: `banyan_${name}`,
      help,
      // One with a label is absent while it has no value; without one it would be 0.
      labelNames: ["pipeline", ...labelNames],
      registers,
      async collect() {
        this.reset();
        await read((value, labels = {}) => this.set({ pipeline, ...labels }, value));
      },
    });
  };
  const counter = (
    name: string,
    help: string,
    labelNames: readonly string[],
    read: (of: PipelineStatus, set: Set) => void,
  ): void => {
    new Counter({
      name: `banyan_${name}_total`,
      help,
      labelNames: ["pipeline", ...labelNames],
      registers,
      collect() {
        const now = status();
        this.reset();
        if (now !== undefined)
          read(now, (value, labels = {}) => this.inc({ pipeline, ...labels }, value));
      },
    });
  };
  gauge("phase", "1 for the phase that the pipeline is in", ["phase"], (set) => {
    const now = status()?.phase ?? "new";
    for (const phase of PHASES) set(phase === now ? 1 : 0, { phase });
  });
  gauge("lag_bytes", "Log between the checkpoint and the newest position", [], (set) => {
    const lag = status()?.lag;
    if (lag !== undefined) set(lag.bytes);
  });
  gauge("lag_seconds", "Age of what was committed last", [], (set) => {
    const lag = status()?.lag;
    if (lag !== undefined) set(lag.seconds);
  });
  gauge("quarantine_changes", "Changes parked and not mapped since", [], (set) => {
    const now = status();
    if (now !== undefined) set(now.ledger.changesParked);
  });
  gauge("quarantine_streams", "Streams that wait in quarantine", [], (set) => {
    const quarantine = status()?.quarantine;
    if (quarantine !== undefined) set(quarantine.streams);
  });
  counter("changes", "Row changes, by how they were told", ["told"], ({ ledger }, set) => {
    set(ledger.changesClaimed, { told: "named" });
    set(ledger.changesFallback, { told: "fallback" });
    set(ledger.changesUnchanged, { told: "unchanged" });
    set(ledger.changesEchoed, { told: "echo" });
  });
  counter("events", "Events written", [], ({ ledger }, set) => set(ledger.events));
  counter("transactions", "Source transactions", [], ({ ledger }, set) => set(ledger.transactions));
  counter("baseline_rows", "Rows in baseline events", [], ({ ledger }, set) =>
    set(ledger.baselineRows),
  );
  gauge("parity", "1 for what the last verification said", ["state"], async (set) => {
    const now = await note();
    for (const state of STATES) set(now?.state === state ? 1 : 0, { state });
  });
  gauge("parity_age_seconds", "Age of the last verification", [], async (set) => {
    const now = await note();
    if (now !== undefined) set((Date.now() - Date.parse(now.verifiedAt)) / 1000);
  });
  gauge("parity_rows", "Rows of the last verification that differ", ["verdict"], async (set) => {
    const now = await note();
    if (now === undefined) return;
    for (const verdict of ["missing", "extra", "different"] as const)
      set(now[verdict], { verdict });
  });
  gauge("parity_findings", "Differences that are open", ["settled"], async (set) => {
    const now = await note();
    if (now === undefined) return;
    const { open, settled } = now.findings;
    set(settled, { settled: "yes" });
    set(open - settled, { settled: "no" });
  });
  let askedBack: Promise<ReverseNote | undefined> | undefined;
  const back = (): Promise<ReverseNote | undefined> =>
    (askedBack ??= reverse()
      .catch(() => undefined)
      .finally(() => (askedBack = undefined)));
  gauge(
    "reverse_lag_seconds",
    "Age of the oldest event not looked at",
    ["running"],
    async (set) => {
      const now = await back();
      if (now !== undefined) set(now.lagSeconds, { running: now.running ? "yes" : "no" });
    },
  );
  gauge("reverse_events", "Native events in the legacy rows", ["state"], async (set) => {
    const now = await back();
    if (now !== undefined) set(now.applied, { state: "applied" });
  });
  gauge("reverse_conflicts", "Streams that wait", ["state"], async (set) => {
    const now = await back();
    if (now !== undefined) set(now.conflicts, { state: "open" });
  });
  return registry;
}

/**
 * Serves `GET /metrics`.
 *
 * @returns where, and how to end it
 * @throws BanyanError `USAGE` when the address cannot be had
 */
export async function serveMetrics(
  registry: Registry,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<{ readonly url: string; readonly close: () => Promise<void> }> {
  const server = createServer((request, response) => {
    const isAsked = request.url === "/metrics" && ["GET", "HEAD"].includes(request.method ?? "");
    if (!isAsked) {
      response.writeHead(404, { "content-type": "text/plain" }).end("see /metrics\n");
      return;
    }
    registry.metrics().then(
      (text) => response.writeHead(200, { "content-type": registry.contentType }).end(text),
      (error: unknown) => {
        response
          .writeHead(503, { "content-type": "text/plain" })
          .end(`${error instanceof Error ? error.message : String(error)}\n`);
      },
    );
  });
  await listen(server, host, port);
  const address = server.address() as AddressInfo;
  const name = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return {
    url: `http://${name}:${address.port}/metrics`,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((done, fail) => {
    server.once("error", (cause) =>
      fail(
        new BanyanError("USAGE", `the metrics cannot be served: ${cause.message}`, {
          cause,
          hint: "Name another port with --metrics",
        }),
      ),
    );
    server.listen(port, host, done);
  });
}
