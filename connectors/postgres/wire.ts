import type { Socket } from "node:net";
import type pg from "pg";
import { BanyanError } from "../../src/model/errors.ts";
import { FrameSplitter, type OnMessage } from "./frames.ts";
import { socketOf } from "./session.ts";

/**
 * A client's connection whose socket we read ourselves: for COPY, where the driver would make an
 * object per row and know no backpressure.
 *
 * The client must be idle. {@link release} gives the connection back once the server is ready again.
 */
export class Wire {
  readonly #socket: Socket;
  readonly #theirs: readonly ((chunk: Buffer) => void)[];
  readonly #ours: (chunk: Buffer) => void;
  readonly #onFailure: (error: Error) => void;
  readonly #onClose: () => void;

  /**
   * @param onMessage may throw; that goes to `onFailure`, and the connection is cut
   * @param onFailure at most once; the socket broke, was closed, or a message could not be handled
   */
  constructor(client: pg.Client, onMessage: OnMessage, onFailure: (error: unknown) => void) {
    const socket = socketOf(client);
    this.#socket = socket;
    this.#theirs = socket.listeners("data") as ((chunk: Buffer) => void)[];
    const frames = new FrameSplitter(onMessage);
    let failed = false;
    const fail = (error: unknown): void => {
      if (failed) return;
      failed = true;
      socket.destroy();
      onFailure(error);
    };
    this.#ours = (chunk) => {
      if (failed) return;
      try {
        frames.push(chunk);
      } catch (error) {
        fail(error);
      }
    };
    this.#onFailure = fail;
    this.#onClose = () => fail(new Error("Connection terminated unexpectedly"));
    socket.removeAllListeners("data");
    socket.on("data", this.#ours);
    socket.on("error", this.#onFailure);
    socket.on("close", this.#onClose);
    // Closed between the last query and now: no event will come.
    if (socket.destroyed) queueMicrotask(this.#onClose);
  }

  get paused(): boolean {
    return this.#socket.isPaused();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Sends a statement or replication command by the simple protocol. */
  query(sql: string): void {
    this.#send(0x51, Buffer.from(`${sql}\0`, "utf8"));
  }

  copyData(body: Buffer): void {
    this.#send(0x64, body);
  }

  copyDone(): void {
    this.#send(0x63, Buffer.alloc(0));
  }

  /** Says goodbye and closes our half; the server closes its own. */
  terminate(): void {
    this.#send(0x58, Buffer.alloc(0));
    if (this.#socket.writable) this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Gives the connection back to the client. Only after the server said that it is ready. */
  release(): void {
    this.#socket.removeListener("data", this.#ours);
    this.#socket.removeListener("error", this.#onFailure);
    this.#socket.removeListener("close", this.#onClose);
    for (const listener of this.#theirs) this.#socket.on("data", listener);
    this.#socket.resume();
  }

  #send(tag: number, body: Buffer): void {
    if (!this.#socket.writable) return;
    const message = Buffer.allocUnsafe(5 + body.length);
    message[0] = tag;
    message.writeInt32BE(4 + body.length, 1);
    body.copy(message, 5);
    this.#socket.write(message);
  }
}

/** The fields of an ErrorResponse, under the names that the driver gives them. */
export interface ServerError {
  readonly code: string;
  readonly message: string;
  readonly routine: string;
}

/** @throws BanyanError `PROTOCOL_VIOLATION` when the fields do not end within the message */
export function readServerError(body: Buffer, start: number, end: number): ServerError {
  const fields = new Map<number, string>();
  for (let at = start; at < end && body[at] !== 0;) {
    const stop = body.indexOf(0, at + 1);
    if (stop === -1 || stop >= end) {
      throw new BanyanError("PROTOCOL_VIOLATION", "an error message of the server ends early");
    }
    fields.set(body[at]!, body.toString("utf8", at + 1, stop));
    at = stop + 1;
  }
  return {
    code: fields.get(0x43) ?? "",
    message: fields.get(0x4d) ?? "unknown error",
    routine: fields.get(0x52) ?? "",
  };
}
