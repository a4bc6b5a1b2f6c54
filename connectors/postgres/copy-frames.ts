import { BinaryWriter } from "./store-binary.ts";

/** A frame is closed once it holds this much, so it is at most this plus one row. */
const FRAME_BYTES = 256 * 1024;
/** Beyond `FRAME_BYTES`, so that an ordinary last row needs no larger buffer. */
const SLACK_BYTES = 16 * 1024;
const COPY_DATA = 0x64;
const HEADER_BYTES = 5;
const SIGNATURE = Buffer.concat([Buffer.from("PGCOPY\n\xff\r\n\0", "latin1"), Buffer.alloc(8)]);

/**
 * Rows as binary COPY, in CopyData messages ready for the socket.
 *
 * Pulled, so that no more than a frame is encoded ahead of what the server takes; a frame is the
 * receiver's for good, because the socket may hold on to it.
 *
 * @param write makes room for row `i` and writes it, its number of columns first
 * @see https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-BINARY-FORMAT
 */
export function* copyFrames(
  rows: number,
  write: (out: BinaryWriter, i: number) => void,
): Generator<Buffer, void, void> {
  let out = beginFrame();
  out.bytes(SIGNATURE, 0, SIGNATURE.length);
  for (let i = 0; i < rows; i++) {
    if (out.at >= FRAME_BYTES) {
      yield endFrame(out);
      out = beginFrame();
    }
    write(out, i);
  }
  out.reserve(2);
  out.int2(-1);
  yield endFrame(out);
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
