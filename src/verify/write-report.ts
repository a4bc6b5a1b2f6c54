import type { Comparison } from "./comparison.ts";
import type { History } from "./history.ts";
import type { HistoryParity, ParityReport, TableParity } from "./parity-report.ts";
import type { VerifyOptions } from "./prepare.ts";
import type { Mapping } from "../mapping/compile.ts";
import { plural } from "../model/count-text.ts";
import { streamTypeOf } from "../mapping/stream-id.ts";
import type { Position } from "../model/position.ts";
import type { ReverseConflict, ReverseState } from "../store/parity-store.ts";
import type { ParitySnapshot } from "../source/change-source.ts";

export function inconclusive(
  { pipeline }: VerifyOptions,
  startedAt: string,
  fence: Position | undefined,
  reason: string,
): ParityReport {
  return {
    state: "inconclusive",
    conclusive: false,
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
    unexamined: 0,
    tables: [],
    excluded: { streams: 0, rows: 0 },
    reverseConflicts: { streams: 0, samples: [] },
    history: { streams: 0, untold: 0, samples: [] },
    samples: [],
    effort: { buckets: 0, bucketsDiffering: 0, aggregatesExamined: 0 },
    nextSteps: ["banyan status", "banyan run"],
  };
}

export interface Findings {
  readonly reverse: ReverseState;
  readonly history: History;
  readonly comparison: Comparison;
  readonly mapping: Mapping;
  readonly quarantined: ReadonlySet<string>;
  readonly rewritten: readonly string[];
}

export function reportOf(
  { pipeline, showValues, samplesMax }: VerifyOptions,
  startedAt: string,
  { fence }: ParitySnapshot,
  { comparison, mapping, quarantined, rewritten, reverse, history }: Findings,
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
    ...rewritten.map(hiddenRows),
    ...waitingStreams(quarantined),
    ...untoldStreams(comparison.untold),
    ...tables.flatMap(leftUnexamined),
    ...counted(
      comparison.unnamedRows,
      "row has a key that is too long to name a stream",
      "rows have a key that is too long to name a stream",
    ),
  ];
  const conflicts = conflictsOf(reverse, mapping);
  const found = missing + extra + different > 0;
  const isFlawed = history.streams.length > 0 || history.untold !== 0;
  const first = samples[0] ?? history.samples[0];
  return {
    state:
      found || isFlawed || conflicts.length > 0
        ? "different"
        : unclear.length > 0
          ? "inconclusive"
          : "equal",
    conclusive: unclear.length === 0,
    reasons: [
      ...unclear,
      ...inConflict(conflicts),
      ...flawedHistory(history),
      ...untoldChanges(tables, mapping),
    ],
    pipeline,
    startedAt,
    finishedAt: new Date().toISOString(),
    fence,
    compared: total((t) => t.compared),
    present: total((t) => t.present),
    missing,
    extra,
    different,
    unexamined: total((t) => t.unexamined),
    tables,
    excluded: {
      streams: new Set([...quarantined, ...comparison.untold]).size,
      rows: comparison.excludedRows,
    },
    reverseConflicts: { streams: conflicts.length, samples: conflicts.slice(0, samplesMax) },
    history: historyParity(history),
    samples,
    effort: comparison.effort,
    nextSteps: [
      ...(first === undefined ? [] : [`banyan history ${quoteArgument(first.stream)}`]),
      ...(quarantined.size > 0 ? ["banyan quarantine list"] : []),
      ...(found && !showValues ? ["banyan verify --show-values"] : []),
      ...(found || isFlawed ? ["banyan verify --repair"] : []),
    ],
  };
}

/** Why a table could not be compared that was emptied or rewritten meanwhile. */
export function hiddenRows(table: string): string {
  return `${table} was truncated or rewritten while it was read, which hides its rows from the snapshot`;
}

export function waitingStreams(quarantined: ReadonlySet<string>): readonly string[] {
  return counted(
    quarantined.size,
    "stream waits in quarantine and was not compared",
    "streams wait in quarantine and were not compared",
  );
}

/** What their rows were when the snapshot was taken is not in their events; the next look can tell. */
export function untoldStreams(untold: ReadonlySet<string>): readonly string[] {
  return counted(
    untold.size,
    "stream was read anew meanwhile and was not compared; verify again",
    "streams were read anew meanwhile and were not compared; verify again",
  );
}

function leftUnexamined({ table, unexamined }: TableParity): readonly string[] {
  if (unexamined === 0) return [];
  const so = `at least ${plural(unexamined, "more aggregate")} with sums that differ`;
  return [`${table}: ${so} were not looked into, because so many do`];
}

/** Of the streams that are compared. */
export function conflictsOf(
  { conflicts }: ReverseState,
  mapping: Mapping,
): readonly ReverseConflict[] {
  return conflicts.filter(({ stream }) => mapping.stream(streamTypeOf(stream)) !== undefined);
}

/** What a service decided is not in their rows, whatever the rows are. */
export function inConflict(conflicts: readonly ReverseConflict[]): readonly string[] {
  return counted(
    conflicts.length,
    "stream waits in a reverse conflict: what the service decided is not in its rows",
    "streams wait in reverse conflicts: what the service decided is not in their rows",
  );
}

export function historyParity({ streams, untold, samples }: History): HistoryParity {
  return { streams: streams.length, untold, samples };
}

/** Rows may be as their events say, and how they came to be that all the same not be told. */
export function flawedHistory({ streams, untold }: History): readonly string[] {
  const many = plural(Math.abs(untold), "event");
  const flawed = plural(streams.length, "stream has", "streams have");
  return [
    ...(streams.length > 0 ? [`${flawed} events that do not follow on from each other`] : []),
    ...(untold > 0 ? [`the store holds ${many} more than its pipelines have written`] : []),
    ...(untold < 0 ? [`the store lacks ${many} that its pipelines have written`] : []),
  ];
}

function counted(value: number, one: string, many: string): readonly string[] {
  return value === 0 ? [] : [plural(value, one, many)];
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
