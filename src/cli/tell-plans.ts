import type { Progress } from "./progress.ts";
import type { StreamBaseline } from "../pipeline/baseline-plan.ts";

/** How each stream's baseline is read and why, those of one kind and reason together. */
export function tellPlans(progress: Progress, plans: readonly StreamBaseline[]): void {
  const kinds = new Map<string, string[]>();
  for (const { stream, tables, isChunked, why } of plans) {
    const kind = `${isChunked ? "in chunks beside the log" : "under one snapshot"}: ${why}`;
    const of = tables === undefined ? stream.type : `${tables.join(", ")} in ${stream.type}`;
    kinds.set(kind, [...(kinds.get(kind) ?? []), of]);
  }
  for (const [kind, streams] of kinds) progress.line(`baseline of ${streams.join(", ")} ${kind}`);
}
