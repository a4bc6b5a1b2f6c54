/** Microseconds from 1970-01-01 to 2000-01-01, where Postgres counts from. */
const EPOCH_2000_US = 946_684_800_000_000;
/** From here on a string is measured before room is made for it, not taken at its worst case. */
const MEASURED_FROM = 1_024;

/**
 * Postgres' binary formats, written one after the other into one growing buffer.
 *
 * Every value is a field: a length, then that many bytes. Room must be made with {@link reserve}
 * before, for several fields at once, because these calls are made for every column of every event.
 *
 * @see https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
export class BinaryWriter {
  buffer: Buffer;
  at = 0;

  constructor(bytes: number) {
    this.buffer = Buffer.allocUnsafe(bytes);
  }

  /** Makes room for at least `bytes` more. */
  reserve(bytes: number): void {
    const wanted = this.at + bytes;
    if (wanted <= this.buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(wanted, this.buffer.length * 2));
    this.buffer.copy(larger, 0, 0, this.at);
    this.buffer = larger;
  }

  int2(value: number): void {
    const b = this.buffer;
    b[this.at++] = value >>> 8;
    b[this.at++] = value;
  }

  int4(value: number): void {
    const b = this.buffer;
    b[this.at++] = value >>> 24;
    b[this.at++] = value >>> 16;
    b[this.at++] = value >>> 8;
    b[this.at++] = value;
  }

  bytes(source: Uint8Array, start: number, end: number): void {
    const b = this.buffer;
    const { at } = this;
    if (end - start > 64) b.set(source.subarray(start, end), at);
    else for (let i = start; i < end; i++) b[at + i - start] = source[i]!;
    this.at = at + end - start;
  }

  nullField(): void {
    this.int4(-1);
  }

  int4Field(value: number): void {
    this.int4(4);
    this.int4(value);
  }

  int2Field(value: number): void {
    this.int4(2);
    this.int2(value);
  }

  int8Field(value: bigint): void {
    this.int4(8);
    this.int4(Number(value >> 32n));
    this.int4(Number(value & 0xffff_ffffn));
  }

  /** @param us microseconds since 1970 */
  timestampField(us: number): void {
    const since2000 = us - EPOCH_2000_US;
    const high = Math.floor(since2000 / 0x1_0000_0000);
    this.int4(8);
    this.int4(high);
    this.int4(since2000 - high * 0x1_0000_0000);
  }

  uuidField(ids: Uint8Array, offset: number): void {
    this.int4(16);
    this.bytes(ids, offset, offset + 16);
  }

  textField(value: string): void {
    const start = this.at + 4;
    const length = writeUtf8(this.buffer, value, start);
    this.int4(length);
    this.at = start + length;
  }

  optionalTextField(value: string | null | undefined): void {
    if (value === undefined || value === null) this.nullField();
    else this.textField(value);
  }

  /** jsonb on the wire: a version byte, then the text. */
  jsonbField(value: string): void {
    const start = this.at + 5;
    const length = writeUtf8(this.buffer, value, start);
    this.int4(length + 1);
    this.buffer[this.at] = 1;
    this.at = start + length;
  }

  optionalJsonbField(value: string | null | undefined): void {
    if (value === undefined || value === null) this.nullField();
    else this.jsonbField(value);
  }
}

/** Most bytes that a text or jsonb field takes. */
export function fieldRoom(text: string | null | undefined): number {
  if (text === undefined || text === null) return 4;
  return 5 + (text.length < MEASURED_FROM ? text.length * 3 : Buffer.byteLength(text));
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
  return (buffer as Buffer & { utf8Write(text: string, offset: number): number }).utf8Write(
    text,
    at,
  );
}
