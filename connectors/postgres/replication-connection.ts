import type pg from "pg";
import { BanyanError } from "../../src/model/errors.ts";
import type { Position } from "../../src/model/position.ts";
import type { TransactionPart } from "../../src/model/change.ts";
import { quoteIdentifier, quoteLiteral } from "./identifiers.ts";
import { formatLsn, type Lsn } from "./lsn.ts";
import { PgoutputDecoder } from "./pgoutput.ts";
import { publicationGap } from "./publication.ts";
import { disconnect } from "./session.ts";
import { classify } from "./sqlstate.ts";
import type { RelationCache } from "./relations.ts";
import { TransactionAssembler } from "./transaction-assembler.ts";
import { readServerError, Wire, type ServerError } from "./wire.ts";
import type { XidEpoch } from "./xid.ts";

/** Feedback at least this often, and at three quarters of the server's own patience. */
const FEEDBACK_MS_MAX = 10_000;
/** An acknowledgement waits this long for others to join it. */
const ACKNOWLEDGE_MS = 500;
/** For a server that has turned its timeout off. */
const SENDER_TIMEOUT_MS_DEFAULT = 60_000;
/** How long the server may take to start sending; it may have to look for the start in its log. */
const START_MS_MAX = 60_000;
const CLOSE_MS_MAX = 3_000;
/** Microseconds from 1970-01-01 to 2000-01-01, the server's epoch. */
const EPOCH_US = 946_684_800_000_000n;

export interface ReplicationOptions {
  /** Connected with `replication`, idle. Owned from now on. */
  readonly client: pg.Client;
  readonly slot: string;
  readonly publication: string;
  readonly from: Lsn;
  /** What was acknowledged before; the server is told again. */
  readonly acknowledged: Lsn | undefined;
  readonly serverVersion: number;
  /** `wal_sender_timeout`, 0 when turned off. */
  readonly senderTimeoutMs: number;
  readonly relations: RelationCache;
  readonly xids: XidEpoch;
  /** The socket is not read while more than this is decoded and not taken; an estimate of memory. */
  readonly bufferBytesMax: number;
  readonly partBytesMax: number;
  /** Whose echoes are told; see TransactionAssembler. */
  readonly pipeline?: string | undefined;
}

/**
 * One run of START_REPLICATION, from the take-over of the socket to its end.
 *
 * Messages are decoded as they come and queued; {@link next} hands over all that is queued. When the
 * queue is full the socket is paused, while feedback goes on from its own timer: the server never
 * takes a slow consumer for a dead one.
 *
 * @see https://www.postgresql.org/docs/current/protocol-replication.html
 */
export class ReplicationConnection {
  readonly #options: ReplicationOptions;
  readonly #wire: Wire;
  readonly #assembler: TransactionAssembler;
  readonly #decoder: PgoutputDecoder;
  readonly #watchdogMs: number;
  #started: (() => void) | undefined;
  #wake: (() => void) | undefined;
  #closed: (() => void) | undefined;
  #failure: BanyanError | undefined;
  #streaming = false;
  #closing = false;
  #ending: Promise<void> | undefined;
  /** From handing a group over until the consumer comes back: what it holds is not yet applied. */
  #isHeld = false;
  #heard = true;
  #silentMs = 0;
  #tickedMs = performance.now();
  #receivedHigh = 0;
  #receivedLow = 0;
  #acknowledged: Lsn;
  #acknowledgeTimer: NodeJS.Timeout | undefined;
  readonly #timer: NodeJS.Timeout;

  private constructor(options: ReplicationOptions) {
    this.#options = options;
    this.#acknowledged = options.acknowledged ?? (0n as Lsn);
    const { xids, from, partBytesMax, pipeline } = options;
    this.#assembler = new TransactionAssembler(xids, from, partBytesMax, pipeline);
    this.#decoder = new PgoutputDecoder(options.relations, this.#assembler);
    this.#wire = new Wire(
      options.client,
      (tag, body, start, end) => this.#receive(tag, body, start, end),
      (error) => this.fail(classify(error, "source", "reading the log")),
    );
    const patienceMs = options.senderTimeoutMs || SENDER_TIMEOUT_MS_DEFAULT;
    this.#watchdogMs = 2 * patienceMs;
    const feedbackMs = Math.max(100, Math.min(FEEDBACK_MS_MAX, Math.floor(0.75 * patienceMs)));
    this.#timer = setInterval(() => this.#tick(feedbackMs), feedbackMs);
    this.#timer.unref();
  }

  /**
   * Sends START_REPLICATION and waits until the server begins.
   *
   * @throws BanyanError `SLOT_IN_USE`, `SLOT_LOST`, `PUBLICATION_MISSING`, `SOURCE_UNREACHABLE` …
   */
  static async start(options: ReplicationOptions): Promise<ReplicationConnection> {
    const connection = new ReplicationConnection(options);
    try {
      await connection.#start();
      return connection;
    } catch (error) {
      await connection.close();
      throw error;
    }
  }

  /**
   * All that has come since the last call, at least one part. Undefined once the signal is aborted.
   * What was decoded before a failure is handed over first.
   */
  async next(signal: AbortSignal): Promise<readonly TransactionPart[] | undefined> {
    const wake = (): void => this.#wake?.();
    this.#isHeld = false;
    signal.addEventListener("abort", wake, { once: true });
    try {
      for (;;) {
        if (signal.aborted) return undefined;
        if (!this.#assembler.isEmpty) {
          const group = this.#assembler.take();
          this.#isHeld = true;
          if (this.#wire.paused && this.#failure === undefined) this.#resume();
          return group;
        }
        if (this.#failure !== undefined) throw this.#failure;
        await new Promise<void>((resolve) => (this.#wake = resolve));
        this.#wake = undefined;
      }
    } finally {
      signal.removeEventListener("abort", wake);
    }
  }

  idlePosition(): Position | undefined {
    return this.#isHeld ? undefined : this.#assembler.idlePosition();
  }

  /** @param lsn never lower than before */
  acknowledge(lsn: Lsn): void {
    this.#acknowledged = lsn;
    this.#acknowledgeTimer ??= setTimeout(() => {
      this.#acknowledgeTimer = undefined;
      this.#sendFeedback(false);
    }, ACKNOWLEDGE_MS).unref();
  }

  /** Tells the server what is acknowledged and lets go of the slot, in bounded time. Never rejects. */
  close(): Promise<void> {
    this.#ending ??= this.#end();
    return this.#ending;
  }

  async #end(): Promise<void> {
    this.#closing = true;
    clearInterval(this.#timer);
    clearTimeout(this.#acknowledgeTimer);
    if (this.#failure === undefined && this.#streaming) {
      // The slot is free again only when the server has closed its side: whoever follows needs that.
      const closed = new Promise<void>((resolve) => (this.#closed = resolve));
      this.#sendFeedback(false);
      this.#wire.copyDone();
      this.#wire.terminate();
      this.#wire.resume();
      const timer = setTimeout(() => this.#closed?.(), CLOSE_MS_MAX);
      await closed;
      clearTimeout(timer);
    }
    this.#wire.destroy();
    await disconnect(this.#options.client);
  }

  async #start(): Promise<void> {
    const { slot, publication, from, serverVersion } = this.#options;
    const settings = [
      "proto_version '1'",
      `publication_names ${quoteLiteral(quoteIdentifier(publication))}`,
      ...(serverVersion >= 140_000 ? ["messages 'true'"] : []),
    ];
    const started = new Promise<void>((resolve) => (this.#started = resolve));
    this.#wire.query(
      `START_REPLICATION SLOT ${quoteIdentifier(slot)} LOGICAL ${formatLsn(from)} (${settings.join(", ")})`,
    );
    const timer = setTimeout(() => {
      this.fail(
        new BanyanError(
          "SOURCE_UNREACHABLE",
          `the server did not start to send within ${START_MS_MAX / 1000} s`,
        ),
      );
    }, START_MS_MAX);
    await started;
    clearTimeout(timer);
    if (this.#failure !== undefined) throw this.#failure;
  }

  #receive(tag: number, body: Buffer, start: number, end: number): void {
    this.#heard = true;
    if (this.#closing) return;
    switch (tag) {
      case 0x64: // d: CopyData
        this.#copyData(body, start, end);
        return;
      case 0x57: // W: CopyBothResponse
        this.#streaming = true;
        this.#started?.();
        return;
      case 0x45: // E: ErrorResponse
        this.#refused(readServerError(body, start, end));
        return;
      case 0x63: // c, C: a server that shuts down ends the stream in good order
      case 0x43:
        this.fail(
          new BanyanError(
            "SOURCE_UNREACHABLE",
            "the server ended the log stream; it may be shutting down",
          ),
        );
        return;
      case 0x4e: // N: a notice
        this.#noticed(readServerError(body, start, end));
        return;
      case 0x53: // S: a setting changed
      case 0x5a: // Z: ready, after an error
        return;
      default:
        throw new BanyanError(
          "PROTOCOL_VIOLATION",
          `unexpected message 0x${tag.toString(16)} in the log stream`,
        );
    }
  }

  #refused(message: ServerError): void {
    const error = classify(message, "source", "reading the log");
    const { publication, slot } = this.#options;
    const isGap = error.code === "PUBLICATION_MISSING";
    this.fail(isGap ? publicationGap(publication, slot, error) : error);
  }

  /** Since version 18 the server only warns of a missing publication, and leaves its changes out. */
  #noticed({ routine }: ServerError): void {
    const { publication, slot } = this.#options;
    if (routine === "LoadPublications") this.fail(publicationGap(publication, slot));
  }

  #copyData(body: Buffer, start: number, end: number): void {
    const kind = start < end ? body[start] : -1;
    if (kind === 0x77 && end - start >= 25) {
      this.#decoder.decode(body, start + 25, end);
      this.#receivedUpTo(body.readUInt32BE(start + 9), body.readUInt32BE(start + 13));
      if (this.#wake !== undefined && !this.#assembler.isEmpty) this.#wake();
      if (this.#assembler.bytes > this.#options.bufferBytesMax && !this.#assembler.isEmpty)
        this.#wire.pause();
    } else if (kind === 0x6b && end - start === 18) {
      const high = body.readUInt32BE(start + 1);
      const low = body.readUInt32BE(start + 5);
      this.#receivedUpTo(high, low);
      this.#assembler.readTo(high, low);
      if (body[start + 17] === 1) this.#sendFeedback(false);
    } else {
      throw new BanyanError(
        "PROTOCOL_VIOLATION",
        "a message of the log stream is neither data nor keepalive",
      );
    }
  }

  #receivedUpTo(high: number, low: number): void {
    if (high < this.#receivedHigh || (high === this.#receivedHigh && low <= this.#receivedLow))
      return;
    this.#receivedHigh = high;
    this.#receivedLow = low;
  }

  #resume(): void {
    // Time in which we did not listen says nothing about the server.
    this.#heard = true;
    this.#wire.resume();
  }

  /**
   * Feedback, and the watch over a server that has fallen silent. Silence counts only while we listen,
   * and a tick that comes late (a stalled process, a suspended machine) counts as one on time.
   * An idle server sends nothing by itself, so each feedback after a silent interval asks for an answer.
   */
  #tick(periodMs: number): void {
    const nowMs = performance.now();
    const elapsedMs = Math.min(nowMs - this.#tickedMs, periodMs);
    this.#tickedMs = nowMs;
    const silent = !this.#heard && !this.#wire.paused;
    this.#silentMs = silent ? this.#silentMs + elapsedMs : 0;
    this.#heard = false;
    if (this.#silentMs > this.#watchdogMs) {
      this.fail(
        new BanyanError(
          "SOURCE_UNREACHABLE",
          `the source has been silent for ${Math.round(this.#silentMs / 1000)} s`,
          {
            hint: "The network or the server is stuck; it is tried again.",
          },
        ),
      );
      return;
    }
    this.#sendFeedback(silent);
  }

  /** Standby status update: what was received, and as flushed and applied only what was acknowledged. */
  #sendFeedback(askForReply: boolean): void {
    if (!this.#streaming || this.#failure !== undefined) return;
    const body = Buffer.alloc(34);
    body[0] = 0x72;
    body.writeUInt32BE(this.#receivedHigh, 1);
    body.writeUInt32BE(this.#receivedLow, 5);
    body.writeBigUInt64BE(this.#acknowledged, 9);
    body.writeBigUInt64BE(this.#acknowledged, 17);
    body.writeBigInt64BE(BigInt(Date.now()) * 1000n - EPOCH_US, 25);
    body[33] = askForReply ? 1 : 0;
    this.#wire.copyData(body);
  }

  /** Ends the stream with this error; what was decoded before is handed over first. Idempotent. */
  fail(error: BanyanError): void {
    this.#closed?.();
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#wire.destroy();
    this.#started?.();
    this.#wake?.();
  }
}
