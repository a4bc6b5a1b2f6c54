import type { IncomingHttpHeaders } from "node:http";
import { folded, UNCLEAR, type NamedId } from "./named-id.ts";

/**
 * A field of a JSON body as text, if it is a text or a whole number. Undefined when the body is empty, or
 * the field is not in it or null. Unclear when it is anything else, in a body that is not plain UTF-8 JSON,
 * and when a name is there twice, or one on the way in another case too: parsers differ in which counts.
 *
 * @param path names from the outermost object on
 */
export function jsonFieldOf(
  body: Buffer,
  path: readonly string[],
  headers: IncomingHttpHeaders,
): NamedId {
  if (body.length === 0) return undefined;
  if ((headers["content-encoding"] ?? "identity") !== "identity") return UNCLEAR;
  if (/charset=(?!"?utf-8)/i.test(headers["content-type"] ?? "")) return UNCLEAR;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
    const value: unknown = JSON.parse(text);
    return hasNameTwice(text, new Set(path.map(folded))) ? UNCLEAR : fieldOf(value, path);
  } catch {
    return UNCLEAR;
  }
}

function fieldOf(value: unknown, path: readonly string[]): NamedId {
  if (value === null) return undefined;
  const [name, ...rest] = path;
  if (name === undefined) {
    if (typeof value === "string") return value;
    return typeof value === "number" && Number.isSafeInteger(value) ? String(value) : UNCLEAR;
  }
  if (typeof value !== "object" || Array.isArray(value)) return UNCLEAR;
  const found = Object.keys(value).find((key) => folded(key) === folded(name));
  if (found === undefined) return undefined;
  // For a reader to whom case matters there is none.
  if (found !== name) return UNCLEAR;
  return fieldOf((value as Readonly<Record<string, unknown>>)[name], rest);
}

/** Whether an object of a valid JSON text has a name twice. @param caseless names, folded, of which any case counts */
function hasNameTwice(text: string, caseless: ReadonlySet<string>): boolean {
  // Of the objects and arrays that are open: names so far, or undefined for an array.
  const open: (Set<string> | undefined)[] = [];
  let last: string | undefined;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]:,]/gs)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(undefined);
    else if (token === "}" || token === "]") open.pop();
    else if (token === ":") {
      const written = JSON.parse(last!) as string;
      const name = caseless.has(folded(written)) ? folded(written) : written;
      const names = open.at(-1)!;
      if (names.has(name)) return true;
      names.add(name);
    } else last = token;
  }
  return false;
}
