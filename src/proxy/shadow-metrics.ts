import { Counter, Gauge, type Registry } from "prom-client";
import type { Shadow } from "./shadow.ts";

/** Adds what is told of shadow traffic to the metrics of a proxy. */
export function addShadowMetrics(shadow: Shadow, registry: Registry): void {
  const registers = [registry];
  new Counter({
    name: "banyan_proxy_shadow_reads_total",
    help: "Reads that were to be compared, by who answered the client and what came of it",
    labelNames: ["side", "route", "outcome"],
    registers,
    collect() {
      this.reset();
      for (const { side, route, different, uncompared, dropped, compared } of shadow.state.reads) {
        const outcomes = { equal: compared - different, different, uncompared, dropped };
        for (const [outcome, count] of Object.entries(outcomes))
          this.inc({ side, route, outcome }, count);
      }
    },
  });
  new Counter({
    name: "banyan_proxy_shadow_writes_total",
    help: "Writes that the new service was to get beside legacy",
    labelNames: ["outcome"],
    registers,
    collect() {
      this.reset();
      this.inc({ outcome: "mirrored" }, shadow.state.writesMirrored);
      this.inc({ outcome: "dropped" }, shadow.state.writesDropped);
    },
  });
  new Counter({
    name: "banyan_proxy_shadow_threads_lost_total",
    help: "Threads that compared reads and were lost",
    registers,
    collect() {
      this.reset();
      this.inc(shadow.state.threadsLost);
    },
  });
  const gauge = (name: string, help: string, value: () => number): void => {
    new Gauge({
      name: `banyan_proxy_shadow_${name}`,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });
  };
  gauge("under_way", "Reads and writes that are under way in shadow", () => shadow.state.underWay);
  gauge("share", "Of the reads to be compared, those that are", () => shadow.state.share);
  gauge("held_bytes", "Bytes of bodies held for shadow traffic", () => shadow.state.heldBytes);
  gauge("rows_waiting", "Mirrored writes not in the store yet", () => shadow.state.rowsWaiting);
  gauge("rows_dropped", "Mirrored writes that will never be", () => shadow.state.rowsDropped);
}
