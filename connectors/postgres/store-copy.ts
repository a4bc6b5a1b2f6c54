import type { Socket } from "node:net";
import type pg from "pg";
import { socketOf } from "./session.ts";
import { readServerError, Wire } from "./wire.ts";

const TAG = { copyData: 0x64, error: 0x45, ready: 0x5a } as const;

/** What may wait in this process for the socket; the kernel's own buffers hold some more. */
const QUEUED_BYTES_MAX = 1024 * 1024;
/** A server that takes no byte and says nothing for so long is gone. */
const SILENCE_MS_MAX = 120_000;
/** Pages that wait for the consumer before the socket is paused. */
const PAGES_AHEAD_MAX = 2;
/** Signature, flags and extension length, ahead of the first row. */
const SIGNATURE_BYTES = 19;

/**
 * Runs `COPY … FROM STDIN`. The client must be idle.
 *
 * @param frames CopyData messages, pulled as the socket takes them
 * @throws what the server or the socket said, unclassified, or what `frames` threw; after the latter
 *   two the connection is cut
 */
export function copyIn(client: pg.Client, sql: string, frames: Iterable<Buffer>): Promise<void> {
  const socket = socketOf(client);
  return new Promise((resolve, reject) => {
    let failure: unknown;
    let over = false;
    let silence: NodeJS.Timeout | undefined;
    const heard = (): void => {
      clearTimeout(silence);
      if (!over) silence = setTimeout(() => socket.destroy(), SILENCE_MS_MAX);
    };
    const finish = (error: unknown): void => {
      over = true;
      clearTimeout(silence);
      if (error === undefined) resolve();
      else reject(error as Error);
    };
    const send = async (): Promise<void> => {
      try {
        for (const frame of frames) {
          if (over || failure !== undefined) return;
          socket.write(frame);
          if (socket.writableLength > QUEUED_BYTES_MAX) await drained(socket);
          heard();
        }
        // After an error the server is ready again without hearing the end.
        if (!over && failure === undefined) wire.copyDone();
      } catch (error) {
        failure = error;
        socket.destroy();
      }
    };
    const wire = new Wire(
      client,
      (tag, body, start, end) => {
        heard();
        if (tag === TAG.error) failure = readServerError(body, start, end);
        else if (tag === TAG.ready) {
          wire.release();
          finish(failure);
        }
      },
      (error) => finish(failure ?? error),
    );
    heard();
    wire.query(sql);
    // Not after the server's answer: what comes although it refused the COPY, it ignores.
    void send();
  });
}

/** Resolves when the socket has handed on what it held, or will never do so. */
function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      socket.removeListener("drain", done);
      socket.removeListener("close", done);
      resolve();
    };
    socket.on("drain", done);
    socket.on("close", done);
    if (socket.destroyed) done();
  });
}

export interface CopyOutOptions<T> {
  readonly client: pg.Client;
  /** `COPY … TO STDOUT (FORMAT binary)` */
  readonly sql: string;
  /** Decodes a row whose first field's length is at `at`. */
  readonly decode: (body: Buffer, at: number) => T;
  readonly rowsPerPageMax: number;
  /** A page is also full once its rows took this much. */
  readonly bytesPerPageMax: number;
  readonly signal: AbortSignal;
}

/**
 * Runs `COPY … TO STDOUT` and gives the rows in pages, pulled: while the consumer holds back, the
 * socket is paused after a few pages. The client must be idle; it is of no use afterwards unless
 * all rows were read.
 *
 * @throws what the server or the socket said, unclassified; the signal's reason when it aborts
 */
export async function* copyOut<T>(
  options: CopyOutOptions<T>,
): AsyncGenerator<readonly T[], void, void> {
  const { client, signal } = options;
  signal.throwIfAborted();
  const pages: T[][] = [];
  let page: T[] = [];
  let pageBytes = 0;
  let over = false;
  let failure: unknown;
  let first = true;
  let wake: (() => void) | undefined;
  const turn = (): void => {
    if (page.length > 0) pages.push(page);
    page = [];
    pageBytes = 0;
    wake?.();
  };
  const finish = (error: unknown): void => {
    over = true;
    failure ??= error;
    wake?.();
  };
  const row = (body: Buffer, start: number, end: number): void => {
    const at = first ? start + SIGNATURE_BYTES : start;
    first = false;
    const isTrailer = body[at] === 0xff && body[at + 1] === 0xff;
    if (isTrailer) return;
    page.push(options.decode(body, at + 2));
    pageBytes += end - start;
    if (page.length < options.rowsPerPageMax && pageBytes < options.bytesPerPageMax) return;
    turn();
    if (pages.length >= PAGES_AHEAD_MAX) wire.pause();
  };
  const wire = new Wire(
    client,
    (tag, body, start, end) => {
      if (tag === TAG.copyData) row(body, start, end);
      else if (tag === TAG.error) failure = readServerError(body, start, end);
      else if (tag === TAG.ready) {
        wire.release();
        turn();
        finish(undefined);
      }
    },
    finish,
  );
  const abort = (): void => {
    wire.destroy();
    finish(signal.reason);
  };
  signal.addEventListener("abort", abort, { once: true });
  try {
    wire.query(options.sql);
    for (;;) {
      // An error takes precedence: pages before it are of no use to anybody.
      if (failure !== undefined) throw failure;
      const next = pages.shift();
      if (next !== undefined) {
        if (!over && wire.paused) wire.resume();
        yield next;
      } else if (over) return;
      else {
        await new Promise<void>((resolve) => (wake = resolve));
        wake = undefined;
      }
    }
  } finally {
    signal.removeEventListener("abort", abort);
    if (!over) wire.destroy();
  }
}
