import type { IncomingHttpHeaders } from "node:http";
import { jsonFieldOf } from "./json-field.ts";
import { folded, UNCLEAR, type NamedId } from "./named-id.ts";
import type { RouteMatch } from "./route-table.ts";
import type { IdForm } from "./settings.ts";
import { keyText } from "../mapping/stream-id.ts";

/** As long as a stream id may be. */
const ID_LENGTH_MAX = 600;

export interface RequestParts {
  readonly query: string | undefined;
  readonly headers: IncomingHttpHeaders;
  /** Undefined when the request has none, unclear when it was not read to its end. */
  readonly body: Buffer | typeof UNCLEAR | undefined;
}

/**
 * The key of the aggregate that a request is about, as its stream id has it. Undefined only when nothing is there
 * that anybody could take for one; unclear when it is there twice, in another form, or in a way that two
 * readers could understand differently.
 */
export function aggregateIdOf(
  { route, params }: RouteMatch,
  { query, headers, body }: RequestParts,
): NamedId {
  const { id, idForm } = route;
  if (id === undefined) return undefined;
  if ("path" in id) return inForm(params[id.path], idForm);
  if ("query" in id) return inForm(inQuery(query, id.query), idForm);
  if ("header" in id) return inForm(inHeader(headers, id.header.toLowerCase()), idForm);
  return inForm(
    Buffer.isBuffer(body) ? jsonFieldOf(body, id.json.split("."), headers) : body,
    idForm,
  );
}

function inQuery(query: string | undefined, wanted: string): NamedId {
  const all = [...new URLSearchParams(query ?? "")];
  return onlyOf(
    all.filter(([name]) => folded(name) === folded(wanted)),
    wanted,
  );
}

function inHeader(headers: IncomingHttpHeaders, wanted: string): NamedId {
  // Some applications read an underscore as a dash.
  const plain = (name: string): string => name.replaceAll("_", "-");
  const found = Object.entries(headers).filter(([name]) => plain(name) === plain(wanted));
  const value = onlyOf(
    found.map(([name, lines]) => [name, String(lines)]),
    wanted,
  );
  // Lines of one name come joined.
  return typeof value === "string" && value.includes(",") ? UNCLEAR : value;
}

/** @param found all that some reader takes for the one that is wanted */
function onlyOf(found: readonly (readonly [string, string])[], wanted: string): NamedId {
  const [first, second] = found;
  if (first === undefined) return undefined;
  const [name, value] = first;
  return second === undefined && name === wanted ? value : UNCLEAR;
}

/**
 * As a stream id has it, behind the stream type: its bucket is that of the stream. Another spelling of the
 * same number or UUID would be in another one.
 */
export function inForm(named: NamedId, form: IdForm): NamedId {
  if (typeof named !== "string") return named;
  if (!isInForm(named, form)) return UNCLEAR;
  switch (form) {
    case "text":
      return keyText([named], [0]);
    case "uuid":
      return named.toLowerCase();
    case "integer":
    case "key":
      return named;
  }
}

function isInForm(text: string, form: IdForm): boolean {
  if (text === "" || text.length > ID_LENGTH_MAX) return false;
  switch (form) {
    case "text":
    case "key":
      return true;
    case "integer":
      return /^(?:0|-?[1-9]\d*)$/.test(text);
    case "uuid":
      return /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i.test(text);
  }
}
