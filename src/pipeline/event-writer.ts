import { Frontiers } from "./frontiers.ts";
import { FOREIGN_WRITE, refuseChanges } from "./refuse-changes.ts";
import { settleChanges, type Changes, type SettledChanges } from "./settle-changes.ts";
import { StreamVersions } from "./stream-versions.ts";
import type { StatusBoard } from "./status-board.ts";
import { addLedger, EMPTY_LEDGER } from "./status.ts";
import type { Mapping } from "../mapping/compile.ts";
import type { Drift } from "../mapping/drift.ts";
import { ChangeMapper, type MappedChanges } from "../mapping/change-mapper.ts";
import { EventBuffer } from "../mapping/event-buffer.ts";
import { streamTypeOf } from "../mapping/stream-id.ts";
import { completeImages, type ImageLookup } from "../mapping/row-images.ts";
import type { Change, Intent, SourceTransaction } from "../model/change.ts";
import type { Position } from "../model/position.ts";
import type { SourceTable } from "../model/table.ts";
import { NOTHING_MOVED, type Authority } from "../store/authority.ts";
import { failpoint } from "../runtime/failpoint.ts";
import { Turns } from "../runtime/turns.ts";
import type {
  BaselineRecord,
  CapturedTable,
  CaptureWriter,
  CommitResult,
  ImageChange,
  Ledger,
  PipelinePhase,
  StagedBatch,
  StreamVersionPage,
} from "../store/event-store.ts";

/** Parked changes and requests that are settled together with what is staged. */
type Settled = Pick<StagedBatch, "released" | "skipped" | "rebaselined" | "refused">;

/** Each holds a slice or ends a batch. */
const CALLS_IN_LINE_MAX = 3;

/** A whole source transaction in memory. */
export interface WholeTransaction {
  readonly transaction: SourceTransaction;
  readonly changes: readonly Change[];
  readonly intent: Intent | undefined;
}

/**
 * Turns transactions into events and stages them in the store, a slice at a time.
 *
 * The store works on one slice while the next ones are mapped: calls to the writer wait in line, a few
 * at most, so that there is enough to write when the store comes back from the disk. The first failure
 * ends everything: what waits behind it is not begun.
 */
export class EventWriter {
  readonly mapper: ChangeMapper;
  readonly #writer: CaptureWriter;
  readonly #mapping: Mapping;
  readonly #board: StatusBoard;
  readonly #versions: StreamVersions;
  readonly #mappingVersions = new Map<string, number>();
  readonly #describe: (table: string) => Promise<SourceTable | undefined>;
  readonly #onDrift: (drift: Drift) => void;
  /** The call that was put in line last. */
  #pending: Promise<unknown> = Promise.resolve();
  /** The last of them, those that have ended too. */
  readonly #inLine: Promise<unknown>[] = [];
  #ledger: Ledger = EMPTY_LEDGER;
  /** Of what was staged since the last commit, see `Progress.lowestBuckets`. */
  #lowestBuckets = new Map<string, number>();
  /** Streams of the same that legacy was still entitled to begin in a bucket that has moved. */
  #madeByLegacy = new Set<string>();
  readonly #frontiers: Frontiers;
  readonly #authority: Authority;
  readonly #turns = new Turns();

  constructor(options: {
    readonly writer: CaptureWriter;
    readonly mapping: Mapping;
    /** See {@link pipelineTag}. */
    readonly tag: number;
    readonly board: StatusBoard;
    readonly versionsMax: number;
    /** The table as the catalogue has it now; undefined when it is gone. */
    readonly describe: (table: string) => Promise<SourceTable | undefined>;
    readonly onDrift: (drift: Drift) => void;
    /** Stream types whose baseline goes on beside the log. */
    readonly frontiers?: Frontiers;
    /** Legacy decides over everything when absent. */
    readonly authority?: Authority | undefined;
  }) {
    this.#authority = options.authority ?? NOTHING_MOVED;
    this.#frontiers = options.frontiers ?? new Frontiers();
    this.#writer = options.writer;
    this.#mapping = options.mapping;
    this.#board = options.board;
    this.#describe = options.describe;
    this.#onDrift = options.onDrift;
    this.#versions = new StreamVersions(options.versionsMax);
    this.mapper = new ChangeMapper(options.mapping, options.tag);
  }

  /** Ledger of what was staged since the last commit. */
  get staged(): Ledger {
    return this.#ledger;
  }

  /** See {@link StreamVersions.recall}. */
  recall(pages: AsyncIterable<StreamVersionPage>): Promise<void> {
    return this.#versions.recall(pages);
  }

  /**
   * The right to stage, up to a commit: what one commit makes durable has one author. Whoever has it
   * gives it back behind the commit, and needs not wait for that.
   */
  turn(signal?: AbortSignal): Promise<() => void> {
    return this.#turns.take(signal);
  }

  /** Maps whole transactions and begins to stage their events. */
  async write(transactions: readonly WholeTransaction[]): Promise<void> {
    let from = 0;
    for (let i = 1; i < transactions.length; i++) {
      if (!this.#showsNewShape(transactions[i]!)) continue;
      // What came before a schema change is told by the mapping of its own time.
      await this.#writeSlice(transactions.slice(from, i));
      from = i;
    }
    await this.#writeSlice(from === 0 ? transactions : transactions.slice(from));
  }

  async #writeSlice(transactions: readonly WholeTransaction[]): Promise<void> {
    for (const { changes } of transactions) await this.adoptShapes(changes);
    const { changes, images } = await this.complete(transactions);
    const out = emptyOutput();
    const settled = transactions.map(({ transaction }, n) => ({
      transaction,
      changes: changes[n]!,
    }));
    const refused = await this.#refuse(settled);
    for (const [n, { transaction, intent }] of transactions.entries()) {
      this.#noteEchoed(transaction);
      this.mapper.map(transaction, changes[n]!, intent, out, refused[n]);
    }
    await this.stage(out, images, transactions.length);
  }

  /** Maps changes of one transaction, images completed; parks those that must not become events. */
  async map({ transaction, changes, intent }: WholeTransaction, out: MappedChanges): Promise<void> {
    const [refused] = await this.#refuse([{ transaction, changes }]);
    this.#noteEchoed(transaction);
    this.mapper.map(transaction, changes, intent, out, refused);
  }

  /**
   * Parks changes of one stream when it waits in quarantine, or the new service decides over it as of the
   * last {@link learnMoved}. @returns whether it did
   */
  parkWaiting(
    { transaction, changes, intent }: WholeTransaction,
    stream: string,
    out: MappedChanges,
  ): boolean {
    const isMoved = this.isMoved(stream);
    if (!isMoved && !this.mapper.blocked.has(stream)) return false;
    const refused = isMoved ? new Map([[stream, FOREIGN_WRITE]]) : undefined;
    this.mapper.map(transaction, changes, intent, out, refused);
    return true;
  }

  /** Brings {@link isMoved} up to date. */
  async learnMoved(): Promise<void> {
    await this.#authority.refresh();
  }

  /** Learns it too. @returns another number than before if anything was decided about the type's aggregates since */
  async authorityEpoch(streamType: string): Promise<number> {
    await this.learnMoved();
    return this.#authority.epochOf(streamType);
  }

  /** Whether the new service decides over a stream. */
  isMoved(stream: string): boolean {
    return this.#authority.isMoved(stream);
  }

  /** Which of some streams are there, whoever has begun them. */
  async areThere(streams: readonly string[]): Promise<readonly boolean[]> {
    const versions = await this.#askVersions(() => this.#writer.storedVersions(streams));
    return versions.map((version) => version > 0);
  }

  /** What legacy writes behind it comes behind what the service appended. */
  #noteEchoed({ echo = [] }: SourceTransaction): void {
    for (const { stream, version } of echo) this.#versions.overtaken(stream, version);
  }

  #refuse(transactions: readonly Changes[]): ReturnType<typeof refuseChanges> {
    return refuseChanges(transactions, {
      mapping: this.#mapping,
      authority: this.#authority,
      madeByLegacy: this.#madeByLegacy,
      versions: (streams) => this.#askVersions(() => this.#writer.storedVersions(streams)),
    });
  }

  /**
   * Completes before and after images from the log and the kept images, and leaves out what a baseline
   * that goes on holds or will hold.
   */
  async complete(transactions: readonly Changes[]): Promise<SettledChanges> {
    const lookup: ImageLookup = (table, keys) => this.images(table, keys);
    if (this.#frontiers.isActive)
      return settleChanges(transactions, this.#mapping, this.#frontiers, lookup);
    const changes = transactions.map((one) => one.changes);
    const all = changes.length === 1 ? changes[0]! : flatten(changes);
    return { changes, images: await completeImages(all, this.#mapping, lookup) };
  }

  /** Kept images as they are behind all that was begun. */
  async images(table: string, keys: readonly string[]): Promise<readonly (string | undefined)[]> {
    await this.#pending;
    return this.#writer.images(table, keys);
  }

  /** Gives events their versions and begins to stage them. Counts them into the ledger. */
  async stage(
    out: MappedChanges,
    images: readonly ImageChange[],
    transactions: number,
    settled: Settled = {},
  ): Promise<void> {
    await this.#versions.assign(out.events, (streams) =>
      this.#askVersions(() => this.#writer.versions(streams)),
    );
    this.#noteBuckets(out.events);
    this.count(out, transactions);
    await this.stageVersioned(out.events, images, out.parked, settled);
  }

  /** Begins to stage events that have their versions already. */
  async stageVersioned(
    events: EventBuffer,
    images: readonly ImageChange[],
    parked: MappedChanges["parked"],
    settled: Settled = {},
  ): Promise<void> {
    const { released = [], skipped = [], refused = [], rebaselined } = settled;
    const lengths = [events, images, parked, released, skipped, refused].map(
      ({ length }) => length,
    );
    if (lengths.every((length) => length === 0) && rebaselined === undefined) return;
    await this.#next(async () => {
      const more = rebaselined === undefined ? {} : { rebaselined };
      await this.#writer.stage({ events, images, parked, released, skipped, refused, ...more });
      failpoint("batch-staged");
    });
  }

  /**
   * Begins to stage baseline events, which have their versions, and the images of their rows.
   *
   * @param explain says more of a failure, which whoever waits next reports
   */
  async stageBaseline(
    events: EventBuffer,
    images: Pick<StagedBatch, "newImages" | "missingImages" | "images">,
    explain: (error: unknown) => unknown = (error) => error,
  ): Promise<void> {
    await this.#next(async () => {
      await this.#writer.stage({ events, ...images }).catch((error: unknown) => {
        throw explain(error);
      });
      failpoint("batch-staged");
    });
  }

  /**
   * Gives events their versions; all that the commit has of their streams are here.
   *
   * @param madeByLegacy streams that legacy was entitled to begin in a bucket that has moved; absent for
   *   those that {@link map} has found
   */
  async assignVersions(events: EventBuffer, madeByLegacy?: ReadonlySet<string>): Promise<void> {
    this.#noteBuckets(events, madeByLegacy);
    await this.#versions.assignOnce(events, (streams) =>
      this.#askVersions(() => this.#writer.versions(streams)),
    );
  }

  count(out: MappedChanges, transactions: number): void {
    const { counts, events } = out;
    this.#ledger = addLedger(this.#ledger, {
      changesIn: counts.changesIn,
      changesClaimed: counts.claimed,
      changesFallback: counts.fallback,
      changesUnchanged: counts.unchanged,
      changesParked: counts.parked,
      changesEchoed: counts.echoed,
      events: events.length,
      transactions,
    });
  }

  addToLedger(delta: Partial<Ledger>): void {
    this.#ledger = addLedger(this.#ledger, delta);
  }

  /** Begins the commit of all that was staged. `then` runs once it is durable, before anything else is staged. */
  async commit(
    progress: {
      readonly phase: PipelinePhase;
      readonly checkpoint: Position | undefined;
      readonly baselinePosition?: Position;
      readonly tables?: readonly CapturedTable[];
      readonly baselines?: readonly BaselineRecord[];
    },
    then: (result: CommitResult) => void,
  ): Promise<void> {
    const ledger = this.#ledger;
    this.#ledger = EMPTY_LEDGER;
    const lowestBuckets = this.#lowestBuckets;
    this.#lowestBuckets = new Map();
    this.#madeByLegacy = new Set();
    this.#versions.kept();
    await this.#next(async () => {
      const status = this.#board.snapshot();
      const result = await this.#writer.commit({ ...progress, lowestBuckets, ledger, status });
      this.#versions.committed();
      this.#board.committed(ledger, progress.checkpoint);
      then(result);
    });
  }

  /**
   * What legacy was still entitled to make in a bucket that has moved asks nothing. All else was judged to
   * be legacy's, also where a move has become known since: the commit decides.
   */
  #noteBuckets(
    { streams, length }: EventBuffer,
    madeByLegacy: ReadonlySet<string> = this.#madeByLegacy,
  ): void {
    const authority = this.#authority;
    if (length === 0 || authority === NOTHING_MOVED) return;
    const lowest = this.#lowestBuckets;
    if (!authority.hasBegun) {
      for (const { type } of this.#mapping.streams) lowest.set(type, 0);
      return;
    }
    for (let i = 0; i < length; i++) {
      const stream = streams[i]!;
      if (madeByLegacy.has(stream) && authority.isMoved(stream)) continue;
      const type = streamTypeOf(stream);
      const bucket = authority.bucketOf(stream) ?? 0;
      if (bucket < (lowest.get(type) ?? Infinity)) lowest.set(type, bucket);
    }
  }

  /** Drops what was staged since the last commit. Nothing more may be written, only committed. */
  async rollback(): Promise<void> {
    await this.#next(() => this.#writer.rollback());
    this.#ledger = EMPTY_LEDGER;
    this.#lowestBuckets = new Map();
    this.#madeByLegacy = new Set();
    await this.settle();
  }

  /**
   * Drops a chunk of a baseline that was staged in this turn, with nothing before it. Never rejects: a
   * failure, also of what was staged before, is told by {@link settle}.
   */
  async dropBaseline(): Promise<void> {
    this.#versions.dropped();
    await this.#next(() => this.#writer.rollback()).catch(() => undefined);
    this.#ledger = EMPTY_LEDGER;
    this.#lowestBuckets = new Map();
    this.#madeByLegacy = new Set();
  }

  /** Waits until all that was begun has ended. */
  async settle(): Promise<void> {
    await this.#pending;
  }

  /** Compiles shapes that the log shows for the first time, and records the mapping they make. */
  async adoptShapes(changes: readonly Pick<Change, "table">[]): Promise<void> {
    let last: SourceTable | undefined;
    for (const { table } of changes) {
      if (table === last) continue;
      last = table;
      if (!this.#isNew(table)) continue;
      const drifted = this.#mapping.hasDrifted(table);
      const drift = this.#mapping.adopt(
        table,
        drifted ? await this.#describe(table.name) : undefined,
      );
      if (drift !== undefined) {
        this.#board.drifted(drift);
        this.#onDrift(drift);
      }
      this.#mapping.setVersion(await this.mappingVersion());
    }
  }

  #showsNewShape({ changes }: WholeTransaction): boolean {
    let last: SourceTable | undefined;
    for (const { table } of changes) {
      if (table !== last && this.#isNew(table)) return true;
      last = table;
    }
    return false;
  }

  #isNew(table: SourceTable): boolean {
    return this.#mapping.mapperOf(table) === undefined && this.#mapping.mapsTable(table.name);
  }

  /** The store's number for the mapping as it is now. */
  async mappingVersion(): Promise<number> {
    const fingerprint = this.#mapping.fingerprint();
    let version = this.#mappingVersions.get(fingerprint);
    if (version === undefined) {
      await this.#pending;
      version = await this.#writer.mappingVersion(fingerprint, this.#mapping.definition());
      this.#mappingVersions.set(fingerprint, version);
    }
    this.#board.mapped(version);
    return version;
  }

  /** Asked beside the line. Of a writer that is dead, what it died of is the reason, as the line tells it. */
  async #askVersions(ask: () => Promise<readonly number[]>): Promise<readonly number[]> {
    try {
      return await ask();
    } catch (error) {
      await this.#pending;
      throw error;
    }
  }

  /** Puts `call` in line; resolves when there is room for another. */
  async #next(call: () => Promise<unknown>): Promise<void> {
    this.#pending = this.#pending.then(call);
    // Reported by whoever waits next; without this, a failure while nobody waits would end the process.
    this.#pending.catch(() => undefined);
    this.#inLine.push(this.#pending);
    if (this.#inLine.length > CALLS_IN_LINE_MAX) await this.#inLine.shift();
  }
}

export function emptyOutput(): MappedChanges {
  return {
    events: new EventBuffer(),
    parked: [],
    counts: { changesIn: 0, claimed: 0, fallback: 0, unchanged: 0, parked: 0, echoed: 0 },
  };
}

function flatten(groups: readonly (readonly Change[])[]): Change[] {
  const all: Change[] = [];
  for (const group of groups) for (const change of group) all.push(change);
  return all;
}
