import { BinaryWriter, fieldRoom } from "./store-binary.ts";
import type { EventBatch, EventContext } from "../../src/model/event.ts";

/** Columns of {@link encodeEvents}, in its order: first what differs per event, then what a transaction shares. */
export const EVENT_COPY_COLUMNS =
  "event_id, time, version, stream_id, type, source_position, data, causation_id, source_id, mapping_version, origin, source_transaction, correlation_id, actor, metadata";
const COLUMNS = 15;

/** A frame is closed once it holds this much, so it is at most this plus one event. */
const FRAME_BYTES = 256 * 1024;
/** Beyond `FRAME_BYTES`, so that an ordinary last event needs no larger buffer. */
const SLACK_BYTES = 16 * 1024;
const COPY_DATA = 0x64;
const HEADER_BYTES = 5;
const SIGNATURE = Buffer.concat([Buffer.from("PGCOPY\n\xff\r\n\0", "latin1"), Buffer.alloc(8)]);

/**
 * The events as binary COPY, in CopyData messages ready for the socket.
 *
 * Pulled, so that no more than a frame is encoded ahead of what the server takes; a frame is the
 * receiver's for good, because the socket may hold on to it.
 *
 * @see https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-BINARY-FORMAT
 */
export function* encodeEvents(events: EventBatch, sourceId: number): Generator<Buffer, void, void> {
  let out = beginFrame();
  out.bytes(SIGNATURE, 0, SIGNATURE.length);
  const shared = new SharedColumns(sourceId);
  for (let i = 0; i < events.length; i++) {
    if (out.at >= FRAME_BYTES) {
      yield endFrame(out);
      out = beginFrame();
    }
    const context = events.contexts[i]!;
    const stream = events.streams[i]!;
    const type = events.types[i]!;
    const position = events.positions[i]!;
    const data = events.data[i]!;
    const causation = events.causationIds.get(i) ?? context.causationId;
    const common = shared.of(context);
    out.reserve(
      2 +
        20 +
        12 +
        8 +
        common.length +
        fieldRoom(stream) +
        fieldRoom(type) +
        fieldRoom(position) +
        fieldRoom(causation) +
        fieldRoom(data),
    );
    out.int2(COLUMNS);
    out.uuidField(events.ids, i * 16);
    out.timestampField(events.timesUs[i]!);
    out.int4Field(events.versions[i]!);
    out.textField(stream);
    out.textField(type);
    out.textField(position);
    out.jsonbField(data);
    out.optionalTextField(causation);
    out.bytes(common, 0, common.length);
  }
  out.reserve(2);
  out.int2(-1);
  yield endFrame(out);
}

/** The columns that all events of a source transaction have in common, encoded once per context. */
class SharedColumns {
  readonly #sourceId: number;
  #context: EventContext | undefined;
  #encoded: Uint8Array = new Uint8Array(0);

  constructor(sourceId: number) {
    this.#sourceId = sourceId;
  }

  of(context: EventContext): Uint8Array {
    if (context === this.#context) return this.#encoded;
    const { origin, sourceTransaction, correlationId, actor, metadata } = context;
    const texts = [origin, sourceTransaction, correlationId, actor, metadata];
    const out = new BinaryWriter(16 + texts.reduce((room, text) => room + fieldRoom(text), 0));
    out.int4Field(this.#sourceId);
    out.int4Field(context.mappingVersion);
    out.textField(origin);
    out.optionalTextField(sourceTransaction);
    out.optionalTextField(correlationId);
    out.optionalTextField(actor);
    out.optionalJsonbField(metadata);
    this.#context = context;
    this.#encoded = out.buffer.subarray(0, out.at);
    return this.#encoded;
  }
}

function beginFrame(): BinaryWriter {
  const out = new BinaryWriter(FRAME_BYTES + SLACK_BYTES);
  out.at = HEADER_BYTES;
  return out;
}

function endFrame(out: BinaryWriter): Buffer {
  const { buffer, at } = out;
  buffer[0] = COPY_DATA;
  buffer.writeInt32BE(at - 1, 1);
  return buffer.subarray(0, at);
}
