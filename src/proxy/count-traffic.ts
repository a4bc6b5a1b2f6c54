import type { RequestRecord } from "./request-record.ts";
import type { TrafficCounts } from "../rollout/traffic.ts";

/** How a route and a method are named together, in banyan.traffic and wherever else. */
export function routeName(method: string, path: string): string {
  return `${method} ${path}`;
}

/**
 * Counts a routed request when it has ended. One that its client did not wait for counts with the time for
 * which it did; one that is the client's own fault does not.
 */
export function countTraffic(counts: TrafficCounts, record: RequestRecord): void {
  const { decision, sentMs, startedMs, headMs, status, end, method } = record;
  if (decision?.route === undefined || sentMs === undefined) return;
  const isError = status >= 500 || end === "upstream-broke-off";
  if (headMs === undefined && !isError && end !== "client-went-away") return;
  const { stream, path } = decision.route.route;
  const headAtMs = headMs === undefined ? performance.now() : startedMs + headMs;
  counts.add(stream, routeName(method, path), decision.side, headAtMs - sentMs, isError);
}
