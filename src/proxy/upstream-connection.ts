import type { Socket } from "node:net";
import { AnswerFault, type AnswerHead } from "./answer-head.ts";
import { AnswerParser, type AnswerSink } from "./answer-parser.ts";
import { sendBody } from "./send-body.ts";
import { UpstreamFailure } from "./upstream-failure.ts";
import { headOf, type AnswerHandler, type UpstreamRequest } from "./upstream-request.ts";

/** A body up to here is sent as one text with its head. */
const JOINED_BYTES_MAX = 8_192;
/** An unused connection is kept so long, unless the upstream names a time. */
const KEPT_MS = 4_000;
const KEPT_MS_MAX = 600_000;
/** Closed so much before the upstream would, which could be just when a request is sent. */
const KEPT_MARGIN_MS = 1_000;

export interface ConnectionOptions {
  readonly socket: Socket;
  /**
   * Lets `take` have all bytes that come; they are others once it returns. `isAll` when it is known that
   * none have come behind them.
   */
  readonly deliver: (take: (bytes: Buffer, isAll?: boolean) => void) => void;
  /** Host and port of the upstream. */
  readonly authority: string;
  /** From the request's end to the head of its answer. */
  readonly responseMsMax: number;
  /** Between two pieces of an answer. */
  readonly idleMsMax: number;
  /** The connection can be used for another request. */
  readonly onIdle: (connection: UpstreamConnection) => void;
  readonly onClose: (connection: UpstreamConnection) => void;
}

/** A connection to an upstream, with one request at a time. */
export class UpstreamConnection implements AnswerSink {
  readonly #options: ConnectionOptions;
  readonly #socket: Socket;
  readonly #parser = new AnswerParser(this);
  /** Whom the answer is for. Undefined while there is none. */
  #handler: AnswerHandler | undefined;
  /** Throws away what is not sent of a body. Undefined once all is. */
  #stopBody: (() => void) | undefined;
  #isKept = true;
  #keptMs = KEPT_MS;
  /** Of performance.now(): what is awaited comes until then. */
  #deadlineMs = Number.POSITIVE_INFINITY;
  #isHeadDue = false;
  #problem: Error | undefined;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#socket = options.socket;
    options.deliver(this.#onData);
    this.#socket.on("end", this.#onEnd).on("error", this.#onError).on("close", this.#onClose);
  }

  get isOpen(): boolean {
    return !this.#socket.destroyed && this.#socket.writable;
  }

  /** Ends what is under way with an error. */
  destroy(error?: Error): void {
    this.#problem ??= error;
    this.#socket.destroy();
    this.#fail();
  }

  /** Only while it is idle. */
  send(request: UpstreamRequest, handler: AnswerHandler): void {
    const { method, body, upgrade } = request;
    this.#handler = handler;
    handler.onSend(this.#abort);
    if (!this.isOpen) return;
    const { text, framing } = headOf(request, this.#options.authority);
    this.#parser.expect({ method, isUpgrade: upgrade !== undefined });
    this.#isHeadDue = true;
    const socket = this.#socket;
    if (Buffer.isBuffer(body) || body === undefined) this.#awaitHead();
    if (body === undefined) socket.write(text, "latin1");
    else if (!Buffer.isBuffer(body)) {
      this.#onWait("client");
      // In one packet with what is there of the body.
      socket.cork();
      socket.write(text, "latin1");
      this.#stopBody = sendBody({
        socket,
        body,
        framing,
        onWait: this.#onWait,
        onFailure: this.#onError,
        onSent: this.#onSent,
        onBroken: this.#abort,
      });
      process.nextTick(() => socket.uncork());
    } else if (body.length <= JOINED_BYTES_MAX)
      socket.write(text + body.toString("latin1"), "latin1");
    else {
      socket.cork();
      socket.write(text, "latin1");
      socket.write(body);
      socket.uncork();
    }
  }

  /** Ends what has waited for too long. */
  look(nowMs: number): void {
    if (nowMs < this.#deadlineMs) return;
    if (this.#handler === undefined) return void this.#socket.destroy();
    const what = this.#isHeadDue ? "no answer in time" : "no more of its answer in time";
    this.destroy(new UpstreamFailure("upstream-slow", what));
  }

  onHint({ status, headers }: AnswerHead): void {
    this.#handler?.onHint(status, headers);
  }

  onHead({ status, text, headers, isKept, keptMs }: AnswerHead): void {
    this.#isHeadDue = false;
    this.#isKept = isKept;
    if (keptMs !== undefined) this.#keptMs = Math.min(keptMs - KEPT_MARGIN_MS, KEPT_MS_MAX);
    this.#awaitMore();
    this.#handler?.onHead(status, text, headers, this.#resume);
  }

  onBody(piece: Buffer): void {
    if (this.#handler?.onBody(piece) !== false) return;
    this.#socket.pause();
    this.#deadlineMs = Number.POSITIVE_INFINITY;
  }

  onEnd(trailers: readonly string[]): void {
    const handler = this.#handler;
    this.#handler = undefined;
    handler?.onEnd(trailers);
  }

  onSwitch(headers: readonly string[], rest: Buffer): void {
    const socket = this.#socket;
    const handler = this.#handler!;
    this.#handler = undefined;
    socket
      .off("data", this.#onData)
      .off("end", this.#onEnd)
      .off("error", this.#onError)
      .off("close", this.#onClose);
    this.#options.onClose(this);
    socket.pause();
    if (rest.length > 0) socket.unshift(rest);
    handler.onTunnel(headers, socket);
  }

  readonly #onData = (bytes: Buffer, isAll = false): void => {
    if (this.#deadlineMs !== Number.POSITIVE_INFINITY && !this.#isHeadDue) this.#awaitMore();
    const wasUsed = this.#handler !== undefined;
    try {
      this.#parser.take(bytes);
    } catch (error) {
      return this.#refuse(error);
    }
    if (this.#handler !== undefined) this.#handler.onPause();
    else if (wasUsed) this.#release(isAll);
  };

  readonly #onEnd = (): void => {
    this.#isKept = false;
    try {
      // After a failure the end of a body is not known by that of the connection.
      if (this.#problem === undefined) this.#parser.finish();
    } catch (error) {
      this.#problem ??= closedBy(error);
    }
    this.destroy();
  };

  readonly #onError = (error: Error): void => {
    this.#problem ??= closedBy(error);
  };

  readonly #onClose = (): void => {
    this.#options.onClose(this);
    this.#fail();
  };

  readonly #abort = (error: Error): void => this.destroy(error);

  readonly #onSent = (): void => {
    this.#stopBody = undefined;
    this.#awaitHead();
  };

  /** How long the client may be silent is looked at where its body is read. */
  readonly #onWait = (whom: "upstream" | "client"): void => {
    if (whom === "upstream") this.#awaitHead();
    else if (this.#isHeadDue) this.#deadlineMs = Number.POSITIVE_INFINITY;
  };

  readonly #resume = (): void => {
    if (this.#handler === undefined) return;
    this.#awaitMore();
    this.#socket.resume();
  };

  #awaitHead(): void {
    if (this.#isHeadDue) this.#deadlineMs = performance.now() + this.#options.responseMsMax;
  }

  #awaitMore(): void {
    this.#deadlineMs = performance.now() + this.#options.idleMsMax;
  }

  #refuse(error: unknown): void {
    // What came behind a whole answer is nobody's. What cannot be passed on costs one request.
    const message = error instanceof AnswerFault ? error.message : "it cannot be passed on";
    this.destroy(new UpstreamFailure("upstream-failed", message, { cause: error }));
  }

  /** The answer is whole. */
  #release(isAll: boolean): void {
    const isWhollySent = this.#stopBody === undefined;
    if (!isWhollySent || !this.#isKept || this.#keptMs <= 0 || !this.isOpen) {
      this.#stop();
      this.#socket.destroy();
      return;
    }
    this.#deadlineMs = performance.now() + this.#keptMs;
    // Its last pieces may have been too many for the client.
    this.#socket.resume();
    if (isAll) this.#options.onIdle(this);
    // What has come behind it must not be taken for the next answer: it is read within this turn.
    else setImmediate(() => this.isOpen && this.#options.onIdle(this));
  }

  #stop(): void {
    this.#stopBody?.();
    this.#stopBody = undefined;
  }

  #fail(): void {
    this.#stop();
    const handler = this.#handler;
    this.#handler = undefined;
    handler?.onError(this.#problem ?? closedBy(undefined));
  }
}

function closedBy(cause: unknown): UpstreamFailure {
  const why = cause instanceof Error ? cause.message : "it closed the connection";
  return new UpstreamFailure("upstream-failed", why, { cause, wasClosed: true });
}
