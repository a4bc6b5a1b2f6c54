/** A path as an application may understand it: its segments, decoded. */
export type PathReading = readonly string[];

/** What servers are known to read in different ways. */
const DISPUTED = /\/\/|\\|;|\/\.|%(?:2f|5c|2e|25|3b|[01]|7f)|%(?![\da-f]{2})/i;
/** Of a path that must be read in many ways, so that it costs no more than a few milliseconds. */
const DISPUTED_LENGTH_MAX = 256;
/** Times that percent signs are decoded. */
export const DECODINGS_MAX = 2;
/** Far more than there are: the steps act on the whole path, and soon change nothing more. */
const READINGS_MAX = 4_096;

/**
 * The ways to read the path of a request. Almost always there is one: segments between slashes, each
 * percent-decoded once, without a trailing slash. Where servers differ (encoded slashes and dots,
 * backslashes, dot segments, double slashes, `;` parameters, percent signs that are encoded twice or
 * wrongly) there is what comes of the steps that servers take, in any order: a request goes on only if all
 * of them lead to the same side. Otherwise it could be led past the route that guards an aggregate.
 *
 * @param path begins with a slash
 * @returns undefined for one that is too long to be read in all ways
 */
export function readingsOf(path: string): readonly PathReading[] | undefined {
  const raw = path.slice(1).split("/");
  if (!DISPUTED.test(path)) {
    if (raw.at(-1) === "") raw.pop();
    return [path.includes("%") ? raw.map(decoded) : raw];
  }
  if (path.length > DISPUTED_LENGTH_MAX) return undefined;
  const found = new Map<string, PathReading>();
  const seen = new Set<string>();
  const open = [{ segments: raw, decodings: 0 }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { segments, decodings } = next;
    const key = JSON.stringify(segments);
    if (seen.has(`${decodings} ${key}`)) continue;
    if (seen.size >= READINGS_MAX) return undefined;
    seen.add(`${decodings} ${key}`);
    const isSlashed = segments.at(-1) === "";
    found.set(key, isSlashed ? segments.slice(0, -1) : segments);
    for (const step of STEPS) open.push({ segments: step(segments), decodings });
    if (decodings < DECODINGS_MAX) {
      open.push({ segments: segments.map(decoded), decodings: decodings + 1 });
    }
  }
  return [...found.values()];
}

/** Each changes nothing when it is taken a second time. */
const STEPS: readonly ((segments: string[]) => string[])[] = [
  // Decoded slashes separate segments, and for some backslashes do.
  (segments) => segments.flatMap((segment) => segment.split("/")),
  (segments) => segments.flatMap((segment) => segment.split("\\")),
  // Empty segments count for nothing.
  (segments) => segments.filter((segment) => segment !== ""),
  // What follows a semicolon is no part of a segment.
  (segments) => segments.map((segment) => segment.split(";")[0]!),
  // `.` and `..` are steps, for some also when they are encoded.
  (segments) => resolved(segments, (segment) => segment),
  (segments) => resolved(segments, (segment) => segment.replaceAll(/%2e/gi, ".")),
];

function resolved(segments: string[], plain: (segment: string) => string): string[] {
  const result: string[] = [];
  for (const segment of segments) {
    const step = plain(segment);
    if (step === "..") result.pop();
    else if (step !== ".") result.push(segment);
  }
  return result;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
