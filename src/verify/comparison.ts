import { AsOfSnapshot } from "./as-of-snapshot.ts";
import { examine, type Examination, type Examined, type FoundDifference } from "./examine.ts";
import { Overlay } from "./overlay.ts";
import type { ParitySample, TableParity } from "./parity-report.ts";
import { RoleComparison } from "./role-comparison.ts";
import { StreamHashes } from "./stream-hashes.ts";
import type { Mapping } from "../mapping/compile.ts";
import type { StreamPlan } from "../mapping/stream-plan.ts";
import { keyOfStream } from "../mapping/stream-id.ts";
import type { Folder } from "../projection/fold.ts";
import type { ParitySnapshot } from "../source/change-source.ts";
import type { BucketSums, RowHashPlan } from "../source/row-hash.ts";
import type { EventStore, FoldEvent } from "../store/event-store.ts";
import {
  FOLD_BUCKETS_MAX,
  type Difference,
  type FoldScope,
  type FoldSnapshot,
  type FoldSums,
  type ReverseConflict,
  type ReverseState,
} from "../store/parity-store.ts";

/** What is spent on looking into differences. */
export interface ComparisonLimits {
  readonly examinedMax: number;
  readonly lookMsMax: number;
  readonly rowsPerLook: number;
}

export interface ComparisonOptions {
  readonly pipeline: string;
  readonly snapshot: ParitySnapshot;
  readonly store: EventStore;
  readonly mapping: Mapping;
  /** Read before the snapshot was taken. */
  readonly reverse: ReverseState;
  /** Stream types of which nothing is written back any more. */
  readonly completed: ReadonlySet<string>;
  readonly folder: Folder;
  readonly samplesMax: number;
  readonly showValues: boolean;
  /** Those that are absent are the usual ones. */
  readonly limits?: Partial<ComparisonLimits>;
  readonly onProgress: (step: string, rows: number) => void;
}

/** How finely rows are summed up: a bucket that differs costs the download of so many hashes. */
const ROWS_PER_BUCKET = 256;
/** Aggregates whose hashes are in memory at once while differing buckets are looked into. */
const ROWS_PER_LOOK = 200_000;
/** Streams folded at once ahead, because what a service decided may not be in their rows. */
const LATE_STREAMS_PER_LOOK = 500;
/** Differences that are kept by key; those of all aggregates that were looked into are counted. */
const DIFFERENCES_MAX = 10_000;
/** Aggregates per table that are compared row by row where so many differ. */
const EXAMINED_MAX = 50_000;
/** No pass begins so long after the first one of a verification: its snapshot is open meanwhile. */
const LOOK_MS_MAX = 10 * 60_000;
/** Streams with events that are not written back yet which are folded as of the snapshot from the start. */
const LATE_STREAMS_MAX = 100_000;
/** More events than these are folded into what is kept, instead of once for this comparison. */
export const EVENTS_BESIDE_MAX = 50_000;

const LIMITS: ComparisonLimits = {
  examinedMax: EXAMINED_MAX,
  lookMsMax: LOOK_MS_MAX,
  rowsPerLook: ROWS_PER_LOOK,
};

/** What one stream type's rows came to, read before the folds were there. */
export interface RowSums {
  readonly stream: StreamPlan;
  readonly hashes: StreamHashes;
  readonly plans: readonly RowHashPlan[];
  readonly sums: readonly BucketSums[];
}

/**
 * Compares folds and rows of one stream type after the other, as of one snapshot.
 *
 * Both sides are summed up by bucket, the rows where they are and the folds from what is kept of them, so
 * what is equal is neither downloaded nor folded. Buckets that differ are looked into by aggregate, and
 * aggregates that differ are folded from their events as of the snapshot and compared row by row. That
 * last step alone finds differences; all before it only says where to look.
 *
 * What services decided counts as far as it was written back into the rows that the snapshot sees. The kept
 * folds hold all of it, so streams with events behind the place that the reverse sync has come to are folded
 * from their events. Streams in quarantine are left out on both sides: the rows cannot speak for them; and
 * so are streams that were read anew since the snapshot was taken: their events cannot.
 *
 * Where so much differs that looking into all of it would keep the snapshot open for hours, some of it is,
 * and of the rest is told how much there is at least.
 */
export class Comparison {
  readonly tables: TableParity[] = [];
  readonly samples: ParitySample[] = [];
  /** The first {@link DIFFERENCES_MAX}. */
  readonly differences: Difference[] = [];
  /** Rows of streams left out. */
  excludedRows = 0;
  /** Of them those whose key is too long to name a stream. */
  unnamedRows = 0;
  readonly effort = { buckets: 0, bucketsDiffering: 0, aggregatesExamined: 0 };
  readonly #options: ComparisonOptions;
  readonly #asOf: AsOfSnapshot;
  #lookedIntoSinceMs: number | undefined;
  readonly #conflicts: ReadonlyMap<string, ReverseConflict>;
  readonly #limits: ComparisonLimits;

  constructor(options: ComparisonOptions) {
    this.#options = options;
    this.#limits = { ...LIMITS, ...options.limits };
    this.#asOf = new AsOfSnapshot(options.snapshot, options.completed);
    this.#conflicts = new Map(options.reverse.conflicts.map((one) => [one.stream, one]));
  }

  /** Streams of which something that a service decided is not in the rows yet, as far as was looked. */
  get late(): ReadonlySet<string> {
    return this.#asOf.late;
  }

  /** Streams with captured events that the snapshot does not have, as far as was looked. */
  get unseen(): ReadonlySet<string> {
    return this.#asOf.unseen;
  }

  /** Streams that were read anew since the snapshot was taken, as far as was looked: they are not compared. */
  get untold(): ReadonlySet<string> {
    return this.#asOf.untold;
  }

  /** Sums up the rows of a stream type where they are. */
  async sumRows(stream: StreamPlan, signal: AbortSignal): Promise<RowSums> {
    const { snapshot, mapping } = this.#options;
    const hashes = hashesOf(mapping, stream, snapshot.tables);
    const plans: RowHashPlan[] = [];
    const sums: BucketSums[] = [];
    for (const { table, parts } of hashes.mappers) {
      this.#options.onProgress(`summing up ${table.name}`, 0);
      const plan = {
        key: parts.streamColumns,
        buckets: bucketsFor(await snapshot.estimateRows(table)),
      };
      plans.push(plan);
      sums.push(await snapshot.sumRows(table, plan, signal));
    }
    return { stream, hashes, plans, sums };
  }

  /** @param quarantined streams that wait in quarantine */
  async compare(
    rows: RowSums,
    quarantined: ReadonlySet<string>,
    signal: AbortSignal,
  ): Promise<void> {
    const { store } = this.#options;
    const folds = await store.parity.openFolds(scopeOf(this.#options.pipeline, rows.hashes));
    try {
      const overlay = await this.#foldTouched(rows.hashes, folds, signal);
      const leftOut = new Set(
        [...quarantined, ...this.untold].filter((id) => id.startsWith(`${rows.stream.type}-`)),
      );
      for (let role = 0; role < rows.hashes.mappers.length; role++)
        await this.#compareRole({ ...rows, role, folds, overlay, leftOut }, signal);
    } finally {
      await folds.close();
    }
  }

  /**
   * Compares some streams of one type, whatever the sums say.
   *
   * @param quarantined streams that wait in quarantine
   * @returns those that were compared: all but what cannot be
   */
  async compareStreams(
    hashes: StreamHashes,
    streams: readonly string[],
    quarantined: ReadonlySet<string>,
    signal: AbortSignal,
  ): Promise<readonly string[]> {
    const { store, pipeline } = this.#options;
    const folds = await store.parity.openFolds(scopeOf(pipeline, hashes));
    try {
      const plans = hashes.mappers.map(({ parts }) => ({ key: parts.streamColumns, buckets: 1 }));
      const wanted = streams.filter((stream) => !quarantined.has(stream));
      const rows = await rowsKept(folds, wanted);
      const looked = wanted.map((stream) => ({
        stream,
        keys: [keyOfStream(stream)],
        rows: rows.get(stream) ?? 1,
      }));
      const roles = hashes.mappers.map((_, role) => role);
      const found = roles.map(noCounts);
      await this.#examine({ roles, folds, hashes, plans }, looked, found, signal);
      return wanted.filter((stream) => !this.#asOf.untold.has(stream));
    } finally {
      await folds.close();
    }
  }

  /** Streams with events that the kept folds do not have, or that the rows may not have, folded as of the snapshot. */
  async #foldTouched(
    hashes: StreamHashes,
    folds: FoldSnapshot,
    signal: AbortSignal,
  ): Promise<Overlay> {
    const overlay = new Overlay();
    this.#options.onProgress(`folding what changed of ${hashes.stream.type}`, 0);
    const add = async (events: AsyncIterable<readonly FoldEvent[]>): Promise<void> => {
      const { folder } = this.#options;
      const ready = this.#asOf.ready(events);
      const include = (event: FoldEvent): boolean => this.#asOf.includes(event);
      for await (const page of hashes.fold(ready, folder, include)) overlay.add(page);
    };
    await add(folds.touched(signal));
    const late = await this.#lateStreams(hashes, folds, overlay);
    for (let at = 0; at < late.length; at += LATE_STREAMS_PER_LOOK)
      await add(folds.events(late.slice(at, at + LATE_STREAMS_PER_LOOK), signal));
    overlay.replaced = await inParts([...overlay.folded], (part) => folds.foldsOf(part));
    return overlay;
  }

  /** Streams whose kept folds may hold what is not in the rows yet. */
  async #lateStreams(
    { stream: { type } }: StreamHashes,
    folds: FoldSnapshot,
    { folded }: Overlay,
  ): Promise<readonly string[]> {
    const { after } = this.#options.reverse;
    const late = new Set(await folds.decided(after, LATE_STREAMS_MAX));
    for (const stream of this.#conflicts.keys())
      if (stream.startsWith(`${type}-`)) late.add(stream);
    return [...late].filter((stream) => !folded.has(stream));
  }

  async #compareRole(
    { hashes, plans, sums, ...look }: RoleSums,
    signal: AbortSignal,
  ): Promise<void> {
    const { snapshot, onProgress } = this.#options;
    const { examinedMax, rowsPerLook, lookMsMax } = this.#limits;
    const { role, folds } = look;
    const { table } = hashes.mappers[role]!;
    const counts = noCounts();
    const compared = new RoleComparison({
      ...look,
      ...{ hashes, snapshot, examinedMax, rowsPerLook },
      plan: plans[role]!,
      rows: sums[role]!,
      isLate: () => {
        this.#lookedIntoSinceMs ??= performance.now();
        return performance.now() - this.#lookedIntoSinceMs > lookMsMax;
      },
      examine: (some) =>
        this.#examine({ folds, hashes, plans, roles: [role] }, some, atRole(role, counts), signal),
      onLeftOut: (rows, isNamed) => {
        counts.excluded += rows;
        if (!isNamed) this.unnamedRows += rows;
      },
      onProgress: (step) => onProgress(step, 0),
    });
    const { present, buckets, bucketsDiffering, unexamined } = await compared.run(signal);
    this.effort.buckets += buckets;
    this.effort.bucketsDiffering += bucketsDiffering;
    const { excluded, ...found } = counts;
    this.excludedRows += excluded;
    this.tables.push({
      table: table.name,
      streamType: hashes.stream.type,
      present,
      compared: present - excluded - unexamined.rows,
      ...found,
      unexamined: unexamined.aggregates,
      columns: table.columns.length,
      columnsLeftOut: snapshot.columnsLeftOut.get(table.name) ?? [],
    });
  }

  async #examine(
    look: Pick<Examination, "folds" | "hashes" | "plans" | "roles">,
    suspects: readonly Examined[],
    found: readonly Counts[],
    signal: AbortSignal,
  ): Promise<void> {
    const { snapshot, folder, showValues } = this.#options;
    const examination: Examination = {
      ...{ snapshot, folder, showValues },
      ...{ folds: look.folds, hashes: look.hashes, plans: look.plans, roles: look.roles },
      asOf: this.#asOf,
      onDifference: (role, difference) => {
        found[role]![difference.verdict] += 1;
        this.#keep(difference);
      },
      onUntold: (role, rows) => void (found[role]!.excluded += rows),
    };
    await examine(examination, suspects, signal);
    this.effort.aggregatesExamined += suspects.length;
  }

  #keep({ version, ...sample }: FoundDifference): void {
    if (this.differences.length >= DIFFERENCES_MAX) return;
    const reason = this.#conflicts.get(sample.stream)?.reason;
    if (this.samples.length < this.#options.samplesMax)
      this.samples.push(reason === undefined ? sample : { ...sample, reason });
    const columns = sample.columns.map(({ column }) => column);
    this.differences.push({ ...sample, columns, version });
  }
}

interface Counts {
  missing: number;
  extra: number;
  different: number;
  /** Rows of streams left out. */
  excluded: number;
}

function noCounts(): Counts {
  return { missing: 0, extra: 0, different: 0, excluded: 0 };
}

function atRole(role: number, counts: Counts): readonly Counts[] {
  const all: Counts[] = [];
  all[role] = counts;
  return all;
}

interface RoleSums extends RowSums {
  readonly role: number;
  readonly folds: FoldSnapshot;
  readonly overlay: Overlay;
  readonly leftOut: ReadonlySet<string>;
}

/** The hashes of a stream type, whose tables have these shapes now. */
export function hashesOf(
  mapping: Mapping,
  stream: StreamPlan,
  tables: ParitySnapshot["tables"],
): StreamHashes {
  const mappers = stream.roles.map((role) => {
    const table = tables.find((candidate) => candidate.name === role.tableRef.name);
    return mapping.mapperOf(table!)!;
  });
  return new StreamHashes(mapping, stream, mappers);
}

export function scopeOf(pipeline: string, { stream, fingerprint }: StreamHashes): FoldScope {
  return { pipeline, streamType: stream.type, fingerprint };
}

function bucketsFor(rows: number): number {
  const wanted = Math.min(FOLD_BUCKETS_MAX, Math.max(16, rows / ROWS_PER_BUCKET));
  return 2 ** Math.ceil(Math.log2(wanted));
}

/** How many rows of these streams the kept folds know. */
async function rowsKept(
  folds: FoldSnapshot,
  streams: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const rows = new Map<string, number>();
  for (const { streams: names, counts } of await inParts(streams, (part) => folds.foldsOf(part)))
    names.forEach((stream, i) => rows.set(stream, (rows.get(stream) ?? 0) + counts[i]!));
  return rows;
}

async function inParts(
  streams: readonly string[],
  read: (part: readonly string[]) => Promise<FoldSums>,
): Promise<readonly FoldSums[]> {
  const parts: FoldSums[] = [];
  for (let at = 0; at < streams.length; at += 10_000)
    parts.push(await read(streams.slice(at, at + 10_000)));
  return parts;
}
