import type { Examined } from "./examine.ts";
import type { Overlay } from "./overlay.ts";
import type { StreamHashes } from "./stream-hashes.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import type { Cell } from "../model/cell.ts";
import type { ParitySnapshot } from "../source/change-source.ts";
import type { BucketSums, RowHashPlan } from "../source/row-hash.ts";
import type { FoldBucketSums, FoldSnapshot } from "../store/parity-store.ts";

/** Sums that both sides are asked for at most when they are asked for finer ones; and how fine those are. */
const FINER_SUMS_MAX = 2 ** 19;
const FINER_BUCKETS_MAX = 2 ** 21;
/** It takes a pass of its own, so it is only worth it where it saves more. */
const PASSES_WITHOUT_FINER_MAX = 4;

/** One table of a stream type, as it is compared. */
export interface RoleLook {
  readonly role: number;
  readonly hashes: StreamHashes;
  readonly plan: RowHashPlan;
  readonly rows: BucketSums;
  readonly snapshot: ParitySnapshot;
  readonly folds: FoldSnapshot;
  readonly overlay: Overlay;
  /** Streams that are not compared. */
  readonly leftOut: ReadonlySet<string>;
  /** Aggregates that are examined at most. */
  readonly examinedMax: number;
  /** Aggregates whose hashes are in memory at once. */
  readonly rowsPerLook: number;
  /** Asked ahead of each pass, whether there is time for it. */
  readonly isLate: () => boolean;
  /** Compares aggregates row by row. */
  readonly examine: (some: readonly Examined[]) => Promise<void>;
  /** Told of rows that are not compared. */
  readonly onLeftOut: (rows: number, isNamed: boolean) => void;
  readonly onProgress: (step: string) => void;
}

/** What of a table was seen to differ by its sums. */
export interface RoleResult {
  readonly present: number;
  readonly buckets: number;
  readonly bucketsDiffering: number;
  /** Beyond what was looked into: at least so many aggregates, and rows that may be theirs. */
  readonly unexamined: { readonly aggregates: number; readonly rows: number };
}

/** Sums of both sides at one fineness. */
interface Level {
  readonly plan: RowHashPlan;
  readonly rows: BucketSums;
  readonly kept: FoldBucketSums;
  readonly differing: ReadonlySet<number>;
  /** Those that differ, and those of streams that are left out. */
  readonly wanted: readonly number[];
}

/**
 * Finds the aggregates of a table whose rows and folds differ by their sums, and has them examined: a
 * bucket that differs is looked into by aggregate, so many buckets at a time as their hashes take memory.
 * Each time takes a pass of the table, and one of the folds. Where few differ in each of many buckets,
 * both sides are first asked for finer sums of those.
 */
export class RoleComparison {
  readonly #look: RoleLook;

  constructor(look: RoleLook) {
    this.#look = look;
  }

  async run(signal: AbortSignal): Promise<RoleResult> {
    const { plan, rows } = this.#look;
    const all = Array.from({ length: plan.buckets }, (_, bucket) => bucket);
    const level = await this.#levelOf(plan, rows, all);
    const unexamined = await this.#lookInto(level, signal);
    return {
      present: rows.counts.reduce((sum, count) => sum + count, 0),
      buckets: plan.buckets,
      bucketsDiffering: level.wanted.length,
      unexamined,
    };
  }

  /** @param finer of what the rows' sums are, where they are not those of all rows */
  async #levelOf(
    plan: RowHashPlan,
    rows: BucketSums,
    among: readonly number[],
    finer?: Parameters<FoldSnapshot["sums"]>[2],
  ): Promise<Level> {
    const { role, folds, overlay, leftOut, hashes } = this.#look;
    const kept = await folds.sums(role, plan.buckets, finer);
    const mask = BigInt(plan.buckets - 1);
    overlay.apply(role, (key, count, sum) => {
      const bucket = Number(key & mask);
      kept.counts[bucket]! += count;
      kept.sums[bucket]! += sum;
    });
    const differing = new Set(
      among.filter(
        (bucket) =>
          rows.counts[bucket] !== kept.counts[bucket] || rows.sums[bucket] !== kept.sums[bucket],
      ),
    );
    const ofLeftOut = new Set([...leftOut].map((stream) => Number(hashes.keyOf(stream) & mask)));
    const isAmong = new Set(among);
    // Those come first: where there is an end to looking, it is known of them.
    const first = [...ofLeftOut].filter((bucket) => isAmong.has(bucket));
    const wanted = [...first, ...[...differing].filter((bucket) => !ofLeftOut.has(bucket))];
    return { plan, rows, kept, differing, wanted };
  }

  /** @returns what was left */
  async #lookInto(first: Level, signal: AbortSignal): Promise<RoleResult["unexamined"]> {
    const { examinedMax, examine, isLate, hashes, role, onProgress } = this.#look;
    const what = `looking into what differs of ${hashes.mappers[role]!.table.name}`;
    const left = { aggregates: 0, rows: 0 };
    let examined = 0;
    let level = first;
    let passes = this.#passesOf(level, level.wanted);
    let isFine = false;
    for (let n = 1; passes.length > 0; n++) {
      if (examined >= examinedMax || isLate()) break;
      onProgress(passes.length > 1 ? `${what}, pass ${n} of ${n + passes.length - 1}` : what);
      const suspects = await this.#suspects(level, passes.shift()!, signal);
      const some = suspects.slice(0, examinedMax - examined);
      await examine(some);
      examined += some.length;
      for (const { rows } of suspects.slice(some.length)) {
        left.aggregates += 1;
        left.rows += rows;
      }
      const enough = Math.ceil((examinedMax - examined) / Math.max(1, suspects.length));
      if (isFine || Math.min(passes.length, enough) <= PASSES_WITHOUT_FINER_MAX || isLate())
        continue;
      isFine = true;
      onProgress(`${what}, by finer sums`);
      level = (await this.#refine(level, passes.flat(), signal)) ?? level;
      if (level !== first) passes = this.#passesOf(level, level.wanted);
    }
    for (const bucket of passes.flat()) {
      // At least one in each.
      if (level.differing.has(bucket)) left.aggregates += 1;
      left.rows += level.rows.counts[bucket]!;
    }
    return left;
  }

  /** Parts of the buckets whose hashes are in memory at once. */
  #passesOf({ rows, kept }: Level, wanted: readonly number[]): number[][] {
    const { rowsPerLook } = this.#look;
    const passes: number[][] = [];
    let room = 0;
    for (const bucket of wanted) {
      const size = Math.max(1, rows.counts[bucket]!, kept.counts[bucket]!);
      if (passes.length === 0 || size > room) {
        passes.push([]);
        room = rowsPerLook;
      }
      passes.at(-1)!.push(bucket);
      room -= size;
    }
    return passes;
  }

  /** Finer sums of some buckets. @returns undefined where they would not be much finer */
  async #refine(
    { plan: { key, buckets }, rows: before, kept }: Level,
    wanted: readonly number[],
    signal: AbortSignal,
  ): Promise<Level | undefined> {
    const { snapshot, hashes, role } = this.#look;
    const sizeOf = (bucket: number): number =>
      Math.max(before.counts[bucket]!, kept.counts[bucket]!);
    const size = wanted.reduce((sum, bucket) => sum + sizeOf(bucket), 0);
    const sums = Math.min(FINER_SUMS_MAX, size) / wanted.length;
    const factor = 2 ** Math.floor(Math.log2(Math.min(sums, FINER_BUCKETS_MAX / buckets)));
    if (factor < 4) return undefined;
    const plan = { key, buckets: buckets * factor };
    const within = { buckets, wanted };
    const rows = await snapshot.sumRows(hashes.mappers[role]!.table, plan, signal, within);
    const parts = Array.from({ length: factor }, (_, part) => part * buckets);
    const among = wanted.flatMap((bucket) => parts.map((part) => part + bucket));
    return await this.#levelOf(plan, rows, among, within);
  }

  /** Aggregates of these buckets whose rows and kept folds do not come to the same. */
  async #suspects(
    { plan }: Level,
    buckets: readonly number[],
    signal: AbortSignal,
  ): Promise<readonly Suspect[]> {
    const { role, folds, overlay, leftOut, hashes, snapshot, onLeftOut } = this.#look;
    const mapper = hashes.mappers[role]!;
    const suspects = new Map<string, Suspect>();
    const suspect = (stream: string): Suspect => {
      let entry = suspects.get(stream);
      if (entry === undefined) {
        suspects.set(stream, (entry = { stream, keys: [], rows: 0, count: 0, sum: 0n }));
      }
      return entry;
    };
    // Two servers are asked at once.
    const keptThere = folds.foldsIn(plan.buckets, buckets, role);
    keptThere.catch(() => undefined);
    for await (const page of snapshot.sumAggregates(mapper.table, plan, buckets, signal)) {
      for (const { key, count, sum } of page) {
        const stream = streamOfKey(mapper, plan, key);
        if (stream === undefined || leftOut.has(stream)) onLeftOut(count, stream !== undefined);
        else {
          const entry = suspect(stream);
          // Each stretch of the table tells of its own rows.
          if (!entry.keys.some((known) => known.every((cell, i) => cell === key[i])))
            entry.keys.push(key);
          entry.rows += count;
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
}

interface Suspect extends Examined {
  readonly keys: (readonly Cell[])[];
  /** That are there. */
  rows: number;
  /** Of the rows, less those of the folds. */
  count: number;
  sum: bigint;
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
