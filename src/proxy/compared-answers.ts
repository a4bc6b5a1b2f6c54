import { sampleDifferences } from "./shadow-sample.ts";
import type { SampleDifference } from "../rollout/shadow-log.ts";
import {
  compareAnswers,
  type Answer,
  type AnswerRulesWithHeaders,
} from "../verify/compare-answers.ts";

/** What is to be compared. */
export interface Comparison {
  /** Legacy's, or its first of two. */
  readonly a: Answer;
  readonly b: Answer;
  readonly rules: AnswerRulesWithHeaders;
  readonly noise: ReadonlySet<string>;
  readonly showsValues: boolean;
}

/** What came of it, in a form that is small however large the answers are. */
export interface Compared {
  readonly outcome: "equal" | "different" | "uncompared";
  /** Where they differ. */
  readonly places: readonly string[];
  readonly samples: readonly SampleDifference[];
  /** Whether something was left out as noise. */
  readonly isNoisy: boolean;
}

export const UNCOMPARED: Compared = {
  outcome: "uncompared",
  places: [],
  samples: [],
  isNoisy: false,
};

export function comparedAnswers({ a, b, rules, noise, showsValues }: Comparison): Compared {
  const verdict = compareAnswers(a, b, rules, noise);
  if (verdict.outcome === "uncompared") return UNCOMPARED;
  const isNoisy = verdict.noise.size > 0;
  if (verdict.outcome === "equal") return { ...UNCOMPARED, outcome: "equal", isNoisy };
  const { differences } = verdict;
  return {
    outcome: "different",
    places: differences.map(({ place }) => place),
    samples: sampleDifferences(differences, showsValues),
    isNoisy,
  };
}
