import type pg from "pg";
import { cellText } from "./cell-text.ts";
import { copyOut } from "./store-copy.ts";
import type { StreamVersionPage } from "../../src/store/event-store.ts";

const EVENTS_PER_PAGE_MAX = 10_000;
const BYTES_PER_PAGE_MAX = 1024 * 1024;

/**
 * Stream and version of the newest events, newest first, along the primary key: within a stream its
 * order is that of the versions.
 *
 * @param client idle, and of no use afterwards
 */
export async function* copyRecentVersions(
  client: pg.Client,
  eventsMax: number,
  signal: AbortSignal,
): AsyncGenerator<StreamVersionPage, void, void> {
  const pages = copyOut({
    client,
    sql: `COPY (SELECT stream_id, version FROM banyan.events
                 ORDER BY transaction_id DESC, position DESC LIMIT ${Math.trunc(eventsMax)}) TO STDOUT (FORMAT binary)`,
    decode: streamAndVersion,
    rowsPerPageMax: EVENTS_PER_PAGE_MAX,
    bytesPerPageMax: BYTES_PER_PAGE_MAX,
    signal,
  });
  for await (const page of pages)
    yield { streams: page.map(([stream]) => stream), versions: page.map(([, version]) => version) };
}

function streamAndVersion(b: Buffer, at: number): readonly [stream: string, version: number] {
  const streamEnd = at + 4 + b.readInt32BE(at);
  return [cellText(b, at + 4, streamEnd), b.readInt32BE(streamEnd + 4)];
}
