import type { IncomingMessage } from "node:http";
import { BlockList, isIPv6 } from "node:net";

/** Headers by which one proxy tells the next whom it speaks for. */
export interface ForwardedHeaders {
  /** Whether what the peer says of others is believed. */
  isTrusted(peer: string): boolean;
}

/** The peer's address, an IPv4 one as such also on a socket for both. */
export function peerOf(request: IncomingMessage): string {
  const address = request.socket.remoteAddress ?? "";
  return address.startsWith("::ffff:") ? address.slice(7) : address;
}

/** @param trusted addresses and networks; see {@link parseNetwork} */
export function forwardedHeaders(trusted: readonly string[]): ForwardedHeaders {
  if (trusted.length === 0) return { isTrusted: () => false };
  const list = new BlockList();
  for (const text of trusted) {
    const { address, prefix, family } = parseNetwork(text)!;
    list.addSubnet(address, prefix, family);
  }
  return { isTrusted: (peer) => list.check(peer, isIPv6(peer) ? "ipv6" : "ipv4") };
}

export function parseNetwork(
  text: string,
): { address: string; prefix: number; family: "ipv4" | "ipv6" } | undefined {
  const [address = "", digits] = text.split("/");
  const family = isIPv6(address) ? "ipv6" : "ipv4";
  const bits = family === "ipv6" ? 128 : 32;
  const prefix = digits === undefined ? bits : Number(digits);
  if (!Number.isInteger(prefix) || prefix < 0 || prefix > bits) return undefined;
  try {
    new BlockList().addSubnet(address, prefix, family);
    return { address, prefix, family };
  } catch {
    return undefined;
  }
}

/** Whether a header speaks of what came before this proxy. @param name lower case, dashes */
export function isForwardedName(name: string): boolean {
  return (
    name.startsWith("x-forwarded-") ||
    name === "forwarded" ||
    name === "via" ||
    name === "x-real-ip"
  );
}

/**
 * What is said to the upstream. Of a trusted peer the lists go on; of any other they begin here.
 *
 * @param said what a trusted peer sent, by lower-case name; empty for any other
 */
export function tellForwarded(
  headers: string[],
  said: ReadonlyMap<string, string>,
  { peer, host, version }: { peer: string; host: string | undefined; version: string },
): void {
  const list = (name: string, value: string): string => {
    const before = said.get(name);
    return before === undefined ? value : `${before}, ${value}`;
  };
  const quoted = peer.includes(":") ? `"[${peer}]"` : peer;
  const forHost = host === undefined ? "" : `;host="${host.replaceAll(/["\\]/g, "")}"`;
  headers.push("x-forwarded-for", list("x-forwarded-for", peer));
  headers.push("x-forwarded-proto", said.get("x-forwarded-proto") ?? "http");
  const original = said.get("x-forwarded-host") ?? host;
  if (original !== undefined) headers.push("x-forwarded-host", original);
  headers.push("forwarded", list("forwarded", `for=${quoted}${forHost};proto=http`));
  headers.push("via", list("via", `${version} banyan`));
  for (const [name, value] of said) {
    if (!TOLD.has(name)) headers.push(name, value);
  }
}

const TOLD = new Set([
  "x-forwarded-for",
  "x-forwarded-proto",
  "x-forwarded-host",
  "forwarded",
  "via",
]);
