import { ChunkGate } from "./chunk-gate.ts";
import type { EventWriter, WholeTransaction } from "./event-writer.ts";
import { LargeTransaction } from "./large-transaction.ts";
import { RebaselinePace } from "./rebaseline-pace.ts";
import { RebaselineSize } from "./rebaseline-size.ts";
import { rebaselinePage } from "./rebaseline-streams.ts";
import { isTooMany, refuseTooMany, releaseQuarantine } from "./quarantine-release.ts";
import { Frontiers } from "./frontiers.ts";
import type { Overlap } from "./overlap.ts";
import type { NotReadAnew } from "./status.ts";
import type { StatusBoard } from "./status-board.ts";
import { ToldTransactions } from "./told-transactions.ts";
import { TransactionQueue } from "./transaction-queue.ts";
import { TruncateWriter } from "./truncate.ts";
import type { Mapping } from "../mapping/compile.ts";
import type { Change, SourceTransaction, TransactionPart } from "../model/change.ts";
import { isBefore, type Position } from "../model/position.ts";
import { failpoint } from "../runtime/failpoint.ts";
import type { ChangeSource, LogLeft } from "../source/change-source.ts";
import type { EventStore, PipelinePhase } from "../store/event-store.ts";

export interface TailLimits {
  /** Changes per commit, whole transactions; a longer transaction is a commit of its own. */
  readonly batchChangesMax: number;
  readonly batchBytesMax: number;
  /** How long a batch that is not full waits for more. */
  readonly lingerMs: number;
  /** A transaction beyond either bound is spilled to disk. */
  readonly transactionChangesMax: number;
  readonly transactionBytesMax: number;
  /** How often an idle pipeline says where it stands. */
  readonly idleMs: number;
}

/** What is read ahead is this part of a batch: enough to keep the writer busy, and little to hold. */
const QUEUES_PER_BATCH = 4;
/** Changes mapped at once; small, so that the store works on one slice while the next is mapped. */
const SLICE_CHANGES = 2_000;

/** What the following of the log must know of a baseline that goes on in chunks. */
export interface Beside {
  readonly frontiers: Frontiers;
  readonly gate: ChunkGate;
  /** What the pipeline is in: `baseline` as long as that goes on. */
  readonly phase: () => PipelinePhase;
}

export interface TailOptions {
  readonly pipeline: string;
  readonly source: ChangeSource;
  readonly store: EventStore;
  readonly mapping: Mapping;
  readonly writer: EventWriter;
  readonly overlap: Overlap;
  /** The baseline that goes on beside the log; absent for none. */
  readonly beside?: Beside;
  readonly board: StatusBoard;
  readonly limits: TailLimits;
  readonly spillDirectory: string;
  /** Told after every durable commit and on every idle tick. */
  readonly onProgress: () => void;
  /** Told now and then, where the source keeps its log within a limit. */
  readonly onLogLeft?: ((left: LogLeft) => void) | undefined;
  /** Told of each stream that was to be read anew and cannot be. */
  readonly onNotReadAnew?: ((note: NotReadAnew) => void) | undefined;
}

/**
 * Follows the source from `from` on: map, append events and checkpoint in one store transaction, only
 * then acknowledge. Two loops with a bounded queue between them: one reads the log, one writes events.
 *
 * Resolves when the signal aborts, after what was begun is durable.
 */
export async function tail(
  options: TailOptions,
  from: Position,
  signal: AbortSignal,
): Promise<void> {
  const { source, limits, overlap } = options;
  const stop = new AbortController();
  const reading = AbortSignal.any([signal, stop.signal]);
  const queue = new TransactionQueue({
    changesMax: Math.ceil(limits.batchChangesMax / QUEUES_PER_BATCH),
    bytesMax: Math.ceil(limits.batchBytesMax / QUEUES_PER_BATCH),
  });
  const read = async (): Promise<void> => {
    try {
      for await (const group of source.stream(from, reading)) {
        if (!(await queue.push(group.map((part) => overlap.without(part))))) return;
      }
      queue.close();
    } catch (error) {
      queue.close(error);
    }
  };
  const applier = new Applier(options, from, signal);
  const oldestUs = (): number | undefined => applier.oldestUs ?? queue.oldestUs;
  const lag = watchLag(options, oldestUs, reading);
  const reader = read();
  try {
    while (!queue.closed && !applier.isOver) {
      const parts = await queue.take(limits.idleMs, limits.lingerMs);
      if (parts.length === 0) await applier.idle(queue);
      else await applier.apply(parts, () => queue.isEmpty);
    }
    await applier.finish();
  } finally {
    queue.close();
    stop.abort();
    await applier.discard();
    await Promise.allSettled([reader, lag]);
  }
}

/** Applies parts of transactions in commit order. */
class Applier {
  readonly #options: TailOptions;
  readonly #truncates: TruncateWriter;
  readonly #beside: Beside;
  readonly #signal: AbortSignal;
  /** Parts of a transaction that has not ended yet and still fits into memory. */
  #partial: TransactionPart[] = [];
  #large: LargeTransaction | undefined;
  #slice: WholeTransaction[] = [];
  #sliceChanges = 0;
  #batchChanges = 0;
  #batchBytes = 0;
  #checkpoint: Position;
  #committed: Position;
  #acknowledged: Position;
  #quarantineGeneration = -1;
  #quarantineSeen = -1;
  readonly #told: ToldTransactions;
  readonly #rebaselines: RebaselinePace;
  readonly #rebaselineSize: RebaselineSize;
  #isOver = false;
  /** Gives back the turn to write, see {@link EventWriter.turn}; undefined while somebody else may have it. */
  #giveTurn: (() => void) | undefined;
  /** Lets chunks be opened again after a large transaction. */
  #letChunks: (() => void) | undefined;
  /** Commit times of what is in hand: of the first transaction of each commit under way, and of the next one. */
  readonly #committingUs: number[] = [];
  #nextUs: number | undefined;

  constructor(options: TailOptions, from: Position, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
    this.#checkpoint = from;
    this.#committed = from;
    this.#acknowledged = from;
    const { writer, mapping, store, pipeline } = options;
    this.#beside = options.beside ?? nothingBeside(options);
    const { frontiers } = this.#beside;
    this.#told = new ToldTransactions(options.source);
    this.#rebaselines = new RebaselinePace(frontiers);
    this.#rebaselineSize = new RebaselineSize(options.source);
    this.#truncates = new TruncateWriter(writer, mapping, store, pipeline, frontiers);
  }

  /** True once the signal aborted while a transaction waited for the baseline: nothing behind it may be taken. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /** Commit time of the oldest transaction taken and not yet durable, in microseconds. */
  get oldestUs(): number | undefined {
    return this.#committingUs[0] ?? this.#nextUs;
  }

  /** @param isAll asked afterwards: whether nothing more waits that could go into the same commit */
  async apply(parts: readonly TransactionPart[], isAll: () => boolean): Promise<void> {
    failpoint("tail-first-part");
    const { limits } = this.#options;
    for (const part of parts) {
      if (this.#isOver) return;
      this.#nextUs ??= part.transaction.committedAtUs;
      if (this.#large !== undefined) await this.#addToLarge(part);
      else if (part.last && this.#partial.length === 0) {
        await this.#whole(part.changes, part);
      } else await this.#addPartial(part);
      this.#batchBytes += part.bytes;
      const isFull =
        this.#batchChanges >= limits.batchChangesMax || this.#batchBytes >= limits.batchBytesMax;
      if (isFull) await this.#commit();
    }
    if (this.#large === undefined && isAll()) await this.#commit();
  }

  /** Nothing has come for a while: says so, moves the checkpoint over foreign log, looks at decisions. */
  async idle(queue: TransactionQueue): Promise<void> {
    const { source, writer, board, onProgress } = this.#options;
    await writer.settle();
    if (this.#large !== undefined || this.#partial.length > 0) return onProgress();
    // Something may have come while the last commit was waited for, and the source counts it as taken.
    const idle = queue.isEmpty ? source.idlePosition() : undefined;
    if (idle !== undefined && isBefore(this.#checkpoint, idle)) this.#checkpoint = idle;
    failpoint("idle-before-commit");
    board.lagSeconds(undefined);
    await this.#takeTurn();
    await this.#commitNow();
    await writer.settle();
    failpoint("idle-after-commit");
    await this.#decisions();
    const isOver = (): boolean => this.#isOver || this.#signal.aborted;
    while (queue.isEmpty && this.#rebaselines.due(true) !== undefined && !isOver())
      await this.#rebaseline(true);
  }

  /** The stream has ended: makes durable what is complete. */
  async finish(): Promise<void> {
    const { writer } = this.#options;
    // A large transaction that has not ended staged the images of its rows: made durable without its
    // events, they would pass for the rows before it when it is read again.
    if (this.#large === undefined) await this.#commit();
    else await writer.rollback();
    await writer.settle();
  }

  /**
   * Keeps the turn: what is staged must not become part of another's commit, without its checkpoint.
   * Whoever waits for the turn is ended by the signal.
   */
  async discard(): Promise<void> {
    this.#letChunks?.();
    await this.#large?.discard();
  }

  /** Also after the signal: whoever has it gives it back then. */
  async #takeTurn(): Promise<void> {
    this.#giveTurn ??= await this.#options.writer.turn();
  }

  /** Makes durable what is complete, and lets others write. */
  async #settleBatch(): Promise<void> {
    await this.#commit();
    this.#giveTurn?.();
    this.#giveTurn = undefined;
    await this.#options.writer.settle();
  }

  async #whole(changes: readonly Change[], last: TransactionPart): Promise<void> {
    const whole = { transaction: last.transaction, changes, intent: last.intent };
    const { writer } = this.#options;
    if (this.#beside.frontiers.isActive && !(await this.#admit(last.transaction, changes))) {
      this.#isOver = true;
      return;
    }
    if (changes.some((change) => change.kind === "truncate")) {
      await this.#commit();
      await this.#takeTurn();
      await writer.settle();
      await this.#truncates.write(whole, this.#signal);
      this.#told.note(last.transaction.id);
      this.#batchChanges += changes.length;
      this.#checkpoint = last.transaction.end;
      await this.#commit();
      return;
    }
    this.#told.note(last.transaction.id);
    this.#checkpoint = last.transaction.end;
    // A fence: nothing becomes of it, and whoever waits for it waits for the checkpoint.
    if (changes.length === 0 && last.transaction.echo === undefined) return;
    this.#slice.push(whole);
    this.#sliceChanges += changes.length;
    this.#batchChanges += changes.length;
    if (this.#sliceChanges >= SLICE_CHANGES) await this.#flushSlice();
  }

  #admit(transaction: SourceTransaction, changes: readonly Change[]): Promise<boolean> {
    const settle = (): Promise<void> => this.#settleBatch();
    return this.#beside.gate.admit(transaction, changes, settle, this.#signal);
  }

  async #addPartial(part: TransactionPart): Promise<void> {
    this.#partial.push(part);
    const { limits } = this.#options;
    const changes = sum(this.#partial, (p) => p.changes.length);
    const bytes = sum(this.#partial, (p) => p.bytes);
    if (changes > limits.transactionChangesMax || bytes > limits.transactionBytesMax) {
      await this.#beginLarge();
    } else if (part.last) {
      const all = this.#partial.flatMap((p) => p.changes);
      const intent = this.#partial.findLast((p) => p.intent !== undefined)?.intent;
      this.#partial = [];
      await this.#whole(all, { ...part, intent });
    }
  }

  async #beginLarge(): Promise<void> {
    const { writer, mapping, spillDirectory } = this.#options;
    await this.#settleBatch();
    this.#letChunks = await this.#beside.gate.hold(this.#partial[0]!.transaction, this.#signal);
    if (this.#letChunks === undefined) {
      this.#isOver = true;
      return;
    }
    await this.#takeTurn();
    this.#large = await LargeTransaction.begin(writer, mapping, spillDirectory);
    const parts = this.#partial;
    this.#partial = [];
    for (const part of parts) await this.#addToLarge(part);
  }

  async #addToLarge(part: TransactionPart): Promise<void> {
    const large = this.#large!;
    await large.add(part);
    if (!part.last) return;
    await large.finish(part);
    this.#told.note(part.transaction.id);
    this.#large = undefined;
    this.#batchChanges += large.changeCount;
    this.#checkpoint = part.transaction.end;
    await this.#commit();
    await this.#options.writer.settle();
    this.#letChunks?.();
    this.#letChunks = undefined;
    await large.discard();
  }

  async #flushSlice(): Promise<void> {
    if (this.#slice.length === 0) return;
    await this.#takeTurn();
    const slice = this.#slice;
    this.#slice = [];
    this.#sliceChanges = 0;
    await this.#options.writer.write(slice);
    failpoint("batch-mapped");
  }

  async #commit(): Promise<void> {
    await this.#flushSlice();
    if (this.#checkpoint === this.#committed) return;
    await this.#takeTurn();
    await this.#commitNow();
    const blocked = this.#options.writer.mapper.blocked.size;
    if (isTooMany(blocked)) {
      // Durable first, so that they can be looked at.
      await this.#options.writer.settle();
      refuseTooMany(blocked);
    }
    if (this.#quarantineGeneration !== this.#quarantineSeen) await this.#decisions();
    await this.#rebaseline(false);
  }

  async #commitNow(): Promise<void> {
    const { writer, source, board, onProgress } = this.#options;
    const { frontiers, phase } = this.#beside;
    const checkpoint = this.#checkpoint;
    // Whatever committed before has been written or left out.
    frontiers.passed(checkpoint.slice(0, 16));
    this.#committed = checkpoint;
    this.#batchChanges = 0;
    this.#batchBytes = 0;
    const oldestUs = this.#nextUs;
    if (oldestUs !== undefined) this.#committingUs.push(oldestUs);
    this.#nextUs = this.#partial[0]?.transaction.committedAtUs;
    failpoint("batch-before-commit");
    await writer.commit({ phase: phase(), checkpoint }, (result) => {
      failpoint("batch-after-commit");
      if (oldestUs !== undefined) this.#committingUs.shift();
      // Durable now, and only now may the source forget it.
      if (checkpoint !== this.#acknowledged) source.acknowledge(checkpoint);
      this.#acknowledged = checkpoint;
      failpoint("batch-after-acknowledge");
      this.#quarantineGeneration = result.quarantineGeneration;
      board.quarantined(writer.mapper.blocked.size);
      onProgress();
    });
    this.#giveTurn?.();
    this.#giveTurn = undefined;
  }

  /** Carries out what was decided about quarantined streams since the last look. */
  async #decisions(): Promise<void> {
    if (this.#quarantineGeneration === this.#quarantineSeen) return;
    const { pipeline, store, mapping, writer } = this.#options;
    this.#quarantineSeen = this.#quarantineGeneration;
    await this.#takeTurn();
    await writer.settle();
    await releaseQuarantine(pipeline, store, mapping, writer);
    await this.#commitNow();
    await writer.settle();
    this.#rebaselines.asked();
  }

  /** Reads some streams anew that somebody asked for, where that is due. */
  async #rebaseline(isIdle: boolean): Promise<void> {
    const after = this.#rebaselines.due(isIdle);
    if (after === undefined || this.#signal.aborted) return;
    const { writer, board, onNotReadAnew } = this.#options;
    const startedMs = performance.now();
    await this.#takeTurn();
    await writer.settle();
    const commit = async (): Promise<void> => {
      await this.#commitNow();
      await this.#takeTurn();
      await this.#options.writer.settle();
    };
    const note = (one: NotReadAnew): void => {
      board.notReadAnew(one);
      onNotReadAnew?.(one);
    };
    const { frontiers } = this.#beside;
    const options = { ...this.#options, frontiers, onNotReadAnew: note };
    try {
      const size = this.#rebaselineSize;
      const at = { after, size, told: this.#told, checkpoint: this.#checkpoint, commit };
      const page = await rebaselinePage(options, at, this.#signal);
      this.#rebaselines.passed(page, startedMs);
    } catch (error) {
      if (!this.#signal.aborted) throw error;
      await this.#options.writer.dropBaseline();
      this.#isOver = true;
    }
    this.#giveTurn?.();
    this.#giveTurn = undefined;
  }
}

function nothingBeside({ mapping, source }: TailOptions): Beside {
  const frontiers = new Frontiers();
  return { frontiers, gate: new ChunkGate(mapping, frontiers, source), phase: () => "tail" };
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  let total = 0;
  for (const item of items) total += of(item);
  return total;
}

/** Keeps the lag of the status current. An unanswered question leaves the last answer standing. */
async function watchLag(
  { source, board, limits, onLogLeft }: TailOptions,
  oldestUs: () => number | undefined,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    try {
      const { checkpoint } = board.snapshot().positions;
      const head = await unlessAborted(source.head(checkpoint), signal);
      if (head !== undefined) board.lag(head.position, head.lagBytes, oldestUs());
      if (head?.logLeft !== undefined) onLogLeft?.(head.logLeft);
    } catch {
      // The stream itself reports a source that is gone.
    }
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, limits.idleMs);
      signal.addEventListener("abort", done, { once: true });
    });
  }
}

/** The answer, or undefined once the signal aborts: a source that vanished without a word never answers. */
function unlessAborted<T>(answer: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const abandon = (): void => resolve(undefined);
    signal.addEventListener("abort", abandon, { once: true });
    answer.then(resolve, reject).finally(() => signal.removeEventListener("abort", abandon));
  });
}
