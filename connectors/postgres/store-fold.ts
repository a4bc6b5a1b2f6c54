import pg from "pg";
import { cellText } from "./cell-text.ts";
import { copyOut } from "./store-copy.ts";
import { isoTimestamp } from "./store-time.ts";
import type { Origin } from "../../src/model/event.ts";
import type { Position } from "../../src/model/position.ts";
import type { FoldEvent } from "../../src/store/event-store.ts";

const EVENTS_PER_PAGE_MAX = 2_000;
const BYTES_PER_PAGE_MAX = 4 * 1024 * 1024;

/** By first letter; the enum is sent as its label. */
const ORIGINS: readonly Origin[] = ["baseline", "capture", "native", "import"];
const ORIGIN_BY_LETTER = new Map(ORIGINS.map((origin) => [origin.charCodeAt(0), origin]));

/** What {@link foldEvent} decodes. */
const FOLD_COLUMNS =
  "stream_id, version, type, origin, mapping_version, source_transaction, time, CASE WHEN origin = 'baseline' THEN source_position END, data";

/**
 * Events by stream and version.
 *
 * @param where a condition on them
 * @param from where they are found
 * @param client idle, and of no use afterwards unless all was read
 */
export function copyFoldEvents(
  client: pg.Client,
  where: string,
  signal: AbortSignal,
  from = "banyan.events",
): AsyncGenerator<readonly FoldEvent[], void, void> {
  return copyOut({
    client,
    sql: `COPY (SELECT ${FOLD_COLUMNS} FROM ${from} WHERE ${where}
                 ORDER BY stream_id, version) TO STDOUT (FORMAT binary)`,
    decode: foldEvent,
    rowsPerPageMax: EVENTS_PER_PAGE_MAX,
    bytesPerPageMax: BYTES_PER_PAGE_MAX,
    signal,
  });
}

/** Condition for the streams `<streamType>-…`: the prefix as a range of the index, "." follows "-" in byte order. */
export function ofStreamType(streamType: string): string {
  const [from, to] = [pg.escapeLiteral(`${streamType}-`), pg.escapeLiteral(`${streamType}.`)];
  return `stream_id >= ${from} AND stream_id < ${to}`;
}

/**
 * All events of the streams `<streamType>-…`, by stream and version.
 *
 * One COPY, so one snapshot; in binary, because JSON in text format would be escaped twice.
 *
 * @param client idle, and of no use afterwards
 */
export function copyStreamType(
  client: pg.Client,
  streamType: string,
  signal: AbortSignal,
): AsyncGenerator<readonly FoldEvent[], void, void> {
  return copyFoldEvents(client, ofStreamType(streamType), signal);
}

/** Decodes the columns above; each is a length (-1 for NULL) and that many bytes. */
function foldEvent(b: Buffer, at: number): FoldEvent {
  const streamEnd = at + 4 + b.readInt32BE(at);
  const versionAt = streamEnd + 4;
  const typeAt = versionAt + 4;
  const typeEnd = typeAt + 4 + b.readInt32BE(typeAt);
  const originEnd = typeEnd + 4 + b.readInt32BE(typeEnd);
  const hasMapping = b.readInt32BE(originEnd) === 4;
  const transactionAt = originEnd + (hasMapping ? 8 : 4);
  const transactionLength = b.readInt32BE(transactionAt);
  const transactionEnd = transactionAt + 4 + Math.max(0, transactionLength);
  const timeAt = transactionEnd + 4;
  const readAt = timeAt + 8;
  const readAtLength = b.readInt32BE(readAt);
  const dataAt = readAt + 4 + Math.max(0, readAtLength);
  const dataEnd = dataAt + 4 + b.readInt32BE(dataAt);
  return {
    stream: cellText(b, at + 4, streamEnd),
    version: b.readInt32BE(versionAt),
    type: cellText(b, typeAt + 4, typeEnd),
    origin: ORIGIN_BY_LETTER.get(b[typeEnd + 4]!)!,
    mappingVersion: hasMapping ? b.readInt32BE(originEnd + 4) : undefined,
    sourceTransaction:
      transactionLength < 0 ? undefined : cellText(b, transactionAt + 4, transactionEnd),
    time: isoTimestamp(b.readInt32BE(timeAt), b.readUInt32BE(timeAt + 4)),
    // Behind the version byte of jsonb.
    data: JSON.parse(b.toString("utf8", dataAt + 5, dataEnd)) as Record<string, unknown>,
    ...(readAtLength < 0 ? {} : { readAt: cellText(b, readAt + 4, dataAt) as Position }),
  };
}
