import type { MappingProblem } from "../mapping/mapping-problem.ts";

/** The laws of docs/3-mapping.md. */
export type Law = "totality" | "round-trip" | "determinism" | "independence";

/** Something that is wrong with a mapping, or may be: what, where, why, and what to do next. */
export interface LawFinding extends MappingProblem {
  readonly severity: "error" | "warning" | "info";
  /** Set when a law was tried and does not hold. */
  readonly law?: Law;
  /** The smallest history found that shows it, line by line. */
  readonly story?: readonly string[];
}

/** What the compiler of the mapping found, as a finding. */
export function findingOf(problem: MappingProblem): LawFinding {
  return { severity: "error", ...problem };
}
