import { setTimeout as sleep } from "node:timers/promises";
import { Comparison, hashesOf, scopeOf, type ComparisonLimits } from "./comparison.ts";
import { HistoryCheck } from "./history-check.ts";
import { compileMapping, plannedTables, type Mapping } from "../mapping/compile.ts";
import type { StreamRef } from "../mapping/rules.ts";
import { rowsReadText } from "../model/count-text.ts";
import { BanyanError } from "../model/errors.ts";
import type { MappingDefinition } from "../model/mapping-definition.ts";
import { isBefore, type Position } from "../model/position.ts";
import type { SourceTable } from "../model/table.ts";
import { Folder } from "../projection/fold.ts";
import type { ChangeSource, ParitySnapshot } from "../source/change-source.ts";
import type { EventStore, PipelineRecord } from "../store/event-store.ts";
import type { ReverseState } from "../store/parity-store.ts";

const FENCE_LOOK_MS = 15;

export interface VerifyOptions {
  readonly pipeline: string;
  readonly source: ChangeSource;
  readonly store: EventStore;
  readonly streams: Readonly<Record<string, StreamRef>>;
  /** How long to wait for the pipeline to reach the fence. */
  readonly waitMsMax: number;
  /** Differences shown by key and column. */
  readonly samplesMax: number;
  /** Values in samples instead of their lengths. */
  readonly showValues: boolean;
  /** Throws away what is kept of folds, and folds all events anew. */
  readonly refold?: boolean;
  /** How much of what differs is looked into; the usual when absent. */
  readonly limits?: Partial<ComparisonLimits>;
  readonly onProgress?: (progress: { readonly step: string; readonly rows: number }) => void;
}

/**
 * Rows of another database would be compared in vain, or worse, found equal.
 *
 * @returns why it cannot be told yet, or undefined when it can
 */
export async function requireBaseline(options: VerifyOptions): Promise<string | undefined> {
  const { store, source, pipeline } = options;
  const record = await store.pipeline(pipeline);
  if (record?.checkpoint === undefined) {
    throw new BanyanError("PIPELINE_UNKNOWN", `pipeline ${pipeline} has no baseline yet`, {
      hint: "Run: banyan run",
    });
  }
  const { uri } = await source.identify();
  if (record.source === uri) {
    const unfinished = unfinishedBaseline(record);
    if (unfinished === undefined) requireTables(record, options);
    return unfinished;
  }
  throw new BanyanError(
    "SOURCE_CHANGED",
    `pipeline ${pipeline} follows ${record.source}, but the config names ${uri}`,
    { hint: "Point the config at the source that the pipeline was made for." },
  );
}

/**
 * Rows whose chunk was not read yet have no events, or those of before a gap.
 *
 * @returns why nothing can be compared as long as that is so
 */
function unfinishedBaseline({ baselines = [] }: PipelineRecord): string | undefined {
  const unfinished = baselines.filter(({ done }) => !done);
  if (unfinished.length === 0) return undefined;
  const far = unfinished.map(
    ({ stream, rowsRead, rowsEstimated }) => `${stream} (${rowsReadText(rowsRead, rowsEstimated)})`,
  );
  return `the baseline is not finished: ${far.join(", ")}`;
}

/** The same, asked again before a result is taken: a baseline may have begun since. */
export async function unfinishedNow({
  store,
  pipeline,
}: Pick<VerifyOptions, "store" | "pipeline">): Promise<string | undefined> {
  const record = await store.pipeline(pipeline);
  return record && unfinishedBaseline(record);
}

/** A table that the config has only now has no events yet, and all of its rows would be missing. */
function requireTables({ tables }: PipelineRecord, { streams }: VerifyOptions): void {
  const captured = new Set(tables.map(({ table }) => table));
  const waiting = plannedTables(streams).filter(({ name }) => !captured.has(name));
  if (tables.length === 0 || waiting.length === 0) return;
  const names = waiting.map(({ name }) => name).join(", ");
  throw new BanyanError("TABLE_NOT_CAPTURED", `not captured yet: ${names}`, {
    hint: "Stop `banyan run` and start it again: it takes them in.",
    detail: { tables: names },
  });
}

/** @returns why the fence was not reached, or undefined when it was */
export async function waitForFence(
  { store, pipeline, waitMsMax, onProgress }: VerifyOptions,
  fence: Position,
  signal: AbortSignal,
): Promise<string | undefined> {
  const deadline = Date.now() + waitMsMax;
  for (;;) {
    const record = await store.pipeline(pipeline);
    if (record?.checkpoint !== undefined && !isBefore(record.checkpoint, fence)) return undefined;
    signal.throwIfAborted();
    if (Date.now() >= deadline) {
      return `the pipeline did not reach the fence ${fence} within ${Math.round(waitMsMax / 1000)} s; it stands at ${record?.checkpoint ?? "nothing"}`;
    }
    onProgress?.({ step: "waiting for the pipeline to reach the fence", rows: 0 });
    await sleep(FENCE_LOOK_MS, undefined, { signal });
  }
}

export interface AdvanceOptions {
  /** So many events are left to be folded beside them; 0. */
  readonly behindMax?: number;
}

/** Brings the kept folds up to date with the events. */
export async function advanceFolds(
  options: VerifyOptions,
  { tables, mapping, folder, recorded }: CompiledTables,
  signal: AbortSignal,
  { behindMax = 0 }: AdvanceOptions = {},
): Promise<void> {
  const { parity } = options.store;
  for (const stream of mapping.streams) {
    const hashes = hashesOf(mapping, stream, tables);
    const scope = scopeOf(options.pipeline, hashes);
    const behind = await parity.behind(scope, behindMax + 1);
    if (behind !== undefined && behind <= behindMax) continue;
    options.onProgress?.({ step: `folding ${stream.type}`, rows: 0 });
    const check = new HistoryCheck(recorded);
    const fold: Parameters<typeof parity.advance>[1] = (events) =>
      hashes.fold(events, folder, undefined, check);
    await parity.advance(scope, fold, signal);
  }
}

/** What tables of these shapes are folded and compared with. */
export interface CompiledTables {
  readonly tables: readonly SourceTable[];
  readonly mapping: Mapping;
  readonly folder: Folder;
  /** All mappings by which events fold, by version. */
  readonly recorded: ReadonlyMap<number, MappingDefinition>;
}

export async function compileTables(
  { store, streams }: VerifyOptions,
  tables: readonly SourceTable[],
): Promise<CompiledTables> {
  const recorded = await store.mappings();
  const mapping = compileMapping(streams, tables, recorded);
  return { tables, mapping, folder: new Folder(recorded, mapping.inverses()), recorded };
}

/** The tables as they are in the catalogue now. */
export async function discoverTables(options: VerifyOptions): Promise<CompiledTables> {
  const tables = await options.source.discover(plannedTables(options.streams));
  return await compileTables(options, tables);
}

/** A snapshot of the source, and what its rows are compared by. The snapshot is to be closed. */
export async function openComparison(
  options: VerifyOptions,
  tables: readonly SourceTable[],
  signal: AbortSignal,
): Promise<
  CompiledTables & {
    readonly snapshot: ParitySnapshot;
    readonly comparison: Comparison;
    readonly reverse: ReverseState;
  }
> {
  // Before the snapshot: whatever is written back by then, the snapshot sees.
  const { store, pipeline } = options;
  const reverse = await store.parity.reverse(pipeline);
  const completed = await store.reverse.completed(pipeline);
  const snapshot = await options.source.openParity(tables, signal);
  try {
    const compiled = await compileTables(options, snapshot.tables);
    const onProgress = (step: string, rows: number): void => options.onProgress?.({ step, rows });
    const seen = { snapshot, reverse, completed, onProgress };
    const comparison = new Comparison({ ...options, ...compiled, ...seen });
    return { ...compiled, snapshot, comparison, reverse };
  } catch (error) {
    await snapshot.close();
    throw error;
  }
}

/** Streams that wait in quarantine: they are not compared. */
export async function quarantinedStreams({
  store,
  pipeline,
}: VerifyOptions): Promise<ReadonlySet<string>> {
  const waiting = await store.quarantine.streams(pipeline);
  return new Set(waiting.map(({ stream }) => stream));
}
