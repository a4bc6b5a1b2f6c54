import type { Basis, Blocker } from "./assessment.ts";
import { copyRemark, DAY_SECONDS } from "./change-rate.ts";
import type { DatabaseFacts, LogSample, TableFacts } from "../source/database-facts.ts";

export interface AssessOptions {
  readonly sample?: LogSample;
  /** Why there is none although it was asked for. */
  readonly sampleRefused?: string;
  /** See `ProposeOptions`. */
  readonly owners?: ReadonlyMap<string, string> | undefined;
}

/** What server and role lack before a capture. */
export function serverBlockers({ findings }: DatabaseFacts): readonly Blocker[] {
  return findings
    .filter(({ severity }) => severity === "error")
    .map(({ severity, code, message, mend }) => ({
      severity,
      code,
      text: message,
      ...(mend === undefined ? {} : { sql: mend }),
    }));
}

/** What the figures rest on. */
export function basisOf(facts: DatabaseFacts, { sample, sampleRefused }: AssessOptions): Basis {
  const names = (test: (table: TableFacts) => boolean): string[] =>
    facts.tables.filter(test).map(({ table }) => table.name);
  let changes = 0;
  for (const { inserted, updated, deleted } of sample?.tables.values() ?? [])
    changes += inserted + updated + deleted;
  return {
    ...(facts.countedSeconds === undefined ? {} : { countedSeconds: facts.countedSeconds }),
    ...(sample === undefined
      ? {}
      : {
          sample: {
            seconds: sample.seconds,
            transactions: sample.transactions,
            changes,
            bytes: sample.bytes,
          },
        }),
    ...(sampleRefused === undefined ? {} : { sampleRefused }),
    neverAnalysed: names(({ rows, kind }) => rows === undefined && kind !== "foreign"),
    unreadable: names(({ readable }) => !readable),
  };
}

/** What would make a better judgement. */
export function adviceOf(facts: DatabaseFacts, basis: Basis): string[] {
  const advice: string[] = [];
  if (basis.neverAnalysed.length > 0)
    advice.push(
      `${basis.neverAnalysed.length === 1 ? "One table was" : `${basis.neverAnalysed.length} tables were`} never analysed: rows and values there are not known. Run: ANALYZE;`,
    );
  const counted = basis.countedSeconds;
  const copy = copyRemark(facts);
  if (counted === undefined) {
    advice.push(
      "This server does not count changes (a standby, or track_counts is off): ask the primary, or watch its log with --sample 60s.",
    );
  } else if (copy !== undefined && basis.sample === undefined) {
    advice.push(
      `${copy[0]!.toUpperCase()}${copy.slice(1)}: ask the database that people work on, or watch its log with --sample 60s while they do.`,
    );
  } else if (counted < DAY_SECONDS && basis.sample === undefined) {
    advice.push(
      "The server has counted changes for less than a day: watch its log with --sample 60s, at a busy hour.",
    );
  }
  if (basis.unreadable.length > 0)
    advice.push(
      `Role ${facts.role} may not read ${basis.unreadable.length === 1 ? "one table" : `${basis.unreadable.length} tables`}, so the server hides what it knows of their values: GRANT SELECT, or pg_read_all_stats and pg_read_all_data, for a better look.`,
    );
  if (facts.tables.some(({ bytesAreOld }) => bytesAreOld))
    advice.push(
      "Some tables were locked just now: their sizes are those of the last VACUUM or ANALYZE.",
    );
  return advice;
}
