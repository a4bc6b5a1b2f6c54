import type pg from "pg";
import { BanyanError } from "../../src/model/errors.ts";
import type { Cells } from "../../src/model/table.ts";
import { parseCopyRow } from "./copy-text.ts";
import { askAfter, type SilenceOptions } from "./silence-watch.ts";
import { classify } from "./sqlstate.ts";
import { readServerError, Wire } from "./wire.ts";

const GROUP_ROWS_MAX = 1_000;
const GROUP_BYTES_MAX = 1024 * 1024;
/** Groups read ahead of the consumer; beyond it the socket is paused. */
const GROUPS_AHEAD_MAX = 2;

/**
 * The rows of one `COPY … TO STDOUT` in text format, in groups of bounded size, pulled.
 *
 * When the iteration ends by itself the client is idle and usable again. Otherwise (early return,
 * abort, failure) its connection is cut, which also stops the statement on the server.
 *
 * @param doing for the message of an error
 * @param silence how to tell a dead connection from a slow server; waited for TCP to tell when absent
 */
export async function* copyOut(
  client: pg.Client,
  sql: string,
  columns: number,
  doing: string,
  signal: AbortSignal,
  silence?: SilenceOptions,
): AsyncGenerator<readonly Cells[], void, void> {
  const run = new CopyOut(client, columns, doing);
  const abort = (): void => run.fail(signal.reason);
  const unwatch = silence && watchSilence(run, client, silence, doing);
  let complete = false;
  try {
    signal.throwIfAborted();
    signal.addEventListener("abort", abort, { once: true });
    run.begin(sql);
    for (;;) {
      const group = await run.next();
      if (group === undefined) break;
      yield group;
    }
    complete = true;
  } finally {
    unwatch?.();
    signal.removeEventListener("abort", abort);
    run.end(complete);
  }
}

/** @returns ends the watch */
function watchSilence(
  run: CopyOut,
  client: pg.Client,
  silence: SilenceOptions,
  doing: string,
): () => void {
  let asking = false;
  const timer = setInterval(() => {
    if (asking || !run.isSilent()) return;
    asking = true;
    void askAfter(client, silence, doing).then((error) => {
      asking = false;
      if (error !== undefined && run.isSilent()) run.fail(error);
    });
  }, silence.silenceMs);
  return () => clearInterval(timer);
}

class CopyOut {
  readonly #wire: Wire;
  readonly #columns: number;
  readonly #doing: string;
  #groups: (readonly Cells[])[] = [];
  #rows: Cells[] = [];
  #rowsBytes = 0;
  #done = false;
  #failure: unknown;
  #failed = false;
  #heard = true;
  #wake: (() => void) | undefined;

  constructor(client: pg.Client, columns: number, doing: string) {
    this.#columns = columns;
    this.#doing = doing;
    this.#wire = new Wire(
      client,
      (tag, body, start, end) => this.#receive(tag, body, start, end),
      (error) => this.fail(classify(error, "source", doing)),
    );
  }

  begin(sql: string): void {
    this.#wire.query(sql);
  }

  async next(): Promise<readonly Cells[] | undefined> {
    for (;;) {
      if (this.#failed) throw this.#failure;
      const group = this.#groups.shift();
      if (group !== undefined) {
        if (this.#wire.paused && this.#groups.length < GROUPS_AHEAD_MAX) {
          // Time in which we did not listen says nothing about the server.
          this.#heard = true;
          this.#wire.resume();
        }
        return group;
      }
      if (this.#done) return undefined;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** Whether nothing has come since the last call, while it was listened for. */
  isSilent(): boolean {
    const silent = !this.#heard && !this.#wire.paused && !this.#done;
    this.#heard = false;
    return silent;
  }

  fail(error: unknown): void {
    if (!this.#failed) {
      this.#failed = true;
      this.#failure = error;
    }
    this.#wake?.();
  }

  end(complete: boolean): void {
    if (complete) this.#wire.release();
    else this.#wire.destroy();
  }

  #receive(tag: number, body: Buffer, start: number, end: number): void {
    this.#heard = true;
    switch (tag) {
      case 0x64: // d: one row
        this.#rows.push(parseCopyRow(body, start, end, this.#columns));
        this.#rowsBytes += end - start;
        if (this.#rows.length >= GROUP_ROWS_MAX || this.#rowsBytes >= GROUP_BYTES_MAX)
          this.#closeGroup();
        return;
      case 0x45: // E
        this.fail(classify(readServerError(body, start, end), "source", this.#doing));
        return;
      case 0x5a: // Z: everything has been said
        this.#closeGroup();
        this.#done = true;
        this.#wake?.();
        return;
      case 0x48: // H, c, C: begin and end of the copy
      case 0x63:
      case 0x43:
      case 0x4e: // N: a notice
      case 0x53: // S: a setting changed
        return;
      default:
        throw new BanyanError(
          "PROTOCOL_VIOLATION",
          `unexpected message 0x${tag.toString(16)} during COPY`,
        );
    }
  }

  #closeGroup(): void {
    if (this.#rows.length === 0) return;
    this.#groups.push(this.#rows);
    this.#rows = [];
    this.#rowsBytes = 0;
    if (this.#groups.length >= GROUPS_AHEAD_MAX) this.#wire.pause();
    this.#wake?.();
  }
}
