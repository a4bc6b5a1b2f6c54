import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Dispatcher } from "undici";
import type { AnswerTap } from "./answer-tap.ts";
import { ClientFault } from "./client-fault.ts";
import { lingerAfter } from "./linger.ts";
import { responseHeaders } from "./pass-headers.ts";
import type { RequestBody } from "./request-body.ts";
import type { RequestRecord } from "./request-record.ts";
import { UpstreamFailure } from "./upstream.ts";

/** Up to here a body is sent in one piece with its head. */
const JOINED_BYTES_MAX = 8_192;

/** A client that takes nothing more of an answer keeps a connection of the upstream for so long. */
const UNREAD_MS_MAX = 120_000;

export interface ExchangeOptions {
  readonly response: ServerResponse;
  readonly body: RequestBody | undefined;
  readonly record: RequestRecord;
  /** The head of the answer is there, or never will be. */
  readonly onHead: (failure: Error | undefined) => void;
  /** An answer that has begun has ended. */
  readonly onEnd: () => void;
  readonly tap?: AnswerTap | undefined;
  /** The upstream changed the protocol. Absent: it was not asked to. */
  readonly onTunnel?: ((headers: readonly string[], socket: Duplex) => void) | undefined;
}

/**
 * One request at one upstream, as its answer comes in: passed on piece by piece, as fast as the client takes
 * it. An answer that breaks off breaks off for the client too, who could not tell it from a whole one else.
 */
export class Exchange implements Dispatcher.DispatchHandler {
  readonly #options: ExchangeOptions;
  #abort: ((error?: Error) => void) | undefined;
  #resume: (() => void) | undefined;
  #hasHead = false;
  /** The head has come, and what is there of the body may be coming right behind it. */
  #isFresh = false;
  /** All of the body so far, if it is small. */
  #held: Buffer | undefined;
  #isOver = false;
  /** Runs while the client has to take what is there before more is read. */
  #unread: NodeJS.Timeout | undefined;

  constructor(options: ExchangeOptions) {
    this.#options = options;
  }

  /** The client is gone. */
  abandon(): void {
    if (this.#isOver) return;
    const fault = new ClientFault();
    if (this.#abort === undefined) this.#fail(fault);
    else this.#abort(fault);
  }

  onConnect(abort: (error?: Error) => void): void {
    this.#abort = abort;
    if (this.#isOver) abort(new ClientFault());
  }

  onHeaders(status: number, raw: Buffer[], resume: () => void, text: string): boolean {
    const { response, body, record, tap } = this.#options;
    if (status < 200) {
      passHint(response, status, raw);
      return true;
    }
    const headers = responseHeaders(raw);
    response.writeHead(status, text === "" ? undefined : text, headers);
    tap?.head(status, headers);
    this.#resume = resume;
    this.#hasHead = true;
    record.status = status;
    record.headMs = performance.now() - record.startedMs;
    // In one packet with what is there of the body; but a stream that has nothing to say yet has begun.
    this.#isFresh = true;
    process.nextTick(() => {
      this.#isFresh = false;
      if (this.#isOver) return;
      if (record.bytesOut === 0) response.flushHeaders();
      else this.#release();
    });
    if (body !== undefined) lingerAfter(response);
    this.#options.onHead(undefined);
    // Has ended with its head, although it may name the length of the body that another would have.
    if (status === 204 || status === 304) this.onComplete(null);
    return true;
  }

  onData(chunk: Buffer): boolean {
    const { response, record, tap } = this.#options;
    tap?.data(chunk);
    // It may be all of the body: it waits for the end, which comes right behind it or not soon.
    if (this.#isFresh && record.bytesOut === 0 && chunk.length <= JOINED_BYTES_MAX) {
      record.bytesOut = chunk.length;
      this.#held = chunk;
      return true;
    }
    this.#release();
    record.bytesOut += chunk.length;
    if (response.write(chunk)) return true;
    response.once("drain", this.#onDrain);
    // The upstream's own limits rest meanwhile. Its close abandons this exchange.
    this.#unread = setTimeout(() => response.destroy(), UNREAD_MS_MAX).unref();
    return false;
  }

  readonly #onDrain = (): void => {
    clearTimeout(this.#unread);
    this.#resume!();
  };

  #release(): void {
    if (this.#held === undefined) return;
    this.#options.response.write(this.#held);
    this.#held = undefined;
  }

  onComplete(trailers: readonly (Buffer | string)[] | null): void {
    if (this.#isOver) return;
    const { response, tap } = this.#options;
    this.#over();
    if (trailers !== null && trailers.length > 0) {
      const flat = responseHeaders(trailers);
      const pairs = flat.flatMap((name, i): [string, string][] =>
        i % 2 === 0 ? [[name, flat[i + 1]!]] : [],
      );
      response.addTrailers(pairs);
    }
    if (this.#held === undefined) response.end();
    else endWith(response, this.#held);
    tap?.end();
  }

  onUpgrade(_status: number, raw: Buffer[] | string[] | null, socket: Duplex): void {
    const { record } = this.#options;
    record.status = 101;
    record.end = "tunnel";
    this.#hasHead = true;
    this.#isOver = true;
    // The tunnel goes on using the connection.
    socket.once("close", this.#options.onEnd);
    this.#options.onTunnel!(responseHeaders(raw ?? []), socket);
    this.#options.onHead(undefined);
  }

  onError(error: Error): void {
    if (!this.#isOver) this.#fail(error);
  }

  #fail(error: Error): void {
    const { response, record, onHead, tap } = this.#options;
    if (!this.#hasHead) {
      this.#isOver = true;
      return onHead(failureOf(error));
    }
    this.#over();
    tap?.broke();
    if (!(error instanceof ClientFault)) record.end = "upstream-broke-off";
    response.destroy();
  }

  #over(): void {
    this.#isOver = true;
    clearTimeout(this.#unread);
    this.#options.onEnd();
  }
}

function failureOf(error: Error): Error {
  if (error instanceof ClientFault) return error;
  const { code } = error as { code?: string };
  switch (code) {
    case "UND_ERR_CONNECT_TIMEOUT":
    case "UND_ERR_HEADERS_TIMEOUT":
      return new UpstreamFailure("upstream-slow", error.message, error);
    case "UND_ERR_INVALID_ARG":
    case "UND_ERR_NOT_SUPPORTED":
      return new ClientFault(error.message);
    default:
      return new UpstreamFailure(
        "upstream-failed",
        `${code ?? error.name}: ${error.message}`,
        error,
      );
  }
}

/**
 * Head and body in one write to the connection: as one text they are sent at once, as two pieces they would
 * be gathered first. Latin-1 keeps every byte.
 */
function endWith(response: ServerResponse, body: Buffer): void {
  response.write(body.toString("latin1"), "latin1");
  response.socket?.uncork();
  response.end();
}

/** 103 goes on to a client that knows it, if it can be written; the others mean nothing to a pooled connection. */
function passHint(response: ServerResponse, status: number, raw: readonly Buffer[]): void {
  if (status !== 103 || response.req.httpVersionMinor === 0) return;
  const hints: Record<string, string[]> = {};
  const flat = responseHeaders(raw);
  for (let i = 0; i < flat.length; i += 2)
    (hints[flat[i]!.toLowerCase()] ??= []).push(flat[i + 1]!);
  try {
    response.writeEarlyHints(hints);
  } catch {
    // It takes fewer forms of a link than there are, and looks before it writes. The answer has them again.
  }
}
