import { DECODINGS_MAX, readingsOf, type PathReading } from "./canonical-path.ts";
import type { RouteSettings } from "./settings.ts";

export interface RouteMatch {
  readonly route: RouteSettings;
  readonly params: Readonly<Record<string, string>>;
}

export interface RouteTable {
  /**
   * Where a request leads: one match, or undefined for what is not ours. Several when it depends on how
   * an application reads its path. None when it could be anything.
   */
  match(method: string, path: string): readonly (RouteMatch | undefined)[];
}

interface Node {
  /** By name in lower case: applications differ in whether case matters, and none has two of a name. */
  readonly fixed: Map<string, Node>;
  param?: Node;
  /** By method: routes that end here, and those that end here with anything behind. */
  readonly ends: Map<string, RouteEnd>;
  readonly rests: Map<string, RouteEnd>;
}

interface RouteEnd {
  readonly route: RouteSettings;
  /** Names of its parameters, by segment. */
  readonly names: readonly (string | undefined)[];
}

const SEGMENT = /^(?::[A-Za-z_]\w*|\*|[^:*;%\\/.][^:*;%\\/]*)$/;

/** What is wrong with a pattern. Undefined when nothing is. */
export function problemOfPattern(pattern: string): string | undefined {
  if (!pattern.startsWith("/")) return "must begin with a slash";
  const segments = patternSegments(pattern);
  const wrong = segments.find((segment) => !SEGMENT.test(segment));
  if (wrong !== undefined)
    return `has a segment that is neither a word nor a :parameter: "${wrong}"`;
  if (segments.slice(0, -1).includes("*")) return "may have * at its end only";
  const names = segments.filter((segment) => segment.startsWith(":"));
  return new Set(names).size === names.length ? undefined : "names a parameter twice";
}

/** Whether a pattern has this parameter. */
export function hasParameter(pattern: string, name: string): boolean {
  return patternSegments(pattern).includes(`:${name}`);
}

/** The same for two patterns that match the same paths. */
export function shapeOf(pattern: string): string {
  return patternSegments(pattern)
    .map((segment) => (segment.startsWith(":") ? ":" : segment.toLowerCase()))
    .join("/");
}

/** @param routes no two of one method and shape */
export function compileRoutes(routes: readonly RouteSettings[]): RouteTable {
  const root = newNode();
  for (const route of routes) insert(root, route);
  const words = firstWords(root);
  return {
    match(method, path) {
      if (words !== undefined && !mayName(words, path)) return [undefined];
      const readings = readingsOf(path);
      if (readings === undefined) return [];
      if (readings.length === 1) return [find(root, method, readings[0]!)];
      const places = new Map<string, RouteMatch | undefined>();
      for (const reading of readings) {
        const match = find(root, method, reading);
        places.set(placeOf(match), match);
      }
      return [...places.values()];
    },
  };
}

/** One of which every path of a route begins with. Undefined when paths may begin with anything. */
function firstWords({ fixed, param, ends, rests }: Node): readonly string[] | undefined {
  const words = [...fixed.keys()];
  const isAny = param !== undefined || ends.size + rests.size > 0;
  return isAny || words.some((word) => !/^[!-~]+$/.test(word)) ? undefined : words;
}

/** Whether some reading of a path could have one of the words. No reading joins what is apart. */
function mayName(words: readonly string[], path: string): boolean {
  let text = path;
  for (let i = 0; i < DECODINGS_MAX && text.includes("%"); i++) {
    text = text.replaceAll(/%([2-7][\da-f])/gi, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    );
  }
  text = text.toLowerCase();
  return words.some((word) => text.includes(word));
}

function insert(root: Node, route: RouteSettings): void {
  const segments = patternSegments(route.path);
  const hasRest = segments.at(-1) === "*";
  const fixed = hasRest ? segments.slice(0, -1) : segments;
  let node = root;
  for (const segment of fixed) {
    if (segment.startsWith(":")) {
      node = node.param ??= newNode();
      continue;
    }
    const name = segment.toLowerCase();
    const next = node.fixed.get(name) ?? newNode();
    node.fixed.set(name, next);
    node = next;
  }
  const names = fixed.map((segment) => (segment.startsWith(":") ? segment.slice(1) : undefined));
  // A HEAD is a GET without the body.
  const methods = route.methods.flatMap((method) =>
    method === "GET" ? ["GET", "HEAD"] : [method],
  );
  const into = hasRest ? node.rests : node.ends;
  for (const method of methods) {
    if (!into.has(method) || route.methods.includes(method)) into.set(method, { route, names });
  }
}

/** What is fixed comes before a parameter, and a parameter before `*`. */
function find(root: Node, method: string, segments: PathReading): RouteMatch | undefined {
  const walk = (node: Node, at: number): RouteEnd | undefined => {
    if (at === segments.length) return node.ends.get(method) ?? node.rests.get(method);
    const segment = segments[at]!;
    const fixed = node.fixed.get(segment.toLowerCase());
    const found = fixed && walk(fixed, at + 1);
    if (found !== undefined) return found;
    const param = node.param && segment !== "" ? walk(node.param, at + 1) : undefined;
    return param ?? node.rests.get(method);
  };
  const end = walk(root, 0);
  if (end === undefined) return undefined;
  const params: Record<string, string> = {};
  for (const [at, name] of end.names.entries())
    if (name !== undefined) params[name] = segments[at]!;
  return { route: end.route, params };
}

function placeOf(match: RouteMatch | undefined): string {
  return match === undefined
    ? ""
    : JSON.stringify([match.route.path, match.route.kind, match.params]);
}

function patternSegments(pattern: string): string[] {
  const segments = pattern.slice(1).split("/");
  if (segments.at(-1) === "") segments.pop();
  return segments;
}

function newNode(): Node {
  return { fixed: new Map(), ends: new Map(), rests: new Map() };
}
