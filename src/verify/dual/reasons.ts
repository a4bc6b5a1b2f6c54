/** Every word that a verdict can have for a reason, with what it means. docs/7-rollout.md has the same words. */
export const REASONS = {
  pass: {
    "same-state": "both sides fold to the same rows",
    "nothing-changed": "both accepted it, and neither changed anything",
    "both-refused": "both refused it",
  },
  fail: {
    "state-differs": "decided on the same version, other rows came of it",
    "events-differ": "the same rows, told by other events",
    "refused-by-new": "the service refused what legacy accepted",
    "refused-by-legacy": "the service accepted what legacy refused",
    "wrong-stream": "the service would have written to another stream",
    unfoldable: "the proposal has an event that the mapping cannot fold",
    "shadow-failed": "the service answered 5xx",
  },
  inconclusive: {
    "version-moved": "the service decided on another version than legacy",
    "inputs-moved":
      "they part, but another aggregate that the service looked at had changed by then",
    parallel: "another write of the stream was under way at the same time",
    "several-candidates": "it could not be told which captured change was its own",
    "not-correlated":
      "no captured event carries its correlation id, and it has no stream to look in",
    "never-arrived": "legacy accepted it, and no change of it was captured",
    "no-proposal": "the service accepted it, and proposed nothing",
    "proposals-unclear": "the service proposed several things that do not follow one another",
    "shadow-unanswered": "the service gave no answer",
    "legacy-unanswered": "legacy gave no answer",
    "legacy-failed": "legacy answered 5xx",
    quarantined: "the stream waits in quarantine",
    "too-large": "too many events or streams for one verdict",
  },
} as const;

export type Reason =
  | keyof (typeof REASONS)["pass"]
  | keyof (typeof REASONS)["fail"]
  | keyof (typeof REASONS)["inconclusive"];

export function meaningOf(reason: string): string {
  const all: Readonly<Record<string, string>> = {
    ...REASONS.pass,
    ...REASONS.fail,
    ...REASONS.inconclusive,
  };
  return all[reason] ?? reason;
}
