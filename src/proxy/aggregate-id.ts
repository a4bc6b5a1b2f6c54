import type { IncomingHttpHeaders } from "node:http";
import { jsonFieldOf } from "./json-field.ts";
import type { RouteMatch } from "./route-table.ts";
import type { IdForm } from "./settings.ts";

/** As long as a stream id may be. */
const ID_LENGTH_MAX = 600;

export interface RequestParts {
  readonly query: string | undefined;
  readonly headers: IncomingHttpHeaders;
  /** Of a request whose route looks into it; undefined when it was not read, or was too large. */
  readonly body: Buffer | undefined;
}

/**
 * The id of the aggregate that a request is about, in its one spelling. Undefined when it names none, names
 * it twice, or in a way that two readers could understand differently.
 */
export function aggregateIdOf(
  { route, params }: RouteMatch,
  { query, headers, body }: RequestParts,
): string | undefined {
  const { id, idForm } = route;
  if (id === undefined) return undefined;
  if ("path" in id) return inForm(params[id.path], idForm);
  if ("query" in id) return inForm(onlyOf(query, id.query), idForm);
  if ("json" in id) return inForm(body && jsonFieldOf(body, id.json.split("."), headers), idForm);
  const value = headers[id.header.toLowerCase()];
  // Lines of one name come joined.
  return typeof value === "string" && !value.includes(",") ? inForm(value, idForm) : undefined;
}

function onlyOf(query: string | undefined, name: string): string | undefined {
  const values = new URLSearchParams(query ?? "").getAll(name);
  return values.length === 1 ? values[0] : undefined;
}

/** Another spelling of the same number or UUID would be in another bucket. */
function inForm(text: string | undefined, form: IdForm): string | undefined {
  if (text === undefined || text === "" || text.length > ID_LENGTH_MAX) return undefined;
  switch (form) {
    case "text":
      return text;
    case "integer":
      return /^(?:0|-?[1-9]\d*)$/.test(text) ? text : undefined;
    case "uuid":
      return /^[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}$/i.test(text)
        ? text.toLowerCase()
        : undefined;
  }
}
