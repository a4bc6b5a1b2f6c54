import { BODY_PLACE, headerPlace, STATUS_PLACE } from "./answer-place.ts";
import { parseExactly } from "./exact-json.ts";
import { differencesOf, type AnswerRules, type Difference } from "./json-differences.ts";
import { plural } from "../model/count-text.ts";

/** An answer to an HTTP request, its body whole and without content coding. */
export interface Answer {
  readonly status: number;
  /** By name in lower case; several lines of a name joined. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

export type AnswerVerdict =
  | { readonly outcome: "equal"; readonly noise: ReadonlySet<string> }
  | {
      readonly outcome: "different";
      readonly differences: readonly Difference[];
      readonly noise: ReadonlySet<string>;
    }
  /** The bodies can be told equal or not only as a whole, and as a whole they are noise; or they are too deep. */
  | { readonly outcome: "uncompared" };

export interface AnswerRulesWithHeaders extends AnswerRules {
  /** Names in lower case of the headers that count. */
  readonly headers: readonly string[];
}

/**
 * Whether two answers say the same: status, the headers that count, and the body, as JSON values where both
 * are JSON and else byte by byte.
 *
 * @param noise places that differ between two answers of one side too
 */
export function compareAnswers(
  a: Answer,
  b: Answer,
  rules: AnswerRulesWithHeaders,
  noise: ReadonlySet<string>,
): AnswerVerdict {
  const found: Difference[] = [];
  const leftOut = new Set<string>();
  const note = (place: string, left: unknown, right: unknown): void => {
    if (noise.has(place)) leftOut.add(place);
    else found.push({ place, a: left, b: right });
  };
  if (a.status !== b.status) found.push({ place: STATUS_PLACE, a: a.status, b: b.status });
  for (const name of rules.headers) {
    const [left, right] = [a.headers.get(name), b.headers.get(name)];
    const place = headerPlace(name);
    if (left !== right && !rules.ignore.has(place)) note(place, left, right);
  }
  if (!a.body.equals(b.body)) {
    const body = compareBodies(a, b, rules, noise);
    if (body === undefined) return { outcome: "uncompared" };
    found.push(...body.found);
    for (const place of body.noise) leftOut.add(place);
  }
  return found.length === 0
    ? { outcome: "equal", noise: leftOut }
    : { outcome: "different", differences: found, noise: leftOut };
}

function compareBodies(
  a: Answer,
  b: Answer,
  rules: AnswerRules,
  noise: ReadonlySet<string>,
): { found: readonly Difference[]; noise: ReadonlySet<string> } | undefined {
  // An answer of another status says something else, and often in another form: that is told once.
  if (a.status !== b.status) return { found: [], noise: new Set() };
  const left = isJson(a) || isJson(b) ? parseExactly(a.body) : undefined;
  const right = left && parseExactly(b.body);
  if (left !== undefined && right !== undefined) {
    try {
      return differencesOf(left.value, right.value, rules, noise);
    } catch (error) {
      if (error instanceof RangeError) return undefined;
      throw error;
    }
  }
  if (noise.has(BODY_PLACE)) return undefined;
  const size = ({ body }: Answer): string => plural(body.length, "byte");
  return { found: [{ place: BODY_PLACE, a: size(a), b: size(b) }], noise: new Set() };
}

function isJson({ headers }: Answer): boolean {
  return /^application\/(?:[^;,]+\+)?json\b/i.test(headers.get("content-type") ?? "");
}
