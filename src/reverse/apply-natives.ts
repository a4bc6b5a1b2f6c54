import { diffRows } from "./diff-rows.ts";
import type { Folded, NativeFolds, Target } from "./fold-natives.ts";
import type { LegacyWriter, RowConflict, StreamWrite } from "./legacy-writer.ts";
import { streamTypeOf } from "../mapping/stream-id.ts";
import type { MappingDefinition, StreamDefinition } from "../model/mapping-definition.ts";
import type { ReverseConflict } from "../store/reverse-store.ts";

/** What became of streams that were to be written. */
export interface Applied {
  /** Native events that are in the rows now and were not before. */
  events: number;
  /** Streams of which nothing waits. */
  readonly settled: string[];
  readonly conflicts: ReverseConflict[];
  /** Streams that somebody's lock kept from being written, with the version wanted. */
  readonly waiting: Map<string, number>;
  /** What the last of them waits for. */
  waitsFor: string | undefined;
}

export interface ApplyOptions {
  readonly legacy: LegacyWriter;
  readonly folds: NativeFolds;
  /**
   * Told after each legacy transaction what has come of all so far: where much is locked, each stream takes as
   * long as a lock is waited for. What it throws ends the work.
   */
  readonly onTransaction: (done: Applied) => Promise<void>;
}

/** Streams in one legacy transaction. */
const STREAMS_PER_TRANSACTION = 200;

/**
 * Brings the rows of streams to the wanted versions, many in one transaction. Where the database refuses a
 * row, or a lock is not to be had, the streams of that transaction are written one by one in their order.
 *
 * @param wanted in the order of the feed, so that a row is there before another stream refers to it
 */
export async function applyNatives(
  options: ApplyOptions,
  wanted: ReadonlyMap<string, number>,
  signal: AbortSignal,
): Promise<Applied> {
  const done: Applied = {
    events: 0,
    settled: [],
    conflicts: [],
    waiting: new Map(),
    waitsFor: undefined,
  };
  const all = [...wanted];
  for (let at = 0; at < all.length; at += STREAMS_PER_TRANSACTION) {
    signal.throwIfAborted();
    const some = all.slice(at, at + STREAMS_PER_TRANSACTION);
    const isWhole = await applySome(options, some, done);
    await options.onTransaction(done);
    if (isWhole) continue;
    for (const one of some) {
      signal.throwIfAborted();
      await applySome(options, [one], done);
      await options.onTransaction(done);
    }
  }
  return done;
}

/** @returns false when nothing was written, and each stream is to be tried alone */
async function applySome(
  { legacy, folds }: ApplyOptions,
  wanted: readonly (readonly [stream: string, version: number])[],
  done: Applied,
): Promise<boolean> {
  const applied = await legacy.applied(wanted.map(([stream]) => stream));
  const targets = wanted.map(([stream, version]) => ({
    stream,
    version,
    applied: applied.get(stream),
  }));
  const plan = await planWrites(folds, targets);
  const outcome =
    plan.writes.length === 0
      ? ({ kind: "written", conflicts: [] } as const)
      : await legacy.write(plan.writes);
  if (outcome.kind !== "written" && wanted.length > 1) return false;
  done.settled.push(...plan.settled);
  done.conflicts.push(...plan.conflicts);
  switch (outcome.kind) {
    case "written":
      settle(folds, plan, outcome.conflicts, done);
      return true;
    case "refused": {
      const [stream, folded] = [...plan.folded][0]!;
      const { table, key, reason } = outcome;
      const version = folded.firstVersion;
      done.conflicts.push({ stream, version, table, key, columns: [], reason });
      return true;
    }
    case "busy":
      for (const [stream, version] of wanted) done.waiting.set(stream, version);
      done.waitsFor = outcome.reason;
      return true;
  }
}

interface Plan {
  readonly writes: StreamWrite[];
  readonly folded: Map<string, Folded>;
  readonly settled: string[];
  readonly conflicts: ReverseConflict[];
}

async function planWrites(folds: NativeFolds, targets: readonly Target[]): Promise<Plan> {
  const plan: Plan = { writes: [], folded: new Map(), settled: [], conflicts: [] };
  const results = await folds.fold(targets);
  const definitions = new Map<string, StreamDefinition | undefined>();
  for (const { stream, applied } of targets) {
    const folded = results.get(stream);
    if (folded === undefined) {
      plan.settled.push(stream);
      continue;
    }
    const { firstVersion } = folded;
    if ("failure" in folded) {
      plan.conflicts.push(unfoldable(stream, firstVersion, folded.failure.message));
      continue;
    }
    const type = streamTypeOf(stream);
    if (!definitions.has(type)) definitions.set(type, newestDefinition(folds.mappings, type));
    const definition = definitions.get(type);
    if (definition === undefined) {
      plan.conflicts.push(unfoldable(stream, firstVersion, `no mapping knows stream type ${type}`));
      continue;
    }
    const rows = diffRows(stream, definition, folded.before, folded.after);
    plan.folded.set(stream, folded);
    plan.writes.push({ stream, applied, version: folded.version, rows });
  }
  return plan;
}

function settle(
  folds: NativeFolds,
  { folded }: Plan,
  conflicts: readonly RowConflict[],
  done: Applied,
): void {
  const found = new Map(conflicts.map((conflict) => [conflict.stream, conflict]));
  for (const [stream, { firstVersion, version, after, events }] of folded) {
    const conflict = found.get(stream);
    if (conflict !== undefined) {
      done.conflicts.push({ ...conflict, version: firstVersion });
      continue;
    }
    done.events += events;
    done.settled.push(stream);
    folds.keep(stream, version, after);
  }
}

function unfoldable(stream: string, version: number, reason: string): ReverseConflict {
  return { stream, version, table: "", key: "", columns: [], reason };
}

/** How a type's rows are now. Mappings of other pipelines may be newer, and know nothing of it. */
export function newestDefinition(
  mappings: ReadonlyMap<number, MappingDefinition>,
  streamType: string,
): StreamDefinition | undefined {
  const versions = [...mappings.keys()].sort((a, b) => b - a);
  for (const version of versions) {
    const { streams } = mappings.get(version)!;
    if (Object.hasOwn(streams, streamType)) return streams[streamType];
  }
  return undefined;
}
