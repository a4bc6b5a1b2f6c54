import { setTimeout as sleep } from "node:timers/promises";
import type { RequestContext } from "./request-context.ts";
import { streamOf, type StreamWorkOptions } from "./stream-work.ts";
import type { WrittenBack } from "../store/reverse-store.ts";

/** So long the answer of a request may wait for the legacy rows, when nothing else is said. */
const WRITTEN_BACK_MS_MAX = 5_000;
/** Between two looks. */
const LOOK_MS = 20;

export interface WrittenBackOptions {
  /** How long to wait, in ms; 5,000 when absent. */
  readonly msMax?: number;
}

/** See `Aggregates.writtenBack`. */
export async function writtenBack(
  { store, pipeline, streamType, mappings }: StreamWorkOptions,
  { mode, signal }: RequestContext,
  { id, version }: { readonly id: string; readonly version: number },
  { msMax = WRITTEN_BACK_MS_MAX }: WrittenBackOptions,
): Promise<WrittenBack> {
  // Legacy does itself what is only proposed here.
  if (mode === "shadow") return { outcome: "written" };
  const stream = streamOf(await mappings.of(streamType), id);
  const deadline = performance.now() + msMax;
  for (;;) {
    signal?.throwIfAborted();
    const found = await store.reverse.outcomeOf(pipeline, stream, version);
    if (found.outcome !== "waiting" || performance.now() >= deadline) return found;
    await sleep(LOOK_MS, undefined, signal && { signal });
  }
}
