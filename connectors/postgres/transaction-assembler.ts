import type {
  Change,
  Echo,
  Intent,
  Operation,
  SourceTransaction,
  TransactionPart,
} from "../../src/model/change.ts";
import type { Position } from "../../src/model/position.ts";
import type { Cells, SourceTable } from "../../src/model/table.ts";
import { ECHO_PREFIX, FENCE_PREFIX, INTENT_PREFIX, mergeIntent, parseEcho } from "./intent.ts";
import { checkpointAt, lsnDigits, wordDigits, type Lsn } from "./lsn.ts";
import type { PgoutputSink } from "./pgoutput.ts";
import type { XidEpoch } from "./xid.ts";

/** Memory of one change beside the text of its cells: three objects, and per cell a slot and a string's header. */
const CHANGE_BYTES = 120;
const CELL_BYTES = 24;

/** `end` is known only with the commit; before it is the place before the transaction, so that it stays unread. */
type OpenTransaction = { -readonly [K in keyof SourceTransaction]: SourceTransaction[K] };

/**
 * Makes transactions of decoded messages and queues them for the consumer.
 *
 * A transaction is queued when it commits; one that grows beyond `partBytesMax` in parts before that,
 * all with the same `SourceTransaction` object, whose `end` is right from the last part on.
 * A transaction without any change is not delivered: only {@link idlePosition} moves. That of a fence is,
 * because somebody waits until the pipeline has passed it.
 */
export class TransactionAssembler implements PgoutputSink {
  readonly #xids: XidEpoch;
  readonly #partBytesMax: number;
  readonly #pipeline: string | undefined;
  #queue: TransactionPart[] = [];
  #queuedBytes = 0;
  #open: OpenTransaction | undefined;
  #changes: Change[] = [];
  #changesBytes = 0;
  #logBytes = 0;
  #ordinal = 0;
  #intent: Intent | undefined;
  #echo: Echo[] | undefined;
  /** True once a part of the open transaction is queued: then its end must be told, even with no change left. */
  #begun = false;
  #isFence = false;
  /** Digits of the LSN up to which the log has been read, with nothing of it in flight. */
  #readTo = "";
  /** Digits of the end of the last transaction queued; before the first, where the stream began. */
  #lastEnd: string;

  /** @param pipeline whose echoes are told; none when absent */
  constructor(xids: XidEpoch, from: Lsn, partBytesMax: number, pipeline?: string) {
    this.#pipeline = pipeline;
    this.#xids = xids;
    this.#lastEnd = lsnDigits(from);
    this.#partBytesMax = partBytesMax;
  }

  /** Estimated memory of what is queued and of the open transaction's next part. */
  get bytes(): number {
    return this.#queuedBytes + this.#changesBytes;
  }

  get isEmpty(): boolean {
    return this.#queue.length === 0;
  }

  /** Everything queued so far. */
  take(): readonly TransactionPart[] {
    const group = this.#queue;
    this.#queue = [];
    this.#queuedBytes = 0;
    return group;
  }

  /** As {@link ChangeSource.idlePosition}, apart from what has been acknowledged. */
  idlePosition(): Position | undefined {
    if (this.#open !== undefined || this.#queue.length > 0) return undefined;
    return this.#readTo > this.#lastEnd ? checkpointAt(this.#readTo) : undefined;
  }

  /** The server has read the log up to here and sent what there was, as a keepalive tells. */
  readTo(high: number, low: number): void {
    if (this.#open !== undefined) return;
    const digits = wordDigits(high, low);
    if (digits > this.#readTo) this.#readTo = digits;
  }

  begin(commitHigh: number, commitLow: number, committedAtUs: number, xid: number): void {
    const commit = wordDigits(commitHigh, commitLow);
    const id = this.#xids.extend(xid);
    this.#open = { id, commit, end: checkpointAt(commit), committedAtUs };
    this.#ordinal = 0;
    this.#intent = undefined;
    this.#echo = undefined;
    this.#begun = false;
    this.#isFence = false;
  }

  change(
    kind: Operation,
    table: SourceTable,
    before: Cells | undefined,
    after: Cells | undefined,
    bytes: number,
  ): void {
    this.#ordinal += 1;
    this.#logBytes += bytes;
    this.#changes.push({ kind, table, ordinal: this.#ordinal, before, after });
    const rows = before !== undefined && after !== undefined ? 2 : 1;
    this.#grow(CHANGE_BYTES + bytes + rows * CELL_BYTES * table.columns.length);
  }

  truncate(table: SourceTable): void {
    this.#ordinal += 1;
    this.#changes.push({ kind: "truncate", table, ordinal: this.#ordinal });
    this.#grow(CHANGE_BYTES);
  }

  message(transactional: boolean, prefix: string, content: string): void {
    // Without a transaction there is nobody whose intent it could be.
    if (!transactional) return;
    if (prefix === FENCE_PREFIX) {
      this.#isFence = true;
      // What waits is bounded by bytes, however little is in it.
      this.#logBytes += CHANGE_BYTES;
    } else if (prefix === INTENT_PREFIX) this.#intent = mergeIntent(this.#intent, content);
    else if (prefix === ECHO_PREFIX && this.#pipeline !== undefined) {
      const echo = parseEcho(content, this.#pipeline);
      if (echo !== undefined) this.#addEcho(echo);
    }
  }

  #addEcho(echo: Echo): void {
    this.#changesBytes += CHANGE_BYTES + echo.stream.length;
    if (this.#echo === undefined) this.#open!.echo = this.#echo = [];
    this.#echo.push(echo);
  }

  commit(endHigh: number, endLow: number): void {
    const transaction = this.#open!;
    const digits = wordDigits(endHigh, endLow);
    this.#open = undefined;
    this.#readTo = digits;
    if (this.#changes.length === 0 && !this.#begun && !this.#isFence) {
      this.#changesBytes = 0;
      return;
    }
    transaction.end = checkpointAt(digits);
    this.#lastEnd = digits;
    this.#queuePart(transaction, true);
  }

  #grow(bytes: number): void {
    this.#changesBytes += bytes;
    if (this.#changesBytes < this.#partBytesMax) return;
    this.#begun = true;
    this.#queuePart(this.#open!, false);
  }

  #queuePart(transaction: SourceTransaction, last: boolean): void {
    this.#queue.push({
      transaction,
      changes: this.#changes,
      intent: this.#intent,
      bytes: this.#logBytes,
      last,
    });
    this.#queuedBytes += this.#changesBytes + CHANGE_BYTES;
    this.#changes = [];
    this.#changesBytes = 0;
    this.#logBytes = 0;
  }
}
