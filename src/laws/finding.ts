import type { MappingProblem } from "../mapping/mapping-problem.ts";

/** The laws of docs/3-mapping.md. */
export type Law = "totality" | "round-trip" | "determinism" | "independence";

/** Something that is wrong with a mapping, or may be: what, where, why, and what to do next. */
export interface LawFinding {
  readonly severity: "error" | "warning" | "info";
  /** Short kebab-case name of the problem, stable for scripts, e.g. `rule-shadowed`. */
  readonly code: string;
  readonly stream?: string;
  readonly rule?: string;
  readonly table?: string;
  readonly column?: string;
  /** Why it is a problem, in one sentence. */
  readonly message: string;
  /** What to run or change, in one sentence. */
  readonly next: string;
  /** Set when a law was tried and does not hold. */
  readonly law?: Law;
  /** The smallest history found that shows it, line by line. */
  readonly story?: readonly string[];
}

/** What the compiler of the mapping found, as a finding. */
export function findingOf(problem: MappingProblem): LawFinding {
  return { severity: "error", ...problem };
}
