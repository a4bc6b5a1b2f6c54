import type { Folder, StreamState } from "./fold.ts";
import type { FoldEvent } from "../store/event-store.ts";

export interface FoldedStream {
  readonly stream: string;
  /** Of its last event that was folded; 0 when all were left out. */
  readonly version: number;
  readonly state: StreamState;
}

/**
 * Folds events that come ordered by stream and version, one stream at a time; only one stream's state
 * is in memory.
 *
 * @param include leaves out an event when it returns false; asked of each with what was folded before it
 */
export async function* foldStreams(
  groups: AsyncIterable<readonly FoldEvent[]>,
  folder: Folder,
  include: (event: FoldEvent, state: StreamState) => boolean = () => true,
): AsyncGenerator<FoldedStream, void, void> {
  let stream: string | undefined;
  let version = 0;
  let state: StreamState = new Map();
  for await (const events of groups) {
    for (const event of events) {
      if (event.stream !== stream) {
        if (stream !== undefined) yield { stream, version, state };
        stream = event.stream;
        version = 0;
        state = new Map();
      }
      if (!include(event, state)) continue;
      folder.apply(state, event);
      version = event.version;
    }
  }
  if (stream !== undefined) yield { stream, version, state };
}
