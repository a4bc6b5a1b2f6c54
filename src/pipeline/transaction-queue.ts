import type { TransactionPart } from "../model/change.ts";
import { invariant } from "../model/errors.ts";

export interface QueueLimits {
  readonly changesMax: number;
  readonly bytesMax: number;
}

/**
 * Between the reader of the log and the writer of events: parts of transactions in commit order,
 * bounded in changes and bytes. One producer, one consumer.
 */
export class TransactionQueue {
  readonly #limits: QueueLimits;
  #parts: TransactionPart[] = [];
  #changes = 0;
  #bytes = 0;
  #closed = false;
  #error: unknown;
  #wakeProducer: (() => void) | undefined;
  #wakeConsumer: (() => void) | undefined;

  constructor(limits: QueueLimits) {
    invariant(limits.changesMax >= 1 && limits.bytesMax >= 1, "a queue holds at least one change");
    this.#limits = limits;
  }

  /** Commit time of the oldest part waiting, in microseconds; undefined when none is. */
  get oldestUs(): number | undefined {
    return this.#parts[0]?.transaction.committedAtUs;
  }

  get isEmpty(): boolean {
    return this.#parts.length === 0;
  }

  get full(): boolean {
    return this.#changes >= this.#limits.changesMax || this.#bytes >= this.#limits.bytesMax;
  }

  /** Resolves when there is room again. @returns false once closed: the producer should stop */
  async push(parts: readonly TransactionPart[]): Promise<boolean> {
    for (const part of parts) {
      this.#parts.push(part);
      this.#changes += part.changes.length;
      this.#bytes += part.bytes;
    }
    this.#wakeConsumer?.();
    while (this.full && !this.#closed) {
      await new Promise<void>((resolve) => (this.#wakeProducer = resolve));
      this.#wakeProducer = undefined;
    }
    return !this.#closed;
  }

  /**
   * All that waits, as soon as something does. Empty after `timeoutMs` without anything, or when closed.
   *
   * @param lingerMs how long to wait for more once something is there; skipped when the queue is full
   * @throws the error that the queue was closed with, after what came before it was taken
   */
  async take(timeoutMs: number, lingerMs: number): Promise<readonly TransactionPart[]> {
    if (this.#parts.length === 0 && !this.#closed) await this.#arrival(timeoutMs);
    if (lingerMs > 0 && this.#parts.length > 0 && !this.full && !this.#closed) {
      await this.#filled(lingerMs);
    }
    const parts = this.#parts;
    if (parts.length === 0) {
      if (this.#error !== undefined) throw this.#error;
      return parts;
    }
    this.#parts = [];
    this.#changes = 0;
    this.#bytes = 0;
    this.#wakeProducer?.();
    return parts;
  }

  get closed(): boolean {
    return this.#closed && this.#parts.length === 0 && this.#error === undefined;
  }

  /** Ends the queue after what waits in it, or with `error`. Idempotent. */
  close(error?: unknown): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#error = error;
    this.#wakeConsumer?.();
    this.#wakeProducer?.();
  }

  async #arrival(timeoutMs: number): Promise<void> {
    await this.#wait(timeoutMs, () => true);
  }

  async #filled(lingerMs: number): Promise<void> {
    await this.#wait(lingerMs, () => this.full || this.#closed);
  }

  #wait(timeoutMs: number, enough: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        this.#wakeConsumer = undefined;
        resolve();
      };
      const timer = setTimeout(done, timeoutMs);
      this.#wakeConsumer = () => {
        if (enough()) done();
      };
    });
  }
}
