import type { SampleDifference } from "../rollout/shadow-log.ts";
import { BODY_PLACE, STATUS_PLACE } from "../verify/answer-place.ts";
import { textOf } from "../verify/exact-json.ts";
import type { Difference } from "../verify/json-differences.ts";

/** Places told of one read. */
const DIFFERENCES_MAX = 20;
/** Characters of a value, and of a place, whose names are of the answer. */
const CHARS_MAX = 200;
/** Characters of a path. */
const TARGET_CHARS_MAX = 500;

/** What differs, for people. @param differences legacy's side as `a` */
export function sampleDifferences(
  differences: readonly Difference[],
  showsValues: boolean,
): readonly SampleDifference[] {
  return differences.slice(0, DIFFERENCES_MAX).map(({ place, a, b }) => {
    // What is said of these is no value of a body.
    const isShown =
      showsValues || place === STATUS_PLACE || place === BODY_PLACE || place.endsWith("[#]");
    const tell = isShown ? shown : redacted;
    return { place: storable(place), legacy: tell(a), new: tell(b) };
  });
}

/** The path of a request. */
export function sampleTarget(target: string): string {
  return storable(target.split("?")[0]!, TARGET_CHARS_MAX);
}

function shown(value: unknown): string {
  return value === undefined ? "absent" : storable(textOf(value));
}

function redacted(value: unknown): string {
  if (value === undefined) return "absent";
  if (value === null) return "null";
  if (typeof value === "string") return `text of ${value.length}`;
  if (Array.isArray(value)) return `list of ${value.length}`;
  return typeof value;
}

/** Cut; the store takes no NUL in a text, nor half a pair. */
function storable(text: string, charsMax = CHARS_MAX): string {
  return text.slice(0, charsMax).replaceAll(/[\0\p{Surrogate}]/gu, "\u{fffd}");
}
