import { promisify } from "node:util";
import { brotliDecompress, gunzip, inflate } from "node:zlib";
import type { Answer } from "../verify/compare-answers.ts";

const CODINGS = {
  gzip: promisify(gunzip),
  "x-gzip": promisify(gunzip),
  deflate: promisify(inflate),
  br: promisify(brotliDecompress),
} as const;

/**
 * An answer without the coding of its content.
 *
 * @param headers flat
 * @param bytesMax of the body without the coding
 * @returns undefined for a coding that is not known or not kept to, and for a body that is larger
 */
export async function decodeAnswer(
  status: number,
  headers: readonly string[],
  body: Buffer,
  bytesMax: number,
): Promise<Answer | undefined> {
  const byName = new Map<string, string>();
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!.toLowerCase();
    const before = byName.get(name);
    byName.set(name, before === undefined ? headers[i + 1]! : `${before}, ${headers[i + 1]!}`);
  }
  const coding = (byName.get("content-encoding") ?? "identity").toLowerCase();
  if (coding === "identity" || body.length === 0) return { status, headers: byName, body };
  const decode = Object.hasOwn(CODINGS, coding)
    ? CODINGS[coding as keyof typeof CODINGS]
    : undefined;
  const decoded = await decode?.(body, { maxOutputLength: bytesMax }).catch(() => undefined);
  return decoded && { status, headers: byName, body: decoded };
}
