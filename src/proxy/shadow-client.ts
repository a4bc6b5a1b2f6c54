import type { Duplex } from "node:stream";
import { Breaker } from "./breaker.ts";
import { ClientFault } from "./client-fault.ts";
import { responseHeaders } from "./pass-headers.ts";
import { ShadowBody, type ShadowBytes } from "./shadow-bytes.ts";
import type { ShadowSettings, UpstreamSettings } from "./settings.ts";
import { UpstreamFailure } from "./upstream-failure.ts";
import { UpstreamPool } from "./upstream-pool.ts";
import type { AnswerHandler } from "./upstream-request.ts";
import type { Side } from "../rollout/stage.ts";

/** Requests that wait for a connection, */
const WAITING_MAX = 1_000;
/** of their time at most: who is asked has the rest for an answer. */
export const WAITING_SHARE_MAX = 0.5;
/** What a client knows of one side means nothing to the other, which is to give all of its answer. */
const CONDITIONS = new Set([
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "range",
]);

export interface ShadowRequest {
  readonly method: string;
  readonly target: string;
  /** As they go on with the client's own request. */
  readonly headers: readonly string[];
  readonly body?: Buffer | undefined;
}

/** An answer in shadow. Its body must be given back. */
export interface ShadowReply {
  readonly status: number;
  /** Flat. */
  readonly headers: readonly string[];
  readonly body: ShadowBody;
}

/** `dropped`: it was not asked at all. */
export type NoReply = "dropped" | "failed" | "late" | "too-large" | "streaming" | "full";

/**
 * Asks one side in shadow: on connections of its own, so many at once, each request with a deadline, and not
 * at all while that side fails. Never rejects; what fails here is nobody's answer.
 */
export class ShadowClient {
  readonly side: Side;
  readonly #pool: UpstreamPool;
  readonly #settings: ShadowSettings;
  readonly #bytes: ShadowBytes;
  readonly #breaker = new Breaker();
  readonly #onRoom: (() => void) | undefined;
  readonly #waiting: (() => void)[] = [];
  #inFlight = 0;
  #isClosed = false;

  /** @param onRoom told when a connection is free that nobody waits for */
  constructor(
    side: Side,
    { url, connectMsMax }: Pick<UpstreamSettings, "url" | "connectMsMax">,
    settings: ShadowSettings,
    bytes: ShadowBytes,
    onRoom?: () => void,
  ) {
    this.side = side;
    this.#onRoom = onRoom;
    this.#settings = settings;
    this.#bytes = bytes;
    const { timeoutMs } = settings;
    this.#pool = new UpstreamPool({
      url,
      connectMsMax: Math.min(connectMsMax, timeoutMs),
      // The deadline of each request comes before.
      responseMsMax: timeoutMs,
      idleMsMax: timeoutMs,
    });
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** A request would not have to wait. */
  get hasRoom(): boolean {
    return this.#inFlight < this.#settings.connectionsMax;
  }

  /** It fails, and is asked for nothing but now and then whether it is well. */
  get isLeftAlone(): boolean {
    return this.#breaker.isOpen || this.#breaker.isTrying;
  }

  /** @param keepsBody false: its status is all that counts of the answer */
  async ask(request: ShadowRequest, keepsBody = true): Promise<ShadowReply | NoReply> {
    const { timeoutMs } = this.#settings;
    const askedMs = performance.now();
    if (this.#isClosed || this.#breaker.isTrying) return "dropped";
    if (this.hasRoom) this.#inFlight++;
    else if (this.#waiting.length >= WAITING_MAX) return "dropped";
    else await new Promise<void>((done) => this.#waiting.push(done));
    const hasTime = performance.now() - askedMs < timeoutMs * WAITING_SHARE_MAX;
    try {
      if (this.#isClosed || !hasTime) return "dropped";
      return await this.#send(request, keepsBody, askedMs + timeoutMs);
    } catch {
      // A mistake of ours.
      return "failed";
    } finally {
      this.#free();
    }
  }

  #free(): void {
    const next = this.#waiting.shift();
    if (next !== undefined) return next();
    this.#inFlight--;
    this.#onRoom?.();
  }

  close(): void {
    this.#isClosed = true;
    for (const next of this.#waiting.splice(0)) next();
    this.#pool.close();
  }

  #send(
    { method, target, headers, body }: ShadowRequest,
    keepsBody: boolean,
    deadlineMs: number,
  ): Promise<ShadowReply | NoReply> {
    const request = {
      method,
      target,
      headers: inShadow(headers, keepsBody),
      body,
      upgrade: undefined,
    };
    return new Promise((done) => {
      let reply: ShadowReply | NoReply = "dropped";
      this.#breaker.run(
        (told) => {
          const exchange = new ShadowExchange({
            body: new ShadowBody(this.#bytes, this.#settings.bodyBytesMax),
            keepsBody,
            msMax: deadlineMs - performance.now(),
            // One that was kept may just have been closed.
            onClosed: keepsBody && body === undefined ? () => send(true) : undefined,
            done: (what) => {
              reply = what;
              told(failureOf(what));
            },
          });
          const send = (isAgain: boolean): void => this.#pool.send(request, exchange, isAgain);
          send(false);
        },
        () => done(reply),
      );
    });
  }
}

/** What says that a side is not well. */
function failureOf(reply: ShadowReply | NoReply): UpstreamFailure | undefined {
  if (reply === "failed") return new UpstreamFailure("upstream-failed", reply);
  return reply === "late" ? new UpstreamFailure("upstream-slow", reply) : undefined;
}

/** The header lines of a request in shadow. */
function inShadow(headers: readonly string[], isRead: boolean): string[] {
  const out: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!;
    if (isRead && CONDITIONS.has(name.toLowerCase())) continue;
    if (name !== "banyan-mode") out.push(name, headers[i + 1]!);
  }
  out.push("banyan-mode", "shadow");
  return out;
}

interface ShadowExchangeOptions {
  readonly body: ShadowBody;
  readonly keepsBody: boolean;
  readonly msMax: number;
  /** Sends it once more, because the connection had been closed. Absent: that must not be. */
  readonly onClosed: (() => void) | undefined;
  /** Told once. */
  readonly done: (reply: ShadowReply | NoReply) => void;
}

/** One request in shadow, as its answer comes in. */
class ShadowExchange implements AnswerHandler {
  readonly #options: ShadowExchangeOptions;
  readonly #timer: NodeJS.Timeout;
  #abort: ((error: Error) => void) | undefined;
  #status = 0;
  #headers: readonly string[] = [];
  #isAgain = false;
  #isOver = false;

  constructor(options: ShadowExchangeOptions) {
    this.#options = options;
    this.#timer = setTimeout(() => this.#giveUp("late"), options.msMax).unref();
  }

  onConnect(abort: (error: Error) => void): void {
    this.#abort = abort;
  }

  onSend(abort: (error: Error) => void): void {
    this.#abort = abort;
  }

  onHint(): void {
    // Says nothing of the answer.
  }

  onHead(status: number, _text: string, raw: readonly string[]): void {
    this.#status = status;
    this.#headers = responseHeaders(raw);
    if (isEventStream(this.#headers)) this.#giveUp("streaming");
  }

  onBody(piece: Buffer): boolean {
    if (this.#isOver || !this.#options.keepsBody) return true;
    const problem = this.#options.body.add(piece);
    if (problem !== undefined) this.#giveUp(problem);
    return true;
  }

  onPause(): void {
    // More is awaited here too.
  }

  onEnd(): void {
    this.#settle({ status: this.#status, headers: this.#headers, body: this.#options.body });
  }

  onTunnel(_headers: readonly string[], socket: Duplex): void {
    socket.destroy();
    this.#settle("failed");
  }

  onError(error: Error): void {
    const { onClosed } = this.#options;
    const wasClosed = error instanceof UpstreamFailure && error.wasClosed && this.#status === 0;
    if (this.#isOver || this.#isAgain || !wasClosed || onClosed === undefined)
      return this.#settle("failed");
    this.#isAgain = true;
    onClosed();
  }

  #giveUp(why: NoReply): void {
    this.#settle(why);
    this.#abort?.(new ClientFault());
  }

  #settle(reply: ShadowReply | NoReply): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    const { body, keepsBody, done } = this.#options;
    if (typeof reply !== "string") return done(reply);
    body.free();
    // What came of a write is said by the head of its answer.
    const isKnown = !keepsBody && this.#status !== 0;
    done(isKnown ? { status: this.#status, headers: this.#headers, body } : reply);
  }
}

export function isEventStream(headers: readonly string[]): boolean {
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]!.length === 12 && headers[i]!.toLowerCase() === "content-type")
      return /^text\/event-stream\b/i.test(headers[i + 1]!);
  }
  return false;
}
