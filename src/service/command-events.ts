import { createHash } from "node:crypto";

/** Of Banyan's own, as RFC 9562 asks of name-based ids. */
const NAMESPACE = Buffer.from("6f1d3c0b8a5e4f7d9c2b1e0a7d6c5b4a", "hex");

/**
 * Id of the `n`-th event (from 0) that a command leads to: a UUIDv5, so that a command that comes again
 * meets its events.
 *
 * @param subject what the command is for: a stream, or the stream type for a creation
 */
export function commandEventId(
  pipeline: string,
  subject: string,
  commandId: string,
  n: number,
): string {
  const name = [pipeline, subject, commandId, String(n)].join("\0");
  const bytes = createHash("sha1").update(NAMESPACE).update(name).digest();
  bytes[6] = (bytes[6]! & 0x0f) | 0x50;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytes.toString("hex", 0, 16).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
