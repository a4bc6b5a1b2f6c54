import type { ParitySample, TableParity } from "./parity-report.ts";
import { AsOfSnapshot } from "./as-of-snapshot.ts";
import { shownValues } from "./shown-values.ts";
import { StreamHashes } from "./stream-hashes.ts";
import type { Mapping, StreamPlan } from "../mapping/compile.ts";
import { keyOfStream } from "../mapping/stream-id.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import type { Cell } from "../model/cell.ts";
import type { Cells } from "../model/table.ts";
import { foldStreams } from "../projection/fold-streams.ts";
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
  readonly onProgress: (step: string, rows: number) => void;
}

/** How finely rows are summed up: a bucket that differs costs the download of so many hashes. */
const ROWS_PER_BUCKET = 256;
/** Aggregates whose hashes are in memory at once while differing buckets are looked into. */
const ROWS_PER_LOOK = 200_000;
/** Aggregates whose rows and events are read at once. */
const STREAMS_PER_LOOK = 500;
/** Differences that are kept by key; all are counted. */
const DIFFERENCES_MAX = 10_000;
/** Streams with events that are not written back yet which are folded as of the snapshot from the start. */
const LATE_STREAMS_MAX = 100_000;
/** More events than these are folded into what is kept, instead of once for this comparison. */
export const EVENTS_BESIDE_MAX = 50_000;

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
 * from their events. Streams in quarantine are left out on both sides: the rows cannot speak for them.
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
  readonly #conflicts: ReadonlyMap<string, ReverseConflict>;

  constructor(options: ComparisonOptions) {
    this.#options = options;
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
        [...quarantined].filter((id) => id.startsWith(`${rows.stream.type}-`)),
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
      const suspects = streams
        .filter((stream) => !quarantined.has(stream))
        .map((stream) => ({ stream, keys: [keyOfStream(stream)], count: 0, sum: 0n }));
      const found = { missing: 0, extra: 0, different: 0 };
      for (let role = 0; role < hashes.mappers.length; role++) {
        for (let from = 0; from < suspects.length; from += STREAMS_PER_LOOK) {
          const some = suspects.slice(from, from + STREAMS_PER_LOOK);
          await this.#examine({ role, folds, hashes, plans }, some, found, signal);
        }
      }
      return suspects.map(({ stream }) => stream);
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
    for (let at = 0; at < late.length; at += STREAMS_PER_LOOK)
      await add(folds.events(late.slice(at, at + STREAMS_PER_LOOK), signal));
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

  async #compareRole(look: RoleLook, signal: AbortSignal): Promise<void> {
    const { role, folds, overlay, leftOut, hashes, plans, sums: rowSums } = look;
    const { table } = hashes.mappers[role]!;
    const { buckets } = plans[role]!;
    const rows = rowSums[role]!;
    const kept = await folds.sums(role, buckets);
    const mask = BigInt(buckets - 1);
    overlay.apply(role, (key, count, sum) => {
      const bucket = Number(key & mask);
      kept.counts[bucket]! += count;
      kept.sums[bucket]! += sum;
    });
    const looked = new Set([...leftOut].map((stream) => Number(hashes.keyOf(stream) & mask)));
    let present = 0;
    let folded = 0;
    for (let bucket = 0; bucket < buckets; bucket++) {
      present += rows.counts[bucket]!;
      folded += kept.counts[bucket]!;
      const isEqual =
        rows.counts[bucket] === kept.counts[bucket] && rows.sums[bucket] === kept.sums[bucket];
      if (!isEqual) looked.add(bucket);
    }
    this.effort.buckets += buckets;
    this.effort.bucketsDiffering += looked.size;
    const found = { missing: 0, extra: 0, different: 0, excluded: 0 };
    const most = Math.max(buckets, present, folded);
    const perLook = Math.max(1, Math.floor((ROWS_PER_LOOK * buckets) / most));
    const wanted = [...looked].sort((a, b) => a - b);
    for (let at = 0; at < wanted.length; at += perLook) {
      const suspects = await this.#suspects(look, wanted.slice(at, at + perLook), found, signal);
      for (let from = 0; from < suspects.length; from += STREAMS_PER_LOOK)
        await this.#examine(look, suspects.slice(from, from + STREAMS_PER_LOOK), found, signal);
    }
    const { excluded, ...counts } = found;
    this.excludedRows += excluded;
    this.tables.push({
      table: table.name,
      streamType: hashes.stream.type,
      present,
      compared: present - excluded,
      ...counts,
      columns: table.columns.length,
      columnsLeftOut: this.#options.snapshot.columnsLeftOut.get(table.name) ?? [],
    });
  }

  /** Aggregates of these buckets whose rows and kept folds do not come to the same. */
  async #suspects(
    { role, folds, overlay, leftOut, hashes, plans }: RoleLook,
    buckets: readonly number[],
    found: { excluded: number },
    signal: AbortSignal,
  ): Promise<readonly Suspect[]> {
    const { snapshot, onProgress } = this.#options;
    const mapper = hashes.mappers[role]!;
    const plan = plans[role]!;
    onProgress(`looking into what differs of ${mapper.table.name}`, 0);
    const suspects = new Map<string, Suspect>();
    const suspect = (stream: string): Suspect => {
      let entry = suspects.get(stream);
      if (entry === undefined) {
        suspects.set(stream, (entry = { stream, keys: [], count: 0, sum: 0n }));
      }
      return entry;
    };
    // Two servers are asked at once.
    const keptThere = folds.foldsIn(plan.buckets, buckets, role);
    keptThere.catch(() => undefined);
    for await (const page of snapshot.sumAggregates(mapper.table, plan, buckets, signal)) {
      for (const { key, count, sum } of page) {
        const stream = streamOfKey(mapper, plan, key);
        if (stream === undefined) this.unnamedRows += count;
        if (stream === undefined || leftOut.has(stream)) found.excluded += count;
        else {
          const entry = suspect(stream);
          // Each stretch of the table tells of its own rows.
          if (!entry.keys.some((known) => known.every((cell, i) => cell === key[i])))
            entry.keys.push(key);
          entry.count += count;
          entry.sum += sum;
        }
      }
    }
    const subtract = (stream: string, count: number, sum: bigint): void => {
      if (leftOut.has(stream)) return;
      const entry = suspect(stream);
      entry.count -= count;
      entry.sum -= sum;
    };
    const kept = await keptThere;
    kept.streams.forEach((stream, i) => {
      if (!overlay.folded.has(stream)) subtract(stream, kept.counts[i]!, kept.sums[i]!);
    });
    const mask = BigInt(plan.buckets - 1);
    const wanted = new Set(buckets);
    overlay.each(role, (stream, key, count, sum) => {
      if (wanted.has(Number(key & mask))) subtract(stream, count, sum);
    });
    return [...suspects.values()].filter(
      ({ count, sum }) => count !== 0 || BigInt.asIntN(64, sum) !== 0n,
    );
  }

  /** Compares aggregates row by row, with their events folded as of the snapshot. */
  async #examine(
    { role, folds, hashes, plans }: Pick<RoleLook, "role" | "folds" | "hashes" | "plans">,
    suspects: readonly Suspect[],
    found: { missing: number; extra: number; different: number },
    signal: AbortSignal,
  ): Promise<void> {
    const { snapshot, folder, samplesMax, showValues } = this.#options;
    const mapper = hashes.mappers[role]!;
    const pairs = new Map<string, Pair>();
    const pair = (stream: string, key: string): Pair => {
      const id = `${stream}\0${key}`;
      let entry = pairs.get(id);
      if (entry === undefined) {
        entry = { stream, key, row: undefined, fold: undefined, sum: 0n };
        pairs.set(id, entry);
      }
      return entry;
    };
    const streams = new Set(suspects.map(({ stream }) => stream));
    const keys = suspects.flatMap((suspect) => suspect.keys);
    if (keys.length > 0) {
      const groups = snapshot.readAggregates(mapper.table, plans[role]!, keys, signal);
      for await (const group of groups) {
        for (const cells of group) {
          const stream = mapper.streamIdOf(cells);
          if (!streams.has(stream)) continue;
          const entry = pair(stream, mapper.keyOf(cells));
          entry.row = cells;
          entry.sum += hashes.rowHash(role, cells);
        }
      }
    }
    const versions = new Map<string, number>();
    const events = this.#asOf.ready(folds.events([...streams], signal));
    const include = (event: FoldEvent): boolean => this.#asOf.includes(event);
    for await (const { stream, version, state } of foldStreams(events, folder, include)) {
      versions.set(stream, version);
      for (const cells of hashes.rowsOf(state, role)) {
        const entry = pair(stream, mapper.keyOf(cells));
        entry.fold = cells;
        entry.sum -= hashes.rowHash(role, cells);
      }
    }
    this.effort.aggregatesExamined += streams.size;
    for (const { stream, key, row, fold, sum } of pairs.values()) {
      if (sum === 0n && row !== undefined && fold !== undefined) continue;
      const verdict = fold === undefined ? "missing" : row === undefined ? "extra" : "different";
      found[verdict] += 1;
      if (this.differences.length >= DIFFERENCES_MAX) continue;
      const columns =
        row === undefined || fold === undefined
          ? []
          : differingColumns(mapper, row, fold, showValues);
      const sample = { verdict, table: mapper.table.name, stream, key, columns } as const;
      const reason = this.#conflicts.get(stream)?.reason;
      if (this.samples.length < samplesMax)
        this.samples.push(reason === undefined ? sample : { ...sample, reason });
      const names = columns.map(({ column }) => column);
      const version = versions.get(stream) ?? 0;
      this.differences.push({ ...sample, columns: names, version });
    }
  }
}

interface RoleLook extends RowSums {
  readonly role: number;
  readonly folds: FoldSnapshot;
  readonly overlay: Overlay;
  readonly leftOut: ReadonlySet<string>;
}

interface Suspect {
  readonly stream: string;
  /** As the rows have them; equal numbers may have several texts. */
  readonly keys: (readonly Cell[])[];
  /** Of the rows, less those of the folds. */
  count: number;
  sum: bigint;
}

interface Pair {
  readonly stream: string;
  readonly key: string;
  row: Cells | undefined;
  fold: Cells | undefined;
  sum: bigint;
}

/** Folds that take the place of those that are kept. */
class Overlay {
  readonly folded = new Set<string>();
  replaced: readonly FoldSums[] = [];
  readonly #pages: FoldSums[] = [];

  add(page: FoldSums): void {
    for (const stream of page.folded) this.folded.add(stream);
    this.#pages.push(page);
  }

  /** What changes by it in one role. */
  apply(role: number, change: (key: bigint, count: number, sum: bigint) => void): void {
    for (const { roles, keys, counts, sums } of this.replaced) {
      for (let i = 0; i < roles.length; i++)
        if (roles[i] === role) change(keys[i]!, -counts[i]!, -sums[i]!);
    }
    this.each(role, (_stream, key, count, sum) => change(key, count, sum));
  }

  each(
    role: number,
    visit: (stream: string, key: bigint, count: number, sum: bigint) => void,
  ): void {
    for (const { streams, roles, keys, counts, sums } of this.#pages) {
      for (let i = 0; i < roles.length; i++)
        if (roles[i] === role) visit(streams[i]!, keys[i]!, counts[i]!, sums[i]!);
    }
  }
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

/** Undefined for a key that is too long to name a stream: its changes wait in quarantine. */
function streamOfKey(
  mapper: TableMapper,
  { key: columns }: RowHashPlan,
  key: readonly Cell[],
): string | undefined {
  const cells: Cell[] = [];
  columns.forEach((column, i) => (cells[column] = key[i]));
  try {
    return mapper.streamOf(cells);
  } catch {
    return undefined;
  }
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

function differingColumns(
  { table }: TableMapper,
  row: Cells,
  fold: Cells,
  showValues: boolean,
): ParitySample["columns"] {
  return table.columns.flatMap((column, i) =>
    row[i] === fold[i]
      ? []
      : [{ column: column.name, ...shownValues(row[i], fold[i], showValues) }],
  );
}
