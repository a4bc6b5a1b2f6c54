import { BanyanError } from "../model/errors.ts";
import type { SourceTable } from "../model/table.ts";

/** One thing in a config that does not fit the tables or itself: what, where, and what to change. */
export interface MappingProblem {
  /** Short kebab-case name of the problem, stable for scripts, e.g. `column-missing`. */
  readonly code: string;
  readonly stream?: string;
  readonly rule?: string;
  readonly table?: string;
  readonly column?: string;
  readonly message: string;
  /** What to change in the config, in one sentence. */
  readonly next: string;
}

export type ReportProblem = (problem: MappingProblem) => void;

/** @throws BanyanError `MAPPING_INVALID` listing every problem at once; nothing when there is none */
export function refuseProblems(problems: readonly MappingProblem[]): void {
  if (problems.length === 0) return;
  const list = problems.map(({ message }) => `  - ${message}`).join("\n");
  throw new BanyanError(
    "MAPPING_INVALID",
    `the mapping has ${problems.length} problem${problems.length === 1 ? "" : "s"}:\n${list}`,
    { hint: "Correct the streams in the config and run: banyan check" },
  );
}

const COLUMNS_LISTED_MAX = 12;

/** What to write in place of a column that a table does not have: the one meant, or those there are. */
export function columnHint({ name: table, columns }: SourceTable, wrong: string): string {
  const names = columns.map(({ name }) => name);
  const plain = (name: string): string => name.toLowerCase().replaceAll(/[_\s-]/g, "");
  const meant =
    names.find((name) => plain(name) === plain(wrong)) ??
    names.find((name) => editsBetween(plain(name), plain(wrong)) <= Math.ceil(wrong.length / 5));
  if (meant !== undefined) return `Write "${meant}", if that is meant`;
  const listed = names.slice(0, COLUMNS_LISTED_MAX).join(", ");
  const more = names.length - COLUMNS_LISTED_MAX;
  return `Name a column of ${table}: ${listed}${more > 0 ? ` and ${more} more` : ""}`;
}

/** Letters to put in, take out or replace until one word is the other. */
function editsBetween(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
