import { BinaryWriter, fieldRoom } from "./store-binary.ts";

/**
 * Arrays in binary, as parameters of a statement: no quoting, no parsing, and the very bytes that
 * COPY would send. The driver sends a Buffer as a binary parameter.
 *
 * @see array_recv: dimensions, has-nulls, element type, length, lower bound, then the elements as fields
 */
const OID = { int4: 23, text: 25, timestamptz: 1184, uuid: 2950, jsonb: 3802 } as const;
const HEAD_BYTES = 20;

export function textArray(values: readonly (string | null | undefined)[]): Buffer {
  const out = begin(OID.text, values.length, roomOf(values));
  for (let i = 0; i < values.length; i++) out.optionalTextField(values[i]);
  return end(out);
}

/** @param values JSON texts */
export function jsonbArray(values: readonly (string | null | undefined)[]): Buffer {
  const out = begin(OID.jsonb, values.length, roomOf(values));
  for (let i = 0; i < values.length; i++) out.optionalJsonbField(values[i]);
  return end(out);
}

export function int4Array(values: readonly number[]): Buffer {
  const out = begin(OID.int4, values.length, values.length * 8);
  for (let i = 0; i < values.length; i++) out.int4Field(values[i]!);
  return end(out);
}

/** @param timesUs microseconds since 1970 */
export function timestampArray(timesUs: readonly number[]): Buffer {
  const out = begin(OID.timestamptz, timesUs.length, timesUs.length * 12);
  for (let i = 0; i < timesUs.length; i++) out.timestampField(timesUs[i]!);
  return end(out);
}

/** @param ids 16 bytes each @param length how many of them count */
export function uuidArray(ids: Uint8Array, length: number): Buffer {
  const out = begin(OID.uuid, length, length * 20);
  for (let i = 0; i < length; i++) out.uuidField(ids, i * 16);
  return end(out);
}

function begin(elementType: number, length: number, room: number): BinaryWriter {
  const out = new BinaryWriter(HEAD_BYTES + room);
  out.int4(length === 0 ? 0 : 1);
  out.int4(1);
  out.int4(elementType);
  if (length > 0) {
    out.int4(length);
    out.int4(1);
  }
  return out;
}

function end(out: BinaryWriter): Buffer {
  return out.buffer.subarray(0, out.at);
}

function roomOf(values: readonly (string | null | undefined)[]): number {
  let room = 0;
  for (let i = 0; i < values.length; i++) room += fieldRoom(values[i]);
  return room;
}
