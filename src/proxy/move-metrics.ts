import { Counter, Gauge, type Registry } from "prom-client";
import type { Creations } from "./creations.ts";
import type { HeldRequests } from "./held-requests.ts";
import type { Presence } from "../rollout/presence.ts";
import type { TrafficCounts } from "../rollout/traffic.ts";
import type { UnderWay } from "../rollout/under-way.ts";

/** The part that a proxy has in moves. */
export interface MoveParts {
  readonly heldRequests: HeldRequests;
  readonly underWay: UnderWay;
  readonly presence: Presence;
  readonly creations: Creations;
  readonly traffic: TrafficCounts;
}

type Values = readonly (readonly [labels: Readonly<Record<string, string>>, value: number])[];

export function addMoveMetrics(registers: Registry[], parts: MoveParts): void {
  const { heldRequests, underWay, presence, creations, traffic } = parts;
  const gauge = (
    name: string,
    help: string,
    values: () => Values,
    labelNames: string[] = [],
  ): void => {
    new Gauge({
      name: `banyan_proxy_${name}`,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        for (const [labels, value] of values()) this.set(labels, value);
      },
    });
  };
  const counter = (
    name: string,
    help: string,
    values: () => Values,
    labelNames: string[] = [],
  ): void => {
    new Counter({
      name: `banyan_proxy_${name}_total`,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        for (const [labels, value] of values()) this.inc(labels, value);
      },
    });
  };
  const one = (value: number): Values => [[{}, value]];
  gauge("held_now", "Requests that wait for a move", () => one(heldRequests.count));
  counter("held", "Requests that had to wait for a move", () => one(heldRequests.total));
  gauge("held_seconds_max", "Longest that a request has waited for a move", () =>
    one(heldRequests.longestMs / 1_000),
  );
  gauge("writes_under_way", "Writes and creations at an upstream", () => one(underWay.count));
  gauge(
    "acknowledged_epoch",
    "No write of an earlier epoch is under way",
    () => [...presence.acknowledged].map(([stream, epoch]) => [{ stream }, epoch] as const),
    ["stream"],
  );
  gauge("creations_waiting", "Answers to creations that wait for their stream", () =>
    one(creations.waiting),
  );
  counter(
    "creations",
    "Answers to creations that had to wait for their stream, by what came of it",
    () => {
      const { seen, late, unread } = creations.counts;
      return [
        [{ outcome: "seen" }, seen],
        [{ outcome: "late" }, late],
        [{ outcome: "unread" }, unread],
      ];
    },
    ["outcome"],
  );
  counter("traffic_lost", "Requests whose counts the store did not take", () => one(traffic.lost));
}
