import { BanyanError } from "../../src/model/errors.ts";

/** The server never sends more: its own limit on one allocation is just below 1 GiB. */
const MESSAGE_BYTES_MAX = 1 << 30;
/** Tag and length. */
const HEADER_BYTES = 5;
/** A message is not cut up by its promise: this much is allocated before its bytes have come. */
const ALLOCATION_BYTES_FIRST = 64 * 1024 * 1024;

/**
 * One whole message of the Postgres protocol: its body is `body[start]` to `body[end - 1]`.
 * The bytes are the receiver's only during the call.
 *
 * @param tag ASCII code of the message type, e.g. 0x64 for `d`
 */
export type OnMessage = (tag: number, body: Buffer, start: number, end: number) => void;

/**
 * Cuts the bytes of a socket into messages, wherever the network cut them.
 *
 * Messages that lie whole in a chunk are handed on in place; only one that spans chunks is copied,
 * once, into a buffer of its known length.
 *
 * @see https://www.postgresql.org/docs/current/protocol-message-formats.html
 */
export class FrameSplitter {
  readonly #onMessage: OnMessage;
  readonly #messageBytesMax: number;
  /** Beginning of a message that has not all come: `#held` bytes of it; `#wanted` is 0 until its length is known. */
  #partial: Buffer = Buffer.alloc(HEADER_BYTES);
  #held = 0;
  #wanted = 0;

  constructor(onMessage: OnMessage, messageBytesMax = MESSAGE_BYTES_MAX) {
    this.#onMessage = onMessage;
    this.#messageBytesMax = messageBytesMax;
  }

  /** True between two messages. */
  get atBoundary(): boolean {
    return this.#held === 0;
  }

  /**
   * @throws BanyanError `PROTOCOL_VIOLATION` when a message has an impossible length; the connection
   *   cannot be used any more. Whatever `onMessage` throws goes through.
   */
  push(chunk: Buffer): void {
    let at = this.#held > 0 ? this.#continue(chunk) : 0;
    while (at + HEADER_BYTES <= chunk.length) {
      const end = at + 1 + this.#lengthAt(chunk, at);
      if (end > chunk.length) break;
      this.#onMessage(chunk[at]!, chunk, at + HEADER_BYTES, end);
      at = end;
    }
    if (at < chunk.length) this.#hold(chunk, at);
  }

  /** Completes the held message as far as the chunk goes. @returns where the next one begins */
  #continue(chunk: Buffer): number {
    let at = 0;
    if (this.#wanted === 0) {
      at = Math.min(HEADER_BYTES - this.#held, chunk.length);
      chunk.copy(this.#partial, this.#held, 0, at);
      this.#held += at;
      if (this.#held < HEADER_BYTES) return at;
      this.#wanted = 1 + this.#lengthAt(this.#partial, 0);
      this.#reserve();
    }
    const take = Math.min(this.#wanted - this.#held, chunk.length - at);
    this.#room(take);
    chunk.copy(this.#partial, this.#held, at, at + take);
    this.#held += take;
    if (this.#held === this.#wanted) {
      const message = this.#partial;
      const end = this.#wanted;
      this.#partial = Buffer.alloc(HEADER_BYTES);
      this.#held = 0;
      this.#wanted = 0;
      this.#onMessage(message[0]!, message, HEADER_BYTES, end);
    }
    return at + take;
  }

  #hold(chunk: Buffer, at: number): void {
    const rest = chunk.length - at;
    if (rest >= HEADER_BYTES) {
      this.#wanted = 1 + this.#lengthAt(chunk, at);
      this.#partial = Buffer.allocUnsafe(
        Math.max(rest, Math.min(this.#wanted, ALLOCATION_BYTES_FIRST)),
      );
    }
    chunk.copy(this.#partial, 0, at);
    this.#held = rest;
  }

  #reserve(): void {
    if (this.#partial.length >= this.#wanted) return;
    const larger = Buffer.allocUnsafe(Math.min(this.#wanted, ALLOCATION_BYTES_FIRST));
    this.#partial.copy(larger, 0, 0, this.#held);
    this.#partial = larger;
  }

  /** Only beyond the first allocation: doubles, so that a false length cannot claim a gigabyte at once. */
  #room(bytes: number): void {
    if (this.#held + bytes <= this.#partial.length) return;
    const larger = Buffer.allocUnsafe(
      Math.min(this.#wanted, Math.max(this.#partial.length * 2, this.#held + bytes)),
    );
    this.#partial.copy(larger, 0, 0, this.#held);
    this.#partial = larger;
  }

  #lengthAt(buffer: Buffer, at: number): number {
    const length =
      (buffer[at + 1]! << 24) | (buffer[at + 2]! << 16) | (buffer[at + 3]! << 8) | buffer[at + 4]!;
    if (length < 4 || length > this.#messageBytesMax) {
      throw new BanyanError(
        "PROTOCOL_VIOLATION",
        `a message of type 0x${buffer[at]!.toString(16)} says it is ${length} bytes long`,
        { hint: "Check that the URL points at a Postgres server and not at something in between." },
      );
    }
    return length;
  }
}
