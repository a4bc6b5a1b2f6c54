import { readFileSync } from "node:fs";
import { basename } from "node:path";
import type { LoadedConfig } from "../config/load-config.ts";
import { compareWithHistory, readHistory, type MappingChanges } from "./check-history.ts";
import { explain, type Explanation } from "../laws/explain.ts";
import { findingOf, type LawFinding } from "../laws/finding.ts";
import { lawStreams } from "../laws/law-tables.ts";
import { ruleFindings } from "../laws/rule-findings.ts";
import type { LawReport } from "../laws/try-laws.ts";
import { examineMapping } from "../mapping/compile.ts";
import { tablesOf } from "../mapping/stream-plan.ts";
import { refuseProblems } from "../mapping/mapping-problem.ts";
import { BanyanError, EXIT } from "../model/errors.ts";
import type { SourceTable } from "../model/table.ts";
import type { ChangeSource, Finding, PlannedTable } from "../source/change-source.ts";
import type { RowSampler, TableSample } from "../source/row-sample.ts";
import type { EventStore } from "../store/event-store.ts";

/** What is wrong, or may be: with the source, the config, or a law. */
export interface CheckFinding extends Finding, Partial<Omit<LawFinding, keyof Finding>> {
  /** Config file, with the line where the rule or stream stands when there is only one such line. */
  readonly config?: string;
}

export interface CheckOptions {
  readonly seed: number;
  readonly runs: number;
  /** Real rows of each table. */
  readonly sample: number;
  readonly showValues: boolean;
  readonly explain: boolean;
}

export interface Checked {
  readonly tables: number;
  readonly findings: readonly CheckFinding[];
  /** Whether the config itself is wrong. */
  readonly isInvalid: boolean;
  /** Absent when there was no stream on which they could be tried. */
  readonly laws?: LawReport;
  readonly explanations?: readonly Explanation[];
  /** Against what the pipeline has run with so far; absent when it never ran. */
  readonly changes?: MappingChanges;
}

/** For reading real rows, all tables together. */
const SAMPLE_MS_MAX = 5_000;
/** For trying the laws, all streams together. */
const LAWS_MS_MAX = 20_000;

/**
 * Everything that stands in the way, of the source, of the mapping and of its laws, at once.
 *
 * @throws BanyanError `SOURCE_UNREACHABLE`, `SOURCE_REFUSED`; `MAPPING_INVALID` when the source cannot be
 *   asked and the config is known to be wrong without it
 */
export async function check(
  config: LoadedConfig,
  open: {
    readonly source: () => Promise<ChangeSource>;
    readonly sampler: () => Promise<RowSampler>;
    readonly store: () => Promise<EventStore>;
  },
  options: CheckOptions,
  signal: AbortSignal,
): Promise<Checked> {
  const planned = examineMapping(config.streams, []);
  const wanted = uniqueByName(tablesOf(planned.mapping));
  const found = await askSource(open.source, wanted).catch((error: unknown) => {
    if (error instanceof BanyanError && error.exitCode === EXIT.environment)
      refuseProblems(planned.problems);
    throw error;
  });
  const { history, finding: unread } = await readHistory(config, open.store);
  const { mapping, problems } = examineMapping(config.streams, found.tables, history?.mappings);
  const faulty = new Set(problems.map(({ stream }) => stream));
  const sound = Object.entries(config.streams).filter(
    ([type]) =>
      !faulty.has(type) &&
      !faulty.has(undefined) &&
      mapping
        .stream(type)!
        .roles.every(({ tableRef }) => mapping.shapeOf(tableRef.name) !== undefined),
  );
  const place = placer(config.file);
  const findings: CheckFinding[] = [
    ...found.findings,
    ...problems.map((problem) => place(findingOf(problem))),
  ];
  if (unread !== undefined) findings.push(unread);
  const compared =
    history === undefined || problems.length > 0 || found.tables.length < wanted.length
      ? undefined
      : compareWithHistory(mapping, history);
  if (compared?.finding !== undefined) findings.push(compared.finding);
  const untried = mapping.streams.filter(({ type }) => !sound.some(([name]) => name === type));
  for (const { type } of untried) findings.push(place(notTried(type)));
  const of = {
    tables: wanted.length,
    findings,
    isInvalid: problems.length > 0 || compared?.finding !== undefined,
    ...(compared?.changes === undefined ? {} : { changes: compared.changes }),
  };
  if (sound.length === 0) return of;

  const only = examineMapping(Object.fromEntries(sound), found.tables).mapping;
  const shapes = only.tables.map((name) => only.shapeOf(name)!);
  const sampler = await open.sampler();
  const samples = await sampler.sample(
    shapes,
    { rowsMax: options.sample, budgetMs: SAMPLE_MS_MAX },
    signal,
  );
  const streams = lawStreams(only, samples);
  const { tryLaws } = await import("../laws/try-laws.ts");
  const laws = await tryLaws(only, streams, {
    ...options,
    timeMsMax: lawsMs(options),
    refusedBy: (table, rows) => sampler.refusedBy(table, rows),
    signal,
  });
  findings.push(...ruleFindings(streams).map(place), ...laws.findings.map(place));
  findings.push(...samples.flatMap((sample) => notSampled(sample)));
  return {
    ...of,
    laws,
    ...(options.explain ? { explanations: explain(streams) } : {}),
  };
}

/** Histories that take longer than the time for the default number were asked for by name. */
const RUNS_DEFAULT = 200;

function lawsMs({ runs }: CheckOptions): number {
  return LAWS_MS_MAX * Math.max(1, runs / RUNS_DEFAULT);
}

async function askSource(
  open: () => Promise<ChangeSource>,
  wanted: readonly PlannedTable[],
): Promise<{ readonly findings: readonly Finding[]; readonly tables: readonly SourceTable[] }> {
  const source = await open();
  const findings = await source.check({ tables: wanted });
  if (findings.some(({ code }) => code === "server-too-old")) return { findings, tables: [] };
  const missing = new Set(
    findings.flatMap(({ code, table }) => (code === "table-missing" ? [table] : [])),
  );
  const there = wanted.filter(({ name }) => !missing.has(name));
  return { findings, tables: there.length === 0 ? [] : await source.discover(there) };
}

function uniqueByName(tables: readonly PlannedTable[]): readonly PlannedTable[] {
  return [...new Map(tables.map((table) => [table.name, table])).values()];
}

function notTried(stream: string): LawFinding {
  return {
    severity: "info",
    code: "laws-not-tried",
    stream,
    message: `the laws were not tried on stream ${stream}, because of what is wrong with it or its tables`,
    next: "Mend that, then run: banyan check",
  };
}

function notSampled({ table, rows, leftOut }: TableSample): readonly CheckFinding[] {
  if (leftOut === undefined || rows.length > 0) return [];
  const message = `no row of ${table} was sampled: ${leftOut}; its rules were tried on generated rows only`;
  return [{ severity: "info", code: "rows-not-sampled", table, message }];
}

/** Says where in the config a finding is about. Several lines that could be it are none. */
function placer(file: string): (finding: LawFinding) => CheckFinding {
  const lines = readFileSync(file, "utf8").split("\n");
  const lineOf = (name: string): number | undefined => {
    const escaped = name.replaceAll(/[^\w]/g, "\\$&");
    const word = new RegExp(`(?:^|[\\s{,])(["']?)${escaped}\\1\\s*:`);
    const found = lines.flatMap((line, i) => (word.test(line) ? [i + 1] : []));
    return found.length === 1 ? found[0] : undefined;
  };
  return (finding) => {
    const name = finding.rule ?? finding.stream;
    const line = name === undefined ? undefined : lineOf(name);
    return { ...finding, config: basename(file) + (line === undefined ? "" : `:${line}`) };
  };
}
