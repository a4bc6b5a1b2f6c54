import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { AccessLog } from "./access-log.ts";
import { addMoveMetrics, type MoveParts } from "./move-metrics.ts";
import type { RequestRecord } from "./request-record.ts";
import type { Upstream } from "./upstream.ts";
import type { RolloutWatch } from "../rollout/rollout-watch.ts";
import { STAGES } from "../rollout/stage.ts";

export interface ProxyMetrics {
  readonly requests: number;
  /** For metrics of other parts. */
  readonly registry: Registry;
  observe(record: RequestRecord): void;
  /** In Prometheus' text form. */
  text(): Promise<string>;
}

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
interface Cell {
  readonly labels: Readonly<Record<"side" | "route" | "status" | "end", string>>;
  count: number;
}

export interface MetricParts extends MoveParts {
  readonly upstreams: readonly Upstream[];
  readonly watch: RolloutWatch;
  readonly log: AccessLog;
  readonly connections: () => number;
}

export function proxyMetrics(parts: MetricParts): ProxyMetrics {
  const { upstreams, watch, log, connections } = parts;
  const registers = [new Registry()];
  const cells = new Map<string, Cell>();
  new Counter({
    name: "banyan_proxy_requests_total",
    help: "Requests, by the side that got them and what came of them",
    labelNames: ["side", "route", "status", "end"],
    registers,
    // Counted here, because looking a set of labels up costs more than all else that is done for a request.
    collect() {
      this.reset();
      for (const { labels, count } of cells.values()) this.inc(labels, count);
    },
  });
  const duration = new Histogram({
    name: "banyan_proxy_request_seconds",
    help: "From the head of a request to the end of its answer",
    labelNames: ["side"],
    buckets: SECONDS,
    registers,
  });
  const gauge = (
    name: string,
    help: string,
    labelNames: readonly string[],
    collect: (set: (labels: Record<string, string>, value: number) => void) => void,
  ): void => {
    new Gauge({
      name: `banyan_proxy_${name}`,
      help,
      labelNames: [...labelNames],
      registers,
      collect() {
        this.reset();
        collect((labels, value) => this.set(labels, value));
      },
    });
  };
  gauge("upstream_in_flight", "Requests under way at an upstream", ["side"], (set) => {
    for (const { side, inFlight } of upstreams) set({ side }, inFlight);
  });
  gauge("upstream_up", "0 while an upstream is not asked", ["side"], (set) => {
    for (const { side, health, isOpen } of upstreams)
      set({ side }, health.isWell && !isOpen ? 1 : 0);
  });
  gauge("rollout_age_seconds", "Since when the rollout that is known may be wrong", [], (set) =>
    set({}, watch.ageMs / 1_000),
  );
  gauge("rollout_epoch", "Epoch of each stream type", ["stream"], (set) => {
    for (const [stream, { epoch }] of watch.known) set({ stream }, epoch);
  });
  gauge(
    "rollout_stage",
    "1 for the stage at which a stream type is",
    ["stream", "stage"],
    (set) => {
      for (const [stream, rollout] of watch.known)
        for (const stage of STAGES) set({ stream, stage }, stage === rollout.stage ? 1 : 0);
    },
  );
  gauge("connections", "Connections of clients", [], (set) => set({}, connections()));
  gauge("access_log_dropped", "Lines of the access log that were left out", [], (set) =>
    set({}, log.dropped),
  );
  addMoveMetrics(registers, parts);
  const durations = new Map<string, Histogram.Internal<"side">>();
  let total = 0;
  return {
    registry: registers[0]!,
    get requests() {
      return total;
    },
    observe({ decision, status, end, startedMs }) {
      total++;
      const side = decision?.side ?? "none";
      const route = decision?.route?.route.path ?? "";
      const key = `${side} ${status} ${end} ${route}`;
      const cell = cells.get(key);
      if (cell === undefined) {
        cells.set(key, { labels: { side, route, status: String(status), end }, count: 1 });
      } else cell.count++;
      let histogram = durations.get(side);
      if (histogram === undefined) durations.set(side, (histogram = duration.labels(side)));
      histogram.observe((performance.now() - startedMs) / 1_000);
    },
    text: () => registers[0]!.metrics(),
  };
}
