import { AnswerFault, parseHead, parseTrailers, type AnswerHead } from "./answer-head.ts";

/** Head of an answer, its trailers, and all hints before it. */
const HEAD_BYTES_MAX = 65_536;
/** The line before a chunk, with its extension. */
const CHUNK_LINE_BYTES_MAX = 4_096;
const TOKEN = /[!#$%&'*+.^_`|~\da-z-]+/.source;
const QUOTED = /"(?:[\t !\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"/.source;
/** Sizes of chunks are exact up to 12 digits. Extensions as RFC 9112 has them, 7.1.1. */
const CHUNK_LINE = new RegExp(
  String.raw`^([\da-f]{1,12})(?:[\t ]*;[\t ]*${TOKEN}(?:[\t ]*=[\t ]*(?:${TOKEN}|${QUOTED}))?)*$`,
  "i",
);
const HEAD_END = Buffer.from("\r\n\r\n");
const LINE_END = Buffer.from("\r\n");

/** What an {@link AnswerParser} finds, in this order. */
export interface AnswerSink {
  /** A head of status 1xx, before the answer itself. */
  onHint(head: AnswerHead): void;
  onHead(head: AnswerHead): void;
  /** A piece of the body; its bytes are others once this returns. */
  onBody(piece: Buffer): void;
  /** @param trailers flat: name, value, … */
  onEnd(trailers: readonly string[]): void;
  /** The protocol has changed, as was asked. @param rest first bytes of the new one */
  onSwitch(headers: readonly string[], rest: Buffer): void;
}

export interface ExpectedAnswer {
  readonly method: string;
  /** The protocol was asked to change. */
  readonly isUpgrade: boolean;
}

type State = "idle" | "head" | "length" | "until-close" | "chunk-line" | "chunk" | "trailers";

const NEEDS_MORE = -1;
const NONE: readonly string[] = [];

/**
 * Reads the answers of one connection of an upstream, one after the other: HTTP/1.1 as RFC 9112 has it, and
 * strictly. What comes without having been asked for is a fault, as is all that could be read in two ways.
 */
export class AnswerParser {
  readonly #sink: AnswerSink;
  #state: State = "idle";
  #expected: ExpectedAnswer | undefined;
  /** Of a body with a length, or of a chunk with the line end behind it. */
  #left = 0;
  /** Bytes of a head or a line that is not whole yet. */
  #rest: Buffer | undefined;
  #hintBytes = 0;

  constructor(sink: AnswerSink) {
    this.#sink = sink;
  }

  /** A request was sent. */
  expect(expected: ExpectedAnswer): void {
    this.#expected = expected;
    this.#hintBytes = 0;
    this.#state = "head";
  }

  /** @param bytes may be others once this returns @throws AnswerFault */
  take(bytes: Buffer): void {
    const data = this.#rest === undefined ? bytes : Buffer.concat([this.#rest, bytes]);
    this.#rest = undefined;
    for (let at = 0; at < data.length;) {
      const next = this.#step(data, at);
      if (next === NEEDS_MORE) {
        this.#rest = Buffer.from(data.subarray(at));
        return;
      }
      at = next;
    }
  }

  /** The upstream has closed its side. @throws AnswerFault */
  finish(): void {
    if (this.#state === "until-close") this.#end(NONE);
    else if (this.#state !== "idle") throw new AnswerFault("it closed the connection");
  }

  /** @returns where it goes on, or that the rest is not whole */
  #step(data: Buffer, at: number): number {
    switch (this.#state) {
      case "idle":
        throw new AnswerFault("it sent more than it was asked for");
      case "head":
        return this.#head(data, at);
      case "length":
        return this.#counted(data, at);
      case "until-close":
        this.#sink.onBody(at === 0 ? data : data.subarray(at));
        return data.length;
      case "chunk-line":
        return this.#chunkLine(data, at);
      case "chunk":
        return this.#chunk(data, at);
      case "trailers":
        return this.#trailers(data, at);
    }
  }

  #head(data: Buffer, at: number): number {
    const end = endOf(HEAD_END, data, at, HEAD_BYTES_MAX);
    if (end === NEEDS_MORE) return NEEDS_MORE;
    const head = parseHead(data.toString("latin1", at, end + LINE_END.length));
    const next = end + HEAD_END.length;
    const { method, isUpgrade } = this.#expected!;
    const { status, framing } = head;
    if (status === 101) {
      if (!isUpgrade) throw new AnswerFault("it changed the protocol unasked");
      this.#state = "idle";
      this.#sink.onSwitch(head.headers, data.subarray(next));
      return data.length;
    }
    if (status < 200) {
      this.#hintBytes += next - at;
      if (this.#hintBytes > HEAD_BYTES_MAX) throw new AnswerFault("it hints at an answer for ever");
      this.#sink.onHint(head);
      return next;
    }
    const isWhole = method === "HEAD" || status === 204 || status === 304 || framing === 0;
    if (typeof framing === "number") this.#left = framing;
    this.#state =
      framing === "chunked" ? "chunk-line" : framing === "until-close" ? framing : "length";
    this.#sink.onHead(head);
    if (isWhole) this.#end(NONE);
    return next;
  }

  #counted(data: Buffer, at: number): number {
    const next = Math.min(at + this.#left, data.length);
    this.#left -= next - at;
    this.#sink.onBody(data.subarray(at, next));
    if (this.#left === 0) this.#end(NONE);
    return next;
  }

  #chunkLine(data: Buffer, at: number): number {
    const end = endOf(LINE_END, data, at, CHUNK_LINE_BYTES_MAX);
    if (end === NEEDS_MORE) return NEEDS_MORE;
    const [, size] = CHUNK_LINE.exec(data.toString("latin1", at, end)) ?? [];
    if (size === undefined) throw new AnswerFault("its answer has a chunk of no size");
    const bytes = Number.parseInt(size, 16);
    this.#left = bytes + LINE_END.length;
    this.#state = bytes === 0 ? "trailers" : "chunk";
    return end + LINE_END.length;
  }

  #chunk(data: Buffer, at: number): number {
    const ofBody = this.#left - LINE_END.length;
    if (ofBody > 0) {
      const next = Math.min(at + ofBody, data.length);
      this.#left -= next - at;
      this.#sink.onBody(data.subarray(at, next));
      return next;
    }
    if (data.length - at < LINE_END.length) return NEEDS_MORE;
    if (data[at] !== LINE_END[0] || data[at + 1] !== LINE_END[1])
      throw new AnswerFault("its answer has a chunk that is longer than its size");
    this.#state = "chunk-line";
    return at + LINE_END.length;
  }

  #trailers(data: Buffer, at: number): number {
    if (data.length - at < LINE_END.length) return NEEDS_MORE;
    if (data[at] === LINE_END[0] && data[at + 1] === LINE_END[1]) {
      this.#end(NONE);
      return at + LINE_END.length;
    }
    const end = endOf(HEAD_END, data, at, HEAD_BYTES_MAX);
    if (end === NEEDS_MORE) return NEEDS_MORE;
    this.#end(parseTrailers(data.toString("latin1", at, end + LINE_END.length)));
    return end + HEAD_END.length;
  }

  #end(trailers: readonly string[]): void {
    this.#state = "idle";
    this.#sink.onEnd(trailers);
  }
}

/** Where a mark is. @throws AnswerFault when what is before it is too long */
function endOf(mark: Buffer, data: Buffer, at: number, bytesMax: number): number {
  const end = data.indexOf(mark, at);
  if ((end === -1 ? data.length : end) - at > bytesMax)
    throw new AnswerFault("its answer has a head or a line that is too long");
  return end === -1 ? NEEDS_MORE : end;
}
