import type { IncomingMessage } from "node:http";
import type { Refusal } from "./refusal.ts";

/** A request whose framing and target leave nothing to interpret. */
export interface Admitted {
  /** As it came: path, and query with its question mark. What is forwarded. */
  readonly target: string;
  /** Begins with a slash. */
  readonly path: string;
  /** Without its question mark; undefined when there is none. */
  readonly query: string | undefined;
  readonly host: string | undefined;
  readonly hasBody: boolean;
}

/** Header lines of a request. */
const HEADERS_MAX = 200;
/** Header names that a request may not have twice: two readers could each take another one. */
const SINGLE = new Set(["host", "content-length", "transfer-encoding", "expect", "content-type"]);
/** What Connection may not name, because without it the request would be another one. */
const END_TO_END = new Set([
  ...SINGLE,
  "authorization",
  "content-encoding",
  "content-range",
  "cookie",
  "forwarded",
  "range",
  "via",
]);

/**
 * Lets a request in, or says why not. The parser has refused before what is not HTTP at all: both framings
 * at once, two lengths, folded lines, control characters, bare line feeds, malformed chunks.
 */
export function admit(request: IncomingMessage): Admitted | Refusal {
  const { rawHeaders, headers, method, url = "" } = request;
  if (request.httpVersionMajor !== 1) return "version";
  if (method === "CONNECT") return "method";
  if (rawHeaders.length > HEADERS_MAX * 2) return "large-headers";
  const coding = headers["transfer-encoding"];
  if (coding !== undefined) {
    // Chunked is the only coding that everybody undoes; before 1.1 there is none.
    if (coding.toLowerCase() !== "chunked" || request.httpVersionMinor === 0) return "framing";
    if (headers["content-length"] !== undefined) return "framing";
  }
  if (hasTwice(rawHeaders)) return "framing";
  if (headers.host === undefined && request.httpVersionMinor === 1) return "framing";
  const { connection } = headers;
  if (connection !== undefined && isHarmful(connection)) return "framing";
  const target = targetOf(url, headers.host);
  if (target === undefined) return "target";
  const length = headers["content-length"];
  const mark = target.indexOf("?");
  return {
    target,
    path: mark === -1 ? target : target.slice(0, mark),
    query: mark === -1 ? undefined : target.slice(mark + 1),
    host: headers.host,
    hasBody: coding !== undefined || (length !== undefined && length !== "0"),
  };
}

function hasTwice(rawHeaders: readonly string[]): boolean {
  let seen: Set<string> | undefined;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase();
    if (!SINGLE.has(name)) continue;
    seen ??= new Set();
    if (seen.has(name)) return true;
    seen.add(name);
  }
  return false;
}

function isHarmful(connection: string): boolean {
  return connection.split(",").some((name) => {
    const plain = name.trim().toLowerCase();
    return END_TO_END.has(plain) || plain.startsWith("x-forwarded-") || plain.startsWith("banyan-");
  });
}

/** Path and query, also of the absolute form, whose host must be the one that the request is for. */
function targetOf(url: string, host: string | undefined): string | undefined {
  if (url.includes("#")) return undefined;
  if (url.startsWith("/")) return url;
  const [, authority, rest] = /^https?:\/\/([^/?]*)(.*)$/i.exec(url) ?? [];
  if (authority === undefined || authority.toLowerCase() !== host?.toLowerCase()) return undefined;
  return rest!.startsWith("/") ? rest : `/${rest}`;
}
