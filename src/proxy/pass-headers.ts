import type { IncomingMessage } from "node:http";
import type { Admitted } from "./admission.ts";
import { isForwardedName, tellForwarded, type ForwardedHeaders } from "./forwarded-headers.ts";

/** Of one connection, never of a message; RFC 9110, 7.6.1. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "transfer-encoding",
  "upgrade",
  // Answered here.
  "expect",
]);
/** Names every proxy that a request has passed, so that one that comes back is noticed. */
export const HOPS_HEADER = "banyan-hops";
/** Proxies of this kind in a row. */
const HOPS_MAX = 8;

export interface PassOptions {
  /** Of this process, random. */
  readonly instance: string;
  readonly forwarded: ForwardedHeaders;
  /** Address of the client. */
  readonly peer: string;
  /** For a request that was routed. */
  readonly routed?: Routed | undefined;
}

export interface Routed {
  /** Of the decision: who has seen a later one may refuse the request. */
  readonly epoch: number;
  /** A UUID: the same for both sides, where both are asked. */
  readonly correlation: string;
}

/**
 * The header lines that go on with a request, as a flat list: all but those of this connection. Names that
 * begin with `banyan-` are the proxy's own, whoever sent them.
 *
 * @returns `loop` when the request has been here before
 */
export function requestHeaders(
  request: IncomingMessage,
  { host }: Admitted,
  { instance, forwarded, peer, routed }: PassOptions,
): string[] | "loop" {
  const { rawHeaders, headers } = request;
  const hops = headers[HOPS_HEADER];
  const passed = typeof hops === "string" ? hops.split(",").map((hop) => hop.trim()) : [];
  if (passed.includes(instance) || passed.length >= HOPS_MAX) return "loop";
  const isTrusted = forwarded.isTrusted(peer);
  const named = namedIn(headers.connection);
  const said = new Map<string, string>();
  const out: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    const value = rawHeaders[i + 1]!;
    // Some applications read an underscore as a dash.
    const lower = name.toLowerCase();
    const plain = lower.includes("_") ? lower.replaceAll("_", "-") : lower;
    if (HOP_BY_HOP.has(plain) || named?.has(plain) === true || plain.startsWith("banyan-"))
      continue;
    if (!isForwardedName(plain)) out.push(name, value);
    else if (isTrusted) {
      const before = said.get(plain);
      said.set(plain, before === undefined ? value : `${before}, ${value}`);
    }
  }
  tellForwarded(out, said, { peer, host, version: request.httpVersion });
  if (/\btrailers\b/i.test(String(headers["te"] ?? ""))) out.push("te", "trailers");
  out.push(HOPS_HEADER, [...passed, instance].join(", "));
  if (routed === undefined) return out;
  out.push("banyan-epoch", String(routed.epoch), "banyan-mode", "live");
  out.push("banyan-correlation", routed.correlation);
  return out;
}

/**
 * The header lines that go back with a response, as a flat list of text. A field that says what only the
 * upstream's connection means is left out; the server of this side frames the body anew.
 */
export function responseHeaders(raw: readonly string[]): string[] {
  const out: string[] = [];
  let named: ReadonlySet<string> | undefined;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i]!;
    const plain = name.toLowerCase();
    if (plain === "connection") named = namedIn(raw[i + 1]) ?? named;
    if (HOP_BY_HOP.has(plain)) continue;
    out.push(name, raw[i + 1]!);
  }
  if (named === undefined) return out;
  return out.filter((_, i) => !named.has(out[i - (i % 2)]!.toLowerCase()));
}

/**
 * What of an answer's headers the client may be told: no length where there never is a body, and no trailers
 * where none can follow, which Node's server would not write.
 *
 * @param headers flat, as {@link responseHeaders} gives them
 */
export function headersToClient(
  status: number,
  headers: string[],
  { method, httpVersionMinor }: IncomingMessage,
): string[] {
  const isBare = status < 200 || status === 204;
  const hasLength = has(headers, "content-length");
  const isWithout = isBare || status === 304 || method === "HEAD";
  const mayTrail = !isWithout && !hasLength && httpVersionMinor > 0;
  const told = isBare && hasLength ? without(headers, "content-length") : headers;
  return mayTrail || !has(told, "trailer") ? told : without(told, "trailer");
}

function has(headers: readonly string[], name: string): boolean {
  for (let i = 0; i < headers.length; i += 2)
    if (headers[i]!.length === name.length && headers[i]!.toLowerCase() === name) return true;
  return false;
}

function without(headers: readonly string[], name: string): string[] {
  return headers.filter((_, i) => headers[i - (i % 2)]!.toLowerCase() !== name);
}

/** Names that Connection lists, but for the usual two, which mean nothing more. */
function namedIn(connection: string | undefined): ReadonlySet<string> | undefined {
  if (connection === undefined || /^(?:keep-alive|close)$/i.test(connection)) return undefined;
  return new Set(connection.split(",").map((name) => name.trim().toLowerCase()));
}
