import {
  BrokenCircuitError,
  circuitBreaker,
  CircuitState,
  ConsecutiveBreaker,
  handleAll,
} from "cockatiel";
import { Pool, type Dispatcher } from "undici";
import { responseHeaders } from "./pass-headers.ts";
import { ShadowBody, type ShadowBytes } from "./shadow-bytes.ts";
import type { ShadowSettings, UpstreamSettings } from "./settings.ts";
import type { Side } from "../rollout/stage.ts";

/** Requests that fail one after the other until the side is left alone in shadow, */
const FAILURES_MAX = 10;
/** and for how long, before one request tries it again. */
const OPEN_MS = 1_000;
/** Requests that wait for a connection, */
const WAITING_MAX = 1_000;
/** of their time at most: who is asked has the rest for an answer. */
export const WAITING_SHARE_MAX = 0.5;
/** Head of an answer. */
const HEAD_BYTES_MAX = 65_536;
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
  readonly #pool: Pool;
  readonly #servername: string;
  readonly #settings: ShadowSettings;
  readonly #bytes: ShadowBytes;
  readonly #breaker = circuitBreaker(handleAll, {
    halfOpenAfter: OPEN_MS,
    breaker: new ConsecutiveBreaker(FAILURES_MAX),
  });
  readonly #waiting: (() => void)[] = [];
  #inFlight = 0;
  #isClosed = false;

  constructor(
    side: Side,
    { url, connectMsMax }: Pick<UpstreamSettings, "url" | "connectMsMax">,
    settings: ShadowSettings,
    bytes: ShadowBytes,
  ) {
    this.side = side;
    this.#settings = settings;
    this.#bytes = bytes;
    this.#servername = new URL(url).hostname;
    this.#pool = new Pool(url, {
      pipelining: 1,
      connections: settings.connectionsMax,
      connect: { timeout: Math.min(connectMsMax, settings.timeoutMs) },
      // The deadline of each request comes before.
      headersTimeout: 0,
      bodyTimeout: 0,
      maxHeaderSize: HEAD_BYTES_MAX,
      strictContentLength: true,
    });
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get isOpen(): boolean {
    return this.#breaker.state === CircuitState.Open;
  }

  /** @param keepsBody false: its status is all that counts of the answer */
  async ask(request: ShadowRequest, keepsBody = true): Promise<ShadowReply | NoReply> {
    const { timeoutMs } = this.#settings;
    const askedMs = performance.now();
    // Asked now, the breaker would let this request wait for the one that tries the side again.
    if (this.#isClosed || this.#breaker.state === CircuitState.HalfOpen) return "dropped";
    if (this.#inFlight < this.#settings.connectionsMax) this.#inFlight++;
    else if (this.#waiting.length >= WAITING_MAX) return "dropped";
    else await new Promise<void>((done) => this.#waiting.push(done));
    try {
      const hasTime = performance.now() - askedMs < timeoutMs * WAITING_SHARE_MAX;
      if (this.#isClosed || !hasTime) return "dropped";
      return await this.#guarded(() => this.#send(request, keepsBody, askedMs + timeoutMs));
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#inFlight--;
      else next();
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    for (const next of this.#waiting.splice(0)) next();
    await this.#pool.destroy();
  }

  async #guarded(attempt: () => Promise<ShadowReply | NoReply>): Promise<ShadowReply | NoReply> {
    let reply: ShadowReply | NoReply = "dropped";
    try {
      await this.#breaker.execute(async () => {
        reply = await attempt();
        if (reply === "failed" || reply === "late") throw new Error(reply);
      });
    } catch (error) {
      if (error instanceof BrokenCircuitError) return "dropped";
    }
    return reply;
  }

  #send(
    { method, target, headers, body }: ShadowRequest,
    keepsBody: boolean,
    deadlineMs: number,
  ): Promise<ShadowReply | NoReply> {
    return new Promise((done) => {
      const handler = new ReplyHandler({
        body: new ShadowBody(this.#bytes, this.#settings.bodyBytesMax),
        keepsBody,
        msMax: deadlineMs - performance.now(),
        done,
      });
      const options = {
        path: target,
        method: method as Dispatcher.HttpMethod,
        headers: inShadow(headers, keepsBody),
        body: body ?? null,
        servername: this.#servername,
      };
      try {
        this.#pool.dispatch(options, handler);
      } catch {
        handler.onError();
      }
    });
  }
}

/** The header lines of a request in shadow. */
function inShadow(headers: readonly string[], isRead: boolean): string[] {
  const out: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!.toLowerCase();
    if (name === "banyan-mode" || (isRead && CONDITIONS.has(name))) continue;
    out.push(headers[i]!, headers[i + 1]!);
  }
  out.push("banyan-mode", "shadow");
  return out;
}

interface ReplyOptions {
  readonly body: ShadowBody;
  readonly keepsBody: boolean;
  readonly msMax: number;
  readonly done: (reply: ShadowReply | NoReply) => void;
}

class ReplyHandler implements Dispatcher.DispatchHandler {
  readonly #options: ReplyOptions;
  readonly #timer: NodeJS.Timeout;
  #abort: ((error?: Error) => void) | undefined;
  #status = 0;
  #headers: readonly string[] = [];
  #isOver = false;

  constructor(options: ReplyOptions) {
    this.#options = options;
    this.#timer = setTimeout(() => this.#giveUp("late"), options.msMax).unref();
  }

  onConnect(abort: (error?: Error) => void): void {
    this.#abort = abort;
    if (this.#isOver) abort();
  }

  onHeaders(status: number, raw: Buffer[]): boolean {
    if (status < 200) return true;
    this.#status = status;
    this.#headers = responseHeaders(raw);
    if (isEventStream(this.#headers)) this.#giveUp("streaming");
    return true;
  }

  onData(chunk: Buffer): boolean {
    if (this.#isOver || !this.#options.keepsBody) return true;
    const problem = this.#options.body.add(chunk);
    if (problem !== undefined) this.#giveUp(problem);
    return true;
  }

  onComplete(): void {
    this.#settle({ status: this.#status, headers: this.#headers, body: this.#options.body });
  }

  onError(): void {
    this.#settle("failed");
  }

  #giveUp(why: NoReply): void {
    this.#settle(why);
    this.#abort?.();
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
    if (headers[i]!.toLowerCase() === "content-type")
      return /^text\/event-stream\b/i.test(headers[i + 1]!);
  }
  return false;
}
