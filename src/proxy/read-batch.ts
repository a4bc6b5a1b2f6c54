import type { ShadowBody } from "./shadow-bytes.ts";

/** A batch is handed over at so many bytes, without the pieces of large bodies. */
export const BATCH_BYTES = 262_144;
/** Larger bodies go as they are, without being copied once more. */
const INLINE_BYTES_MAX = 8_192;
/** Numbers before the texts of a record, of four bytes each. */
const NUMBERS = 7;
const HEAD_BYTES = NUMBERS * 4;
/** Stands in no header line and in no target. */
const SEPARATOR = "\n";

/** A read that a client was answered, and the answer. */
export interface AnsweredRead {
  /** Of the route, the method and who answered: see read-key.ts. */
  readonly key: number;
  readonly target: string;
  /** Flat, as they went on with the client's own request. */
  readonly headers: readonly string[];
  readonly answer: {
    readonly status: number;
    /** Flat. */
    readonly headers: readonly string[];
  };
}

/** Reads on their way to another thread, in a form that costs the sender as little as can be. */
export interface ReadBatchMessage {
  /** How many they are. */
  readonly reads: number;
  readonly records: ArrayBuffer;
  /** Bytes of `records` that count. */
  readonly length: number;
  /** Bodies, and pieces of them, that are too large to be copied. */
  readonly pieces: ArrayBuffer[];
}

/** A read as it comes out of a batch. */
export interface HandedRead extends AnsweredRead {
  /** Pieces of a body that are nobody else's. */
  readonly body: Buffer[];
}

/** Gathers reads. A record is seven numbers, the texts of the request and of the answer, and a small body. */
export class ReadBatch {
  #buffer: Buffer<ArrayBuffer> | undefined;
  #length = 0;
  #reads = 0;
  #pieces: ArrayBuffer[] = [];
  /** The same memory as numbers. */
  #numbers = new Uint32Array();

  /** Adds a read, and lends the body of its answer. @returns false when it has no room: take the batch first */
  add({ key, target, headers, answer }: AnsweredRead, body: ShadowBody): boolean {
    // Joined, these are one piece each, which is written without being copied once more.
    const request = headers.join(SEPARATOR);
    const reply = answer.headers.join(SEPARATOR);
    const texts = target.length + request.length + reply.length;
    const inline = body.length <= INLINE_BYTES_MAX ? body.length : 0;
    // Each record begins where a number can stand.
    const bytes = (HEAD_BYTES + texts + inline + 3) & ~3;
    if (this.#length === 0 && (this.#buffer?.length ?? 0) < bytes) this.#buffer = undefined;
    const buffer = (this.#buffer ??= this.#begin(Math.max(bytes, BATCH_BYTES)));
    if (this.#length + bytes > buffer.length) return false;
    const pieces = body.lend();
    const numbers = this.#numbers;
    let at = this.#length / 4;
    numbers[at++] = key;
    numbers[at++] = answer.status;
    numbers[at++] = target.length;
    numbers[at++] = request.length;
    numbers[at++] = reply.length;
    numbers[at++] = inline;
    numbers[at++] = inline === 0 ? pieces.length : 0;
    at *= 4;
    at += buffer.write(target, at, "latin1");
    at += buffer.write(request, at, "latin1");
    at += buffer.write(reply, at, "latin1");
    if (inline === 0) for (const piece of pieces) this.#pieces.push(own(piece));
    else for (const piece of pieces) at += piece.copy(buffer, at);
    this.#length += bytes;
    this.#reads++;
    return true;
  }

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  /** All that was added, and nothing is left. Every buffer of it can be transferred. */
  take(): ReadBatchMessage {
    const buffer = this.#buffer!.buffer;
    // What waits for its turn in the other thread waits in as much memory as it needs.
    const isMostlyEmpty = this.#length * 2 < buffer.byteLength;
    const message = {
      reads: this.#reads,
      records: isMostlyEmpty ? buffer.slice(0, this.#length) : buffer,
      length: this.#length,
      pieces: this.#pieces,
    };
    if (!isMostlyEmpty) this.#buffer = undefined;
    this.#length = 0;
    this.#reads = 0;
    this.#pieces = [];
    return message;
  }

  #begin(bytes: number): Buffer<ArrayBuffer> {
    const buffer = allocate(bytes);
    this.#numbers = new Uint32Array(buffer.buffer);
    return buffer;
  }
}

/** The reads of a batch, in order. */
export function* readsOf({
  records,
  length,
  pieces,
}: ReadBatchMessage): Generator<HandedRead, void> {
  const buffer = Buffer.from(records, 0, length);
  for (let at = 0; at < length;) {
    const [key, status, targetLength, requestLength, replyLength, inline, piecesLength] =
      new Uint32Array(records, at, NUMBERS);
    let end = at + HEAD_BYTES;
    const text = (bytes: number): string => {
      const start = end;
      end += bytes;
      return buffer.toString("latin1", start, end);
    };
    const target = text(targetLength!);
    const headers = linesOf(text(requestLength!));
    const reply = linesOf(text(replyLength!));
    // A view would keep all of the batch in memory.
    const body = inline === 0 ? [] : [Buffer.from(buffer.subarray(end, end + inline!))];
    // Taken out, so that they are gone with their read, not only with the last one of the batch.
    for (const piece of pieces.splice(0, piecesLength!)) body.push(Buffer.from(piece));
    yield {
      key: key!,
      target: target!,
      headers,
      answer: { status: status!, headers: reply },
      body,
    };
    at = (end + inline! + 3) & ~3;
  }
}

function linesOf(text: string): string[] {
  return text === "" ? [] : text.split(SEPARATOR);
}

function allocate(bytes: number): Buffer<ArrayBuffer> {
  // Memory of its own, which can be transferred, and is not filled with zeros first.
  return Buffer.allocUnsafeSlow(bytes);
}

/** The memory of a piece, if it has it for itself. */
function own(piece: Buffer): ArrayBuffer {
  const { buffer } = piece;
  if (buffer instanceof ArrayBuffer && buffer.byteLength === piece.length) return buffer;
  const copy = allocate(piece.length);
  piece.copy(copy);
  return copy.buffer;
}
