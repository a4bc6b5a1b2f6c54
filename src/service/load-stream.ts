import { commandEventId } from "./command-events.ts";
import type { StreamMapping } from "./stream-mapping.ts";
import type { StreamState } from "../projection/fold.ts";
import type { EventStore } from "../store/event-store.ts";

export interface LoadedStream {
  /** Of the last event; 0 when there is none. */
  readonly version: number;
  /** Rows as of that event. */
  readonly state: StreamState;
  /** Version of the last event that a command led to, where it is one of these. */
  readonly storedBefore: number | undefined;
}

export interface LoadOptions {
  /** Version to stop after. */
  readonly until?: number;
  /** A command whose events are looked for. */
  readonly command?: { readonly pipeline: string; readonly subject: string; readonly id: string };
  readonly signal?: AbortSignal | undefined;
}

/**
 * Reads a stream and folds it.
 *
 * @param mapping knows the mapping versions of all events, see `knowing`
 */
export async function loadStream(
  store: EventStore,
  stream: string,
  mapping: () => Promise<StreamMapping>,
  knowing: (version: number) => Promise<StreamMapping>,
  { until, command, signal }: LoadOptions = {},
): Promise<LoadedStream> {
  const state: StreamState = new Map();
  const idOf = (n: number): string | undefined =>
    command && commandEventId(command.pipeline, command.subject, command.id, n);
  let version = 0;
  let storedBefore: number | undefined;
  let sought = idOf(0);
  let found = 0;
  let { folder } = await mapping();
  let told: number | undefined;
  for await (const event of store.readStream(
    stream,
    until === undefined ? {} : { toVersion: until },
  )) {
    signal?.throwIfAborted();
    const { mappingVersion } = event;
    if (mappingVersion !== undefined && mappingVersion !== told) {
      ({ folder } = await knowing(mappingVersion));
      told = mappingVersion;
    }
    folder.apply(state, event);
    version = event.version;
    if (event.id !== sought) continue;
    storedBefore = event.version;
    sought = idOf(++found);
  }
  return { version, state, storedBefore };
}
