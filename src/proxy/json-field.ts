import type { IncomingHttpHeaders } from "node:http";

/**
 * A field of a JSON body as text, if it is a text or a whole number. Undefined for anything else, for a body
 * that is not plain UTF-8 JSON, and when a name on the way is there twice: parsers differ in which counts.
 *
 * @param path names from the outermost object on
 */
export function jsonFieldOf(
  body: Buffer,
  path: readonly string[],
  headers: IncomingHttpHeaders,
): string | undefined {
  if ((headers["content-encoding"] ?? "identity") !== "identity") return undefined;
  if (/charset=(?!"?utf-8)/i.test(headers["content-type"] ?? "")) return undefined;
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
    let value: unknown = JSON.parse(text);
    if (hasNameTwice(text)) return undefined;
    for (const name of path) {
      if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
      if (!Object.hasOwn(value, name)) return undefined;
      value = (value as Readonly<Record<string, unknown>>)[name];
    }
    if (typeof value === "string") return value;
    return Number.isSafeInteger(value) ? String(value) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether an object of a valid JSON text has a name twice. */
function hasNameTwice(text: string): boolean {
  // Of the objects and arrays that are open: names so far, or undefined for an array.
  const open: (Set<string> | undefined)[] = [];
  let last: string | undefined;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]:,]/gs)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(undefined);
    else if (token === "}" || token === "]") open.pop();
    else if (token === ":") {
      const name = JSON.parse(last!) as string;
      const names = open.at(-1)!;
      if (names.has(name)) return true;
      names.add(name);
    } else last = token;
  }
  return false;
}
