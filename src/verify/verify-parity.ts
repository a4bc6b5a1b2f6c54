import { setTimeout as sleep } from "node:timers/promises";
import { Comparison, EVENTS_BESIDE_MAX, hashesOf, scopeOf, type RowSums } from "./comparison.ts";
import type { ParityReport, TableParity } from "./parity-report.ts";
import { compileMapping, plannedTables, type Mapping } from "../mapping/compile.ts";
import type { StreamRef } from "../mapping/rules.ts";
import { BanyanError } from "../model/errors.ts";
import { isBefore, type Position } from "../model/position.ts";
import type { SourceTable } from "../model/table.ts";
import { Folder } from "../projection/fold.ts";
import type { ChangeSource, ParitySnapshot } from "../source/change-source.ts";
import type { EventStore, PipelineRecord } from "../store/event-store.ts";

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
  readonly onProgress?: (progress: { readonly step: string; readonly rows: number }) => void;
}

/**
 * Compares the fold of all streams with all rows, as of one point, while both sides go on changing.
 *
 * First the hashes that are kept of folds are brought up to date, which is where most of the work is when
 * much has changed. Then a snapshot of the source is taken and a fence written into its log, the rows are
 * summed up where they are, and the store awaited at the fence: it then holds every transaction that the
 * snapshot sees, and perhaps some that it does not. The events of those carry the transaction's id and are
 * left out of the fold. So lag is never a difference.
 *
 * @throws BanyanError of the source or store; a pipeline that does not reach the fence is not an error
 *   but an inconclusive report
 */
export async function verifyParity(
  options: VerifyOptions,
  signal: AbortSignal,
): Promise<ParityReport> {
  const startedAt = new Date().toISOString();
  const { source, store, pipeline } = options;
  await requireBaseline(options);
  const tables = await source.discover(plannedTables(options.streams));
  await advanceFolds(options, tables, signal);
  const snapshot = await source.openParity(tables, signal);
  try {
    const { mapping, folder } = await mappingOf(options, snapshot.tables);
    const comparison = new Comparison({
      ...options,
      snapshot,
      mapping,
      folder,
      onProgress: (step, rows) => options.onProgress?.({ step, rows }),
    });
    const sums: RowSums[] = [];
    for (const stream of mapping.streams) sums.push(await comparison.sumRows(stream, signal));
    const reached = await waitForFence(options, snapshot.fence, signal);
    if (reached !== undefined) return inconclusive(options, startedAt, snapshot.fence, reached);
    const waiting = await store.quarantine.streams(pipeline);
    const quarantined = new Set(waiting.map((entry) => entry.stream));
    // Only what came since the start is missing, unless the pipeline was far behind or a table changed.
    await advanceFolds(options, snapshot.tables, signal, EVENTS_BESIDE_MAX);
    for (const rows of sums) await comparison.compare(rows, quarantined, signal);
    const found = { comparison, mapping, quarantined, rewritten: await snapshot.rewritten() };
    return reportOf(options, startedAt, snapshot, found);
  } finally {
    await snapshot.close();
  }
}

/**
 * Brings the kept folds up to date with the events.
 *
 * @param behindMax is left to be folded beside them
 */
async function advanceFolds(
  options: VerifyOptions,
  tables: readonly SourceTable[],
  signal: AbortSignal,
  behindMax = 0,
): Promise<void> {
  const { parity } = options.store;
  const { mapping, folder } = await mappingOf(options, tables);
  for (const stream of mapping.streams) {
    const hashes = hashesOf(mapping, stream, tables);
    const scope = scopeOf(options.pipeline, hashes);
    const behind = await parity.behind(scope, behindMax + 1);
    if (behind !== undefined && behind <= behindMax) continue;
    options.onProgress?.({ step: `folding ${stream.type}`, rows: 0 });
    await parity.advance(scope, (events) => hashes.fold(events, folder), signal);
  }
}

async function mappingOf(
  { store, streams }: VerifyOptions,
  tables: readonly SourceTable[],
): Promise<{ readonly mapping: Mapping; readonly folder: Folder }> {
  const recorded = await store.mappings();
  const mapping = compileMapping(streams, tables, recorded);
  return { mapping, folder: new Folder(recorded, mapping.inverses()) };
}

/** Rows of another database would be compared in vain, or worse, found equal. */
async function requireBaseline(options: VerifyOptions): Promise<void> {
  const { store, source, pipeline } = options;
  const record = await store.pipeline(pipeline);
  if (record?.checkpoint === undefined) {
    throw new BanyanError("PIPELINE_UNKNOWN", `pipeline ${pipeline} has no baseline yet`, {
      hint: "Run: banyan run",
    });
  }
  const { uri } = await source.identify();
  if (record.source === uri) return requireTables(record, options);
  throw new BanyanError(
    "SOURCE_CHANGED",
    `pipeline ${pipeline} follows ${record.source}, but the config names ${uri}`,
    { hint: "Point the config at the source that the pipeline was made for." },
  );
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
async function waitForFence(
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
    await sleep(50, undefined, { signal });
  }
}

function inconclusive(
  { pipeline }: VerifyOptions,
  startedAt: string,
  fence: Position,
  reason: string,
): ParityReport {
  return {
    state: "inconclusive",
    reasons: [reason],
    pipeline,
    startedAt,
    finishedAt: new Date().toISOString(),
    fence,
    compared: 0,
    present: 0,
    missing: 0,
    extra: 0,
    different: 0,
    tables: [],
    excluded: { streams: 0, rows: 0 },
    samples: [],
    nextSteps: ["banyan status", "banyan run"],
  };
}

interface Findings {
  readonly comparison: Comparison;
  readonly mapping: Mapping;
  readonly quarantined: ReadonlySet<string>;
  readonly rewritten: readonly string[];
}

function reportOf(
  { pipeline, showValues }: VerifyOptions,
  startedAt: string,
  { fence }: ParitySnapshot,
  { comparison, mapping, quarantined, rewritten }: Findings,
): ParityReport {
  const tables = comparison.tables.filter(({ table }) => !rewritten.includes(table));
  const samples = comparison.samples.filter(({ table }) => !rewritten.includes(table));
  const total = (of: (table: TableParity) => number): number =>
    tables.reduce((sum, table) => sum + of(table), 0);
  const [missing, extra, different] = [
    total((t) => t.missing),
    total((t) => t.extra),
    total((t) => t.different),
  ];
  const unclear = [
    ...rewritten.map(
      (table) =>
        `${table} was truncated or rewritten while it was read, which hides its rows from the snapshot`,
    ),
    ...counted(quarantined.size, "streams wait in quarantine and were not compared"),
    ...counted(
      comparison.foreign.size,
      "streams hold events that a service appended, and were not compared",
    ),
    ...counted(comparison.unnamedRows, "rows have a key that is too long to name a stream"),
  ];
  const found = missing + extra + different > 0;
  const first = samples[0];
  return {
    state: found ? "different" : unclear.length > 0 ? "inconclusive" : "equal",
    reasons: [...unclear, ...untoldChanges(tables, mapping)],
    pipeline,
    startedAt,
    finishedAt: new Date().toISOString(),
    fence,
    compared: total((t) => t.compared),
    present: total((t) => t.present),
    missing,
    extra,
    different,
    tables,
    excluded: {
      streams: quarantined.size + comparison.foreign.size,
      rows: comparison.excludedRows,
    },
    samples,
    nextSteps: [
      ...(first === undefined ? [] : [`banyan history ${quoteArgument(first.stream)}`]),
      ...(quarantined.size > 0 ? ["banyan quarantine list"] : []),
      ...(found && !showValues ? ["banyan verify --show-values"] : []),
    ],
  };
}

function counted(count: number, what: string): readonly string[] {
  return count === 0 ? [] : [`${count} ${what}`];
}

/** Schema changes that explain a difference: what they made of the rows is not in the log. */
function untoldChanges(tables: readonly TableParity[], mapping: Mapping): readonly string[] {
  return tables.flatMap(({ table, different }) => {
    const shape = mapping.shapeOf(table);
    if (different === 0 || shape === undefined) return [];
    return mapping.columnsOf(shape).flatMap(({ name, untold }) => {
      if (untold === undefined) return [];
      const what = UNTOLD[untold];
      return `${table}: column ${name} ${what}; the log does not tell what that made of rows written before`;
    });
  });
}

const UNTOLD = {
  added: "was added with a computed default",
  retyped: "was given another type",
  replaced: "was dropped and added again",
} as const;

function quoteArgument(text: string): string {
  return /^[\w.,:@-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
