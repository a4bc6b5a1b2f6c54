import type { Duplex } from "node:stream";
import type { RequestBody } from "./request-body.ts";

/** What goes to an upstream. The parser of this side has admitted no control character in any of it. */
export interface UpstreamRequest {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  /** Flat: name, value, … without those of one connection; a length is the body's. */
  readonly headers: readonly string[];
  readonly body: RequestBody | Buffer | undefined;
  /** The protocol to change to. */
  readonly upgrade: string | undefined;
}

/** Whom an {@link UpstreamRequest} is sent for, as its answer comes in. */
export interface AnswerHandler {
  /** A connection is being made for it. @param abort ends that; nothing is sent then */
  onConnect(abort: (error: Error) => void): void;
  /**
   * It is being sent from here on, and may have been carried out whatever comes.
   *
   * @param abort ends it, and its connection
   */
  onSend(abort: (error: Error) => void): void;
  /** A head of status 1xx; the answer follows. */
  onHint(status: number, headers: readonly string[]): void;
  /** @param resume to be called after {@link onBody} has returned false */
  onHead(status: number, text: string, headers: readonly string[], resume: () => void): void;
  /**
   * A piece of the body. Its bytes are others once this returns: who keeps them copies them.
   *
   * @returns false: no more for now; a few pieces that were read already may come all the same
   */
  onBody(piece: Buffer): boolean;
  /** All that has come is told, and more is awaited. */
  onPause(): void;
  /** The answer is whole. */
  onEnd(trailers: readonly string[]): void;
  onTunnel(headers: readonly string[], socket: Duplex): void;
  /** There will be no answer, or no more of it. */
  onError(error: Error): void;
}

/** How the body of a request is told from what follows; undefined without one. */
export type RequestFraming = number | "chunked" | undefined;

export interface RequestHead {
  /** In Latin-1. */
  readonly text: string;
  readonly framing: RequestFraming;
}

/** Methods of which a request without a body says so. */
const EXPECTS_BODY = new Set(["POST", "PUT", "PATCH", "QUERY"]);

/** @param authority of the upstream, for a client that names no host */
export function headOf(request: UpstreamRequest, authority: string): RequestHead {
  const { method, target, headers, body, upgrade } = request;
  let text = `${method} ${target} HTTP/1.1\r\n`;
  let hasHost = false;
  let length: number | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!;
    const value = headers[i + 1]!;
    if (name.length === 4) hasHost ||= name.toLowerCase() === "host";
    else if (name.length === 14 && name.toLowerCase() === "content-length") length = Number(value);
    text += `${name}: ${value}\r\n`;
  }
  if (!hasHost) text += `host: ${authority}\r\n`;
  text +=
    upgrade === undefined
      ? "connection: keep-alive\r\n"
      : `connection: upgrade\r\nupgrade: ${upgrade}\r\n`;
  if (body === undefined) {
    if (length === undefined && EXPECTS_BODY.has(method)) text += "content-length: 0\r\n";
    return { text: `${text}\r\n`, framing: undefined };
  }
  if (length !== undefined) return { text: `${text}\r\n`, framing: length };
  if (!Buffer.isBuffer(body))
    return { text: `${text}transfer-encoding: chunked\r\n\r\n`, framing: "chunked" };
  return { text: `${text}content-length: ${body.length}\r\n\r\n`, framing: body.length };
}
