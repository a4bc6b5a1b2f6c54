import type { EventBatch } from "../../src/model/event.ts";
import type { ImageChange } from "../../src/store/event-store.ts";

/** Columns of {@link encodeEvents}, in its order. */
export const EVENT_COPY_COLUMNS =
  "event_id, time, version, source_id, mapping_version, origin, stream_id, type, source_position, source_transaction, correlation_id, causation_id, actor, metadata, data";

const CHUNK_BYTES = 256 * 1024;
/** Microseconds from 1970-01-01 to 2000-01-01, where Postgres counts from. */
const EPOCH_2000_US = 946_684_800_000_000;
const SIGNATURE = Buffer.concat([Buffer.from("PGCOPY\n\xff\r\n\0", "latin1"), Buffer.alloc(8)]);
const TRAILER = Buffer.from([0xff, 0xff]);

/**
 * Rows in the binary format of COPY, written straight into large buffers.
 *
 * @see https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-BINARY-FORMAT
 */
class CopyBuffer {
  readonly chunks: Buffer[] = [];
  #buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  #at = 0;

  constructor() {
    this.#at = SIGNATURE.copy(this.#buffer, 0);
  }

  /** Begins a row whose values take at most `bytesMax`, lengths included. */
  row(fields: number, bytesMax: number): void {
    if (this.#at + bytesMax + 2 > this.#buffer.length) {
      this.chunks.push(this.#buffer.subarray(0, this.#at));
      this.#buffer = Buffer.allocUnsafe(Math.max(CHUNK_BYTES, bytesMax + 2));
      this.#at = 0;
    }
    this.#buffer[this.#at++] = fields >>> 8;
    this.#buffer[this.#at++] = fields;
  }

  null(): void {
    this.#length(-1);
  }

  int4(value: number): void {
    this.#length(4);
    this.#length(value);
  }

  /** @param us microseconds since 1970, within what a double holds exactly */
  timestamp(us: number): void {
    const since2000 = us - EPOCH_2000_US;
    const high = Math.floor(since2000 / 0x1_0000_0000);
    this.#length(8);
    this.#length(high);
    this.#length(since2000 - high * 0x1_0000_0000);
  }

  uuid(ids: Uint8Array, offset: number): void {
    this.#length(16);
    const b = this.#buffer;
    const at = this.#at;
    for (let i = 0; i < 16; i++) b[at + i] = ids[offset + i]!;
    this.#at = at + 16;
  }

  text(value: string): void {
    const start = this.#at + 4;
    const length = writeUtf8(this.#buffer, value, start);
    this.#length(length);
    this.#at = start + length;
  }

  optional(value: string | undefined): void {
    if (value === undefined) this.null();
    else this.text(value);
  }

  /** jsonb on the wire: a version byte, then the text. */
  jsonb(value: string): void {
    const start = this.#at + 5;
    const length = writeUtf8(this.#buffer, value, start);
    this.#length(length + 1);
    this.#buffer[this.#at] = 1;
    this.#at = start + length;
  }

  end(): readonly Buffer[] {
    this.chunks.push(this.#buffer.subarray(0, this.#at), TRAILER);
    return this.chunks;
  }

  #length(value: number): void {
    const b = this.#buffer;
    b[this.#at++] = value >>> 24;
    b[this.#at++] = value >>> 16;
    b[this.#at++] = value >>> 8;
    b[this.#at++] = value;
  }
}

/** Short ASCII is written by hand, which beats the call into the engine. */
function writeUtf8(buffer: Buffer, text: string, at: number): number {
  const { length } = text;
  if (length <= 24) {
    let i = 0;
    for (; i < length; i++) {
      const c = text.charCodeAt(i);
      if (c > 0x7f) break;
      buffer[at + i] = c;
    }
    if (i === length) return length;
  }
  return (buffer as Buffer & { utf8Write(text: string, offset: number): number }).utf8Write(text, at);
}

/** Most bytes a string can take in UTF-8, its length field included. */
function room(text: string | undefined): number {
  return text === undefined ? 4 : 5 + text.length * 3;
}

export function encodeEvents(events: EventBatch, sourceId: number): readonly Buffer[] {
  const out = new CopyBuffer();
  for (let i = 0; i < events.length; i++) {
    const context = events.contexts[i]!;
    const stream = events.streams[i]!;
    const type = events.types[i]!;
    const data = events.data[i]!;
    const position = events.positions[i]!;
    const causation = events.causationIds.get(i) ?? context.causationId;
    out.row(
      15,
      20 + 12 + 8 * 3 + 16 + room(stream) + room(type) + room(position) + room(context.sourceTransaction) +
        room(context.correlationId) + room(causation) + room(context.actor) + room(context.metadata) + room(data),
    );
    out.uuid(events.ids, i * 16);
    out.timestamp(events.timesUs[i]!);
    out.int4(events.versions[i]!);
    out.int4(sourceId);
    out.int4(context.mappingVersion);
    out.text(context.origin);
    out.text(stream);
    out.text(type);
    out.text(position);
    out.optional(context.sourceTransaction);
    out.optional(context.correlationId);
    out.optional(causation);
    out.optional(context.actor);
    if (context.metadata === undefined) out.null();
    else out.jsonb(context.metadata);
    out.jsonb(data);
  }
  return out.end();
}

/** Row images for COPY into a table (table_name, row_key, image). */
export function encodeImages(images: Iterable<ImageChange & { readonly image: string }>): readonly Buffer[] {
  const out = new CopyBuffer();
  for (const { table, key, image } of images) {
    out.row(3, room(table) + room(key) + room(image));
    out.text(table);
    out.text(key);
    out.text(image);
  }
  return out.end();
}
