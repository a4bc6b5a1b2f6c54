import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import type { BodyTap } from "./answer-tap.ts";
import { ClientFault } from "./client-fault.ts";
import type { RequestRecord } from "./request-record.ts";

/** A client that sends no byte of a body that it announced, although it could. */
export const SILENCE_MS_MAX = 30_000;
/** Read ahead of the upstream. */
const AHEAD_BYTES_MAX = 65_536;

/**
 * The body of a request on its way to an upstream. It stands between the two because whoever is done with a
 * body destroys it, and the body of a request that is destroyed takes the client's connection along, with
 * the answer that is due on it.
 */
export class RequestBody extends Readable {
  readonly #request: IncomingMessage;
  readonly #timer: NodeJS.Timeout;
  readonly #record: RequestRecord;
  #isWhole = false;
  #first: Buffer | undefined;
  #tap: BodyTap | undefined;

  /**
   * @param first what was read of it already
   * @param onSilence the client was silent for too long
   */
  constructor(
    request: IncomingMessage,
    record: RequestRecord,
    first: Buffer | undefined,
    onSilence: () => void,
  ) {
    super({ highWaterMark: AHEAD_BYTES_MAX });
    // It may break off before anybody sends it, who would be told.
    this.on("error", () => undefined);
    this.#request = request;
    this.#record = record;
    this.#timer = setTimeout(() => {
      if (request.isPaused()) this.#timer.refresh();
      else onSilence();
    }, SILENCE_MS_MAX).unref();
    this.#first = first;
    if (first !== undefined) this.#take(first);
    request.on("data", this.#take).on("end", this.#end).on("close", this.#close);
    request.resume();
  }

  /** Shows all of it to a tap too. Right after it was made, or never. */
  copyTo(tap: BodyTap): void {
    this.#tap = tap;
    if (this.#first !== undefined) tap.data(this.#first);
  }

  override _read(): void {
    this.#first = undefined;
    this.#request.resume();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#timer);
    this.#request.off("data", this.#take).off("end", this.#end).off("close", this.#close);
    // What still comes is thrown away, so that the connection can go on or end in order.
    this.#request.resume();
    this.#tap?.broke();
    done(error);
  }

  readonly #take = (chunk: Buffer): void => {
    this.#record.bytesIn += chunk.length;
    this.#timer.refresh();
    this.#tap?.data(chunk);
    if (!this.push(chunk)) this.#request.pause();
  };

  readonly #end = (): void => {
    clearTimeout(this.#timer);
    this.#isWhole = true;
    this.#tap?.end();
    this.#tap = undefined;
    this.push(null);
  };

  readonly #close = (): void => {
    // Also when all of it has come, but was not taken before the client went.
    if (!this.#isWhole) this.destroy(new ClientFault());
  };
}
