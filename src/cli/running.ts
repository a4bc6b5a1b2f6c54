import { ERROR_CODES } from "../model/errors.ts";
import type { PipelineStatus } from "../pipeline/status.ts";
import type { EventStore, PipelineRecord } from "../store/event-store.ts";

/** A status older than this means that nobody keeps it current. */
const STALE_MS = 15_000;

/** Whether some process keeps the status of a pipeline current. */
export function isKeptCurrent({ phase, updatedAt, status }: PipelineRecord): boolean {
  const { failure } = (status ?? {}) as Partial<PipelineStatus>;
  const ageMs = Date.now() - Date.parse(updatedAt);
  return phase !== "stopped" && ageMs < STALE_MS && !hasEnded(failure?.code);
}

/** Whether some process runs a pipeline, also one that has only just begun and said nothing yet. */
export async function isRunning(
  store: Pick<EventStore, "isCaptured">,
  record: PipelineRecord,
): Promise<boolean> {
  return isKeptCurrent(record) || (await store.isCaptured(record.name));
}

/** A failure that is not tried again is the last word of its process. */
function hasEnded(code: string | undefined): boolean {
  if (code === undefined) return false;
  const known: Readonly<Record<string, { readonly recovery: string } | undefined>> = ERROR_CODES;
  return known[code]?.recovery !== "retry";
}
