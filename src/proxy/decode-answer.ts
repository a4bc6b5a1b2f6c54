import { brotliDecompressSync, gunzipSync, inflateSync } from "node:zlib";
import type { Answer } from "../verify/compare-answers.ts";

const CODINGS = {
  gzip: gunzipSync,
  "x-gzip": gunzipSync,
  deflate: inflateSync,
  br: brotliDecompressSync,
} as const;

/**
 * An answer without the coding of its content. At once: the threads that would do it meanwhile are shared
 * with those who wait for something else.
 *
 * @param headers flat
 * @param bytesMax of the body without the coding
 * @returns undefined for a coding that is not known or not kept to, and for a body that is larger
 */
export function decodeAnswer(
  status: number,
  headers: readonly string[],
  body: Buffer,
  bytesMax: number,
): Answer | undefined {
  const byName = new Map<string, string>();
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!.toLowerCase();
    const before = byName.get(name);
    byName.set(name, before === undefined ? headers[i + 1]! : `${before}, ${headers[i + 1]!}`);
  }
  const coding = (byName.get("content-encoding") ?? "identity").toLowerCase();
  if (coding === "identity" || body.length === 0) return { status, headers: byName, body };
  if (!Object.hasOwn(CODINGS, coding)) return undefined;
  try {
    const decoded = CODINGS[coding as keyof typeof CODINGS](body, { maxOutputLength: bytesMax });
    return { status, headers: byName, body: decoded };
  } catch {
    return undefined;
  }
}
