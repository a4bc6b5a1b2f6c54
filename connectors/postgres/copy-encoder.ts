import { copyFrames } from "./copy-frames.ts";
import { BinaryWriter, fieldRoom } from "./store-binary.ts";
import type { EventBatch, EventContext } from "../../src/model/event.ts";

/** Columns of {@link encodeEvents}, in its order: first what differs per event, then what a transaction shares. */
export const EVENT_COPY_COLUMNS =
  "event_id, time, version, stream_id, type, source_position, data, causation_id, source_id, mapping_version, origin, source_transaction, correlation_id, actor, metadata";
const COLUMNS = 15;

/** The events as binary COPY, see {@link copyFrames}. */
export function encodeEvents(events: EventBatch, sourceId: number): Generator<Buffer, void, void> {
  const shared = new SharedColumns(sourceId);
  return copyFrames(events.length, (out, i) => {
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
  });
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
