import type { EventStore, ListedStream } from "./event-store.ts";

const STREAMS_PER_PAGE = 10_000;

/** The streams of a type, page by page, ordered bytewise by id. @throws the signal's reason */
export async function* eachStream(
  store: Pick<EventStore, "listStreams">,
  streamType: string,
  signal: AbortSignal,
): AsyncGenerator<readonly ListedStream[], void, void> {
  for (let after: string | undefined; ;) {
    signal.throwIfAborted();
    const page = await store.listStreams(streamType, after, STREAMS_PER_PAGE);
    yield page;
    if (page.length < STREAMS_PER_PAGE) return;
    after = page.at(-1)!.stream;
  }
}
