import { brotliDecompressSync, gunzipSync, inflateSync } from "node:zlib";
import { inForm } from "./aggregate-id.ts";
import { jsonFieldOf } from "./json-field.ts";
import { UNCLEAR, type NamedId } from "./named-id.ts";
import type { CreatedPlace, IdForm } from "./settings.ts";

/** Of a packed answer, unpacked. */
const UNPACKED_BYTES_MAX = 1_048_576;

/** An answer to a creation, as far as its id may be in it. */
export interface CreatedAnswer {
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly body: Buffer;
}

/** The id of what was made, as the answer says it. Undefined when it does not, unclear when not clearly. */
export function createdIdOf(
  { headers, body }: CreatedAnswer,
  place: CreatedPlace,
  form: IdForm,
): NamedId {
  if ("header" in place) return inForm(lastSegmentOf(valueOf(headers, place.header)), form);
  const type = valueOf(headers, "content-type");
  const plain = unpacked(body, valueOf(headers, "content-encoding"));
  if (plain === undefined) return UNCLEAR;
  const told = type === undefined ? {} : { "content-type": type };
  return inForm(jsonFieldOf(plain, place.json.split("."), told), form);
}

function valueOf(headers: readonly string[], wanted: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2)
    if (headers[i]!.toLowerCase() === wanted.toLowerCase()) return headers[i + 1];
  return undefined;
}

/** Of a `location`, with or without a host, its query and slashes at its end left out. */
function lastSegmentOf(location: string | undefined): NamedId {
  if (location === undefined) return undefined;
  const path = location.replace(/[?#].*$/s, "").replace(/\/+$/, "");
  const last = path.slice(path.lastIndexOf("/") + 1);
  if (last === "") return undefined;
  try {
    return decodeURIComponent(last);
  } catch {
    return UNCLEAR;
  }
}

function unpacked(body: Buffer, coding: string | undefined): Buffer | undefined {
  const limit = { maxOutputLength: UNPACKED_BYTES_MAX };
  try {
    switch (coding?.toLowerCase() ?? "identity") {
      case "identity":
        return body;
      case "gzip":
      case "x-gzip":
        return gunzipSync(body, limit);
      case "deflate":
        return inflateSync(body, limit);
      case "br":
        return brotliDecompressSync(body, limit);
      default:
        return undefined;
    }
  } catch {
    return undefined;
  }
}
