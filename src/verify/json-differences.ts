import { countPlace, elementPlace, fieldPlace, ROOT_PLACE } from "./answer-place.ts";
import { numberOf } from "./exact-json.ts";

/** What two answers may differ in and still be equal. Places as in answer-place.ts. */
export interface AnswerRules {
  /** Left out, with all that is below them. */
  readonly ignore: ReadonlySet<string>;
  /** Arrays whose elements have no order. */
  readonly unordered: ReadonlySet<string>;
  /** By how much numbers may differ, by place. */
  readonly tolerances: ReadonlyMap<string, number>;
  /** By how many milliseconds timestamps may differ, by place. */
  readonly timestamps: ReadonlyMap<string, number>;
}

/** What both sides have at the first of several elements that differ at a place. Undefined: nothing is there. */
export interface Difference {
  readonly place: string;
  readonly a: unknown;
  readonly b: unknown;
}

export interface Differences {
  /** One for each place, in the order they were found. */
  readonly found: readonly Difference[];
  /** Places that differ and were left out as noise. */
  readonly noise: ReadonlySet<string>;
}

/** Deeper values are not looked into. */
const DEPTH_MAX = 100;
/** Places that differ, of two answers; what differs in more differs. */
export const PLACES_MAX = 200;

interface Walk {
  readonly rules: AnswerRules;
  readonly noise: ReadonlySet<string>;
  readonly found: Map<string, Difference>;
  readonly leftOut: Set<string>;
}

/**
 * The places at which two JSON values differ. The places are the same with the sides exchanged, and those
 * in `noise`, and no others, are left out.
 *
 * @param noise leaves: what is below a place of it still counts
 * @throws RangeError for a value that is too deep
 */
export function differencesOf(
  a: unknown,
  b: unknown,
  rules: AnswerRules,
  noise: ReadonlySet<string>,
): Differences {
  const walk: Walk = { rules, noise, found: new Map(), leftOut: new Set() };
  compare(walk, ROOT_PLACE, a, b, 0);
  return { found: [...walk.found.values()], noise: walk.leftOut };
}

function compare(walk: Walk, place: string, a: unknown, b: unknown, depth: number): void {
  if (depth > DEPTH_MAX) throw new RangeError("the value is too deep");
  if (walk.rules.ignore.has(place) || walk.found.size >= PLACES_MAX) return;
  if (Array.isArray(a) && Array.isArray(b)) compareArrays(walk, place, a, b, depth);
  else if (isObject(a) && isObject(b)) compareObjects(walk, place, a, b, depth);
  else if (!isSame(walk.rules, place, a, b)) note(walk, place, a, b);
}

function compareObjects(walk: Walk, place: string, a: Json, b: Json, depth: number): void {
  for (const name of Object.keys(a)) {
    const other = Object.hasOwn(b, name) ? b[name] : undefined;
    compare(walk, fieldPlace(place, name), a[name], other, depth + 1);
  }
  for (const name of Object.keys(b)) {
    if (!Object.hasOwn(a, name))
      compare(walk, fieldPlace(place, name), undefined, b[name], depth + 1);
  }
}

function compareArrays(
  walk: Walk,
  place: string,
  a: readonly unknown[],
  b: readonly unknown[],
  depth: number,
): void {
  const isUnordered = walk.rules.unordered.has(place);
  const [left, right] = isUnordered
    ? [inOrder(walk, place, a, depth), inOrder(walk, place, b, depth)]
    : [a, b];
  if (left.length !== right.length) {
    note(walk, countPlace(place), left.length, right.length);
    // An element more in the midst would make all behind it differ. Which one it is can be told of a set.
    if (isUnordered) return;
  }
  const element = elementPlace(place);
  const both = Math.min(left.length, right.length);
  for (let i = 0; i < both; i++) compare(walk, element, left[i], right[i], depth + 1);
}

/** Sorted by what counts in them, so that equal elements stand beside one another. */
function inOrder(walk: Walk, place: string, values: readonly unknown[], depth: number): unknown[] {
  const element = elementPlace(place);
  return values
    .map((value) => ({ value, key: keyOf(walk, element, value, depth + 1), all: textKey(value) }))
    .sort((x, y) => order(x.key, y.key) || order(x.all, y.all))
    .map(({ value }) => value);
}

/** A text that is the same for values that are equal to one another under the rules. */
function keyOf(walk: Walk, place: string, value: unknown, depth: number): string {
  if (depth > DEPTH_MAX) throw new RangeError("the value is too deep");
  const { ignore, unordered, tolerances, timestamps } = walk.rules;
  if (ignore.has(place)) return "";
  if (Array.isArray(value)) {
    const keys = value.map((one) => keyOf(walk, elementPlace(place), one, depth + 1));
    return `[${(unordered.has(place) ? keys.sort(order) : keys).join(",")}]`;
  }
  if (isObject(value)) {
    const fields = Object.keys(value).sort(order);
    return `{${fields.map((name) => `${JSON.stringify(name)}:${keyOf(walk, fieldPlace(place, name), value[name], depth + 1)}`).join(",")}}`;
  }
  const isLoose = walk.noise.has(place) || tolerances.has(place) || timestamps.has(place);
  return isLoose ? "" : JSON.stringify(value);
}

function textKey(value: unknown): string {
  return JSON.stringify(value);
}

function isSame(rules: AnswerRules, place: string, a: unknown, b: unknown): boolean {
  if (a === b) return true;
  const tolerance = rules.tolerances.get(place);
  if (tolerance !== undefined) {
    const [left, right] = [numberOf(a), numberOf(b)];
    if (left !== undefined && right !== undefined) return Math.abs(left - right) <= tolerance;
  }
  const withinMs = rules.timestamps.get(place);
  if (withinMs === undefined) return false;
  const [left, right] = [timeOf(a), timeOf(b)];
  return Math.abs(left - right) <= withinMs;
}

/** Milliseconds; NaN, which is near nothing, for what is no time. */
function timeOf(value: unknown): number {
  if (typeof value === "number") return value;
  return typeof value === "string" ? Date.parse(value) : Number.NaN;
}

function note({ noise, found, leftOut }: Walk, place: string, a: unknown, b: unknown): void {
  if (noise.has(place)) leftOut.add(place);
  else if (!found.has(place)) found.set(place, { place, a, b });
}

type Json = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function order(x: string, y: string): number {
  if (x === y) return 0;
  return x < y ? -1 : 1;
}
