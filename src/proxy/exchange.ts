import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { AnswerTap } from "./answer-tap.ts";
import { ClientFault } from "./client-fault.ts";
import type { Look } from "./creations.ts";
import { lingerAfter } from "./linger.ts";
import { headersToClient, responseHeaders } from "./pass-headers.ts";
import type { RequestBody } from "./request-body.ts";
import type { RequestRecord } from "./request-record.ts";
import type { AnswerHandler } from "./upstream-request.ts";

/** Up to here a body is sent in one piece with its head. */
const JOINED_BYTES_MAX = 8_192;

/** A client that takes nothing more of an answer keeps a connection of the upstream for so long. */
const UNREAD_MS_MAX = 120_000;

/** An answer of which the client waits no more is read to its end for so long. */
const UNWANTED_MS_MAX = 30_000;

/** Of an answer that is looked at before it goes on. */
const LOOKED_AT_BYTES_MAX = 65_536;

export interface ExchangeOptions {
  readonly response: ServerResponse;
  readonly body: RequestBody | undefined;
  readonly record: RequestRecord;
  /** The head of the answer is there, or never will be. */
  readonly onHead: (failure: Error | undefined) => void;
  /** An answer that has begun has ended, or broken off. */
  readonly onEnd: (isWhole: boolean) => void;
  /** Once sent, it goes on to its end without the client. */
  readonly isWrite?: boolean;
  /** By its status, whether the answer must be looked at before it goes on. */
  readonly lookAt?: ((status: number) => Look | undefined) | undefined;
  readonly tap?: AnswerTap | undefined;
  /** The upstream changed the protocol. Absent: it was not asked to. */
  readonly onTunnel?: ((headers: readonly string[], socket: Duplex) => void) | undefined;
}

/** An answer that is looked at before it goes on. */
interface Withheld {
  readonly status: number;
  readonly text: string;
  readonly headers: string[];
  readonly chunks: Buffer[];
  readonly look: Look;
  bytes: number;
}

/**
 * One request at one upstream, as its answer comes in: passed on piece by piece, as fast as the client takes
 * it. An answer that breaks off breaks off for the client too, who could not tell it from a whole one else.
 */
export class Exchange implements AnswerHandler {
  readonly #options: ExchangeOptions;
  /** Ends its connection, also one that is being made. */
  #abort: ((error: Error) => void) | undefined;
  #wasSent = false;
  #resume: (() => void) | undefined;
  #hasHead = false;
  /** The head has come, and what is there of the body may be coming right behind it. */
  #isFresh = false;
  /** All of the body so far, if it is small; in Latin-1, which keeps every byte. */
  #held: string | undefined;
  #isOver = false;
  /** The client has to take what is there before more is read. */
  #isStemmed = false;
  /** Runs while the client has to take what is there before more is read. */
  #unread: NodeJS.Timeout | undefined;
  /** The answer, while it is not known whether it may go on. */
  #withheld: Withheld | undefined;
  /** Nobody waits for the answer, but it has to end. */
  #isUnwanted = false;

  constructor(options: ExchangeOptions) {
    this.#options = options;
  }

  /** Whether the upstream may have got something of the request. */
  get wasSent(): boolean {
    return this.#wasSent;
  }

  /** The client is gone. */
  abandon(): void {
    if (this.#isOver) return;
    if (this.#options.isWrite === true && this.wasSent) return this.#goOnUnwanted();
    const fault = new ClientFault();
    if (this.#abort === undefined) this.#fail(fault);
    else this.#abort(fault);
  }

  #goOnUnwanted(): void {
    if (this.#isUnwanted) return;
    this.#isUnwanted = true;
    this.#withheld = undefined;
    this.#held = undefined;
    clearTimeout(this.#unread);
    if (!this.#hasHead) return;
    this.#limitUnwanted();
    this.#resume!();
  }

  #limitUnwanted(): void {
    this.#unread = setTimeout(() => this.#abort!(new ClientFault()), UNWANTED_MS_MAX).unref();
  }

  onConnect(abort: (error: Error) => void): void {
    this.#abort = abort;
  }

  onSend(abort: (error: Error) => void): void {
    this.#abort = abort;
    this.#wasSent = true;
  }

  onHint(status: number, raw: readonly string[]): void {
    if (!this.#isUnwanted) passHint(this.#options.response, status, raw);
  }

  onHead(status: number, text: string, raw: readonly string[], resume: () => void): void {
    const { response, body, record, tap } = this.#options;
    const headers = responseHeaders(raw);
    tap?.head(status, headers);
    this.#resume = resume;
    this.#hasHead = true;
    record.status = status;
    record.headMs = performance.now() - record.startedMs;
    const look = this.#isUnwanted ? undefined : this.#options.lookAt?.(status);
    if (this.#isUnwanted) this.#limitUnwanted();
    else if (look === undefined) this.#begin(status, text, headers);
    else this.#withheld = { status, text, headers, chunks: [], bytes: 0, look };
    if (body !== undefined) lingerAfter(response);
    this.#options.onHead(undefined);
  }

  #begin(status: number, text: string, headers: string[]): void {
    const { response } = this.#options;
    const told = headersToClient(status, headers, response.req);
    response.writeHead(status, text === "" ? undefined : text, told);
    // In one packet with what is there of the body; but a stream that has nothing to say yet has begun.
    this.#isFresh = true;
  }

  onPause(): void {
    if (!this.#isFresh) return;
    this.#isFresh = false;
    if (this.#isUnwanted) return;
    if (this.#held === undefined) this.#options.response.flushHeaders();
    else this.#release();
  }

  onBody(chunk: Buffer): boolean {
    this.#options.tap?.data(chunk);
    return this.#passOn(chunk);
  }

  #passOn(chunk: Buffer): boolean {
    const { response, record } = this.#options;
    if (this.#isUnwanted) return true;
    if (this.#withheld !== undefined) return this.#withhold(chunk, this.#withheld);
    // It may be all of the body: it waits for the end, which comes right behind it or not soon.
    if (this.#isFresh && record.bytesOut === 0 && chunk.length <= JOINED_BYTES_MAX) {
      record.bytesOut = chunk.length;
      this.#held = chunk.toString("latin1");
      return true;
    }
    this.#release();
    record.bytesOut += chunk.length;
    if (response.write(Buffer.from(chunk))) return true;
    if (this.#isStemmed) return false;
    this.#isStemmed = true;
    response.once("drain", this.#onDrain);
    // The upstream's own limits rest meanwhile. Its close abandons this exchange.
    this.#unread = setTimeout(() => response.destroy(), UNREAD_MS_MAX).unref();
    return false;
  }

  readonly #onDrain = (): void => {
    this.#isStemmed = false;
    if (this.#isOver || this.#isUnwanted) return;
    clearTimeout(this.#unread);
    this.#resume!();
  };

  /** Keeps a piece of an answer that is looked at. One that is too long goes on as it comes. */
  #withhold(chunk: Buffer, withheld: Withheld): boolean {
    withheld.chunks.push(Buffer.from(chunk));
    withheld.bytes += chunk.length;
    if (withheld.bytes <= LOOKED_AT_BYTES_MAX) return true;
    this.#withheld = undefined;
    void withheld.look(undefined);
    this.#begin(withheld.status, withheld.text, withheld.headers);
    return this.#passOn(Buffer.concat(withheld.chunks));
  }

  /** The answer has come to its end: looks at it, and passes it on when it may go. */
  async #show(withheld: Withheld, trailers: readonly string[]): Promise<void> {
    const { response, record } = this.#options;
    const { headers } = withheld;
    const body = Buffer.concat(withheld.chunks);
    await withheld.look({ headers, body });
    if (response.destroyed) return;
    this.#begin(withheld.status, withheld.text, headers);
    record.bytesOut = body.length;
    if (body.length > 0) this.#held = body.toString("latin1");
    this.#end(trailers);
  }

  #release(): void {
    if (this.#held === undefined) return;
    this.#options.response.write(this.#held, "latin1");
    this.#held = undefined;
  }

  onEnd(trailers: readonly string[]): void {
    if (this.#isOver) return;
    const withheld = this.#withheld;
    this.#over(true);
    if (withheld !== undefined) {
      const { response } = this.#options;
      this.#show(withheld, trailers).catch(() => response.destroy());
    } else if (!this.#isUnwanted) this.#end(trailers);
    this.#options.tap?.end();
  }

  #end(trailers: readonly string[]): void {
    const { response } = this.#options;
    if (trailers.length > 0) {
      const flat = responseHeaders(trailers);
      const pairs = flat.flatMap((name, i): [string, string][] =>
        i % 2 === 0 ? [[name, flat[i + 1]!]] : [],
      );
      response.addTrailers(pairs);
    }
    if (this.#held === undefined) response.end();
    else endWith(response, this.#held);
  }

  onTunnel(raw: readonly string[], socket: Duplex): void {
    const { record } = this.#options;
    record.status = 101;
    record.end = "tunnel";
    this.#hasHead = true;
    this.#isOver = true;
    // The tunnel goes on using the connection.
    socket.once("close", () => this.#options.onEnd(true));
    this.#options.onTunnel!(responseHeaders(raw), socket);
    this.#options.onHead(undefined);
  }

  onError(error: Error): void {
    if (!this.#isOver) this.#fail(error);
  }

  #fail(error: Error): void {
    const { response, record, onHead, tap } = this.#options;
    if (!this.#hasHead) {
      this.#isOver = true;
      return onHead(error);
    }
    this.#over(false);
    tap?.broke();
    if (!(error instanceof ClientFault)) record.end = "upstream-broke-off";
    // To a client that knows no chunks an end in order would be that of the answer.
    if (response.req.httpVersionMinor === 0) response.req.socket.resetAndDestroy();
    response.destroy();
  }

  #over(isWhole: boolean): void {
    this.#isOver = true;
    clearTimeout(this.#unread);
    this.#options.onEnd(isWhole);
  }
}

/**
 * Head and body in one write to the connection: as one text they are sent at once, as two pieces they would
 * be gathered first.
 *
 * @param body in Latin-1
 */
function endWith(response: ServerResponse, body: string): void {
  response.write(body, "latin1");
  response.socket?.uncork();
  response.end();
}

/** 103 goes on to a client that knows it, if it can be written; the others mean nothing to a pooled connection. */
function passHint(response: ServerResponse, status: number, raw: readonly string[]): void {
  if (status !== 103 || response.req.httpVersionMinor === 0) return;
  // Without a prototype, of which a header could have a name.
  const hints = Object.create(null) as Record<string, string[]>;
  const flat = headersToClient(status, responseHeaders(raw), response.req);
  for (let i = 0; i < flat.length; i += 2)
    (hints[flat[i]!.toLowerCase()] ??= []).push(flat[i + 1]!);
  try {
    response.writeEarlyHints(hints);
  } catch {
    // It takes fewer forms of a link than there are, and looks before it writes. The answer has them again.
  }
}
