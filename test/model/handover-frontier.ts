import type { Fault } from "./handover-fault.ts";
import { LAST_KEY } from "./handover-scenario.ts";
import type { Process, Store } from "./handover-state.ts";
import { ChunkFrontier, type Committed } from "../../src/pipeline/chunk-frontier.ts";

const frontiers = new Map<string, ChunkFrontier>();

/**
 * The product's own rule, brought to where a state stands: who asks it for a verdict here asks the code
 * that decides in a pipeline.
 */
export function frontierOf(
  store: Store,
  process: Process,
  fault: Fault | undefined,
): ChunkFrontier {
  const isEarly = fault === "chunk forgotten too early";
  const passed = isEarly ? process.position : store.checkpoint!;
  const place = JSON.stringify([store.chunks, process.chunk, passed, fault]);
  let frontier = frontiers.get(place);
  if (frontier === undefined) {
    frontiers.set(place, (frontier = made(store, process, passed, fault)));
  }
  return frontier;
}

function made(
  { chunks }: Store,
  { chunk }: Process,
  passed: number,
  fault: Fault | undefined,
): ChunkFrontier {
  const finished = chunks.map(({ to, seen, fence }) => ({
    end: to === LAST_KEY ? undefined : [String(to)],
    sees: fault === "drop rule left out" ? () => false : seesOf(seen, fault),
    fence: digits(fence),
  }));
  const frontier = new ChunkFrontier(["integer"], "none", finished);
  frontier.passed(digits(passed));
  if (chunk === null) return frontier;
  // As if nothing were read yet.
  if (fault === "end of chunk not awaited" && chunk.to === null) return frontier;
  frontier.opening();
  if (chunk.seen === null || !chunk.isKnown) return frontier;
  frontier.opened({ sees: seesOf(chunk.seen, fault), fence: digits(chunk.fence) });
  for (const end of [chunk.until ?? null, chunk.to])
    if (end !== null) frontier.bounded(end === LAST_KEY ? undefined : [String(end)]);
  return frontier;
}

function seesOf(seen: readonly number[], fault: Fault | undefined): (id: string) => boolean {
  if (fault === "drop by log position") return () => true;
  return (id) => seen.includes(Number(id));
}

/** What the rule knows of a transaction. */
export function committed(transaction: number, at: number): Committed {
  return { id: String(transaction), commit: digits(at) };
}

function digits(place: number): string {
  return place.toString(16).toUpperCase().padStart(16, "0");
}
