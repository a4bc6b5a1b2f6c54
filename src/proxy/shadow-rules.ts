import type { RouteSettings, ShadowSettings } from "./settings.ts";
import type { AnswerRulesWithHeaders } from "../verify/compare-answers.ts";

/** The rules by which the answers of a route are compared: those for all routes and those for its path. */
export function rulesOf(
  { path }: RouteSettings,
  { headers, normalise }: ShadowSettings,
): AnswerRulesWithHeaders {
  const meant = normalise.filter((one) => one.path === undefined || one.path === path);
  return {
    headers: headers.map((name) => name.toLowerCase()),
    ignore: new Set(meant.flatMap(({ ignore }) => ignore)),
    unordered: new Set(meant.flatMap(({ unordered }) => unordered)),
    tolerances: new Map(meant.flatMap(({ tolerances }) => Object.entries(tolerances))),
    timestamps: new Map(
      meant.flatMap(({ timestampsWithinMs }) => Object.entries(timestampsWithinMs)),
    ),
  };
}
