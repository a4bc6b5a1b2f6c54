/**
 * Deterministic event ids: mapping the same change again gives the same id, and ids sort in source
 * order, so that the store's unique index grows at its end instead of all over.
 *
 * A UUIDv8 (RFC 9562) of, from the left: 64 bits of the commit's sequence number, 14 bits of the rule,
 * then for a captured change one bit that tells the second half of a row's move, 27 bits of its ordinal
 * in the transaction and 16 bits of the pipeline's tag; for a baseline event 32 bits of its ordinal in the stream type and 12 bits of the tag. Rules of
 * baseline events have numbers of their own, so the two forms never meet.
 *
 * Within a pipeline no two events share an id. The tag, a hash of source and pipeline, keeps apart two
 * pipelines that see the same transaction, and sources whose commits have the same number; it is the
 * same for all events of a pipeline, so that two pipelines meet in all of their ids or in none.
 */
export const RULE_SLOTS_MAX = 2 ** 14 - 1; // One number is LINK_SLOT.
export const ORDINAL_MAX = 2 ** 27 - 1;
/**
 * Added to the ordinal in the ids of the half that joins. The two halves may be told by two mappings,
 * long after each other, and the numbers of rules change with the mapping.
 */
export const JOINED_HALF = 2 ** 27;
/** In place of a rule, in the id that links the halves of a move: no event has it. */
export const LINK_SLOT = 2 ** 14 - 1;

/** @param commit 16 hexadecimal digits: the transaction's `commit` */
export interface IdPrefix {
  readonly high: number;
  readonly low: number;
}

export function idPrefix(commit: string): IdPrefix {
  return {
    high: Number.parseInt(commit.slice(0, 8), 16) >>> 0,
    low: Number.parseInt(commit.slice(8, 16), 16) >>> 0,
  };
}

/** Writes the id of a captured event at `offset`. @param tag see {@link pipelineTag} */
export function writeCaptureId(
  out: Uint8Array,
  offset: number,
  prefix: IdPrefix,
  slot: number,
  ordinal: number,
  tag: number,
): void {
  // 58 bits after the sequence: slot 14, ordinal 28, tag 16; split as 26 high bits and 32 low ones.
  const high = slot * 0x1000 + (ordinal >>> 16);
  const low = ((ordinal & 0xffff) << 16) | (tag & 0xffff);
  writeId(out, offset, prefix, high, low);
}

/** Writes the id of a baseline event at `offset`. @param ordinal below 2^32 */
export function writeBaselineId(
  out: Uint8Array,
  offset: number,
  prefix: IdPrefix,
  slot: number,
  ordinal: number,
  tag: number,
): void {
  // 58 bits after the sequence: slot 14, tag 12, ordinal 32.
  writeId(out, offset, prefix, slot * 0x1000 + (tag & 0xfff), ordinal);
}

function writeId(
  out: Uint8Array,
  offset: number,
  prefix: IdPrefix,
  high: number,
  low: number,
): void {
  const { high: h, low: l } = prefix;
  out[offset] = h >>> 24;
  out[offset + 1] = h >>> 16;
  out[offset + 2] = h >>> 8;
  out[offset + 3] = h;
  out[offset + 4] = l >>> 24;
  out[offset + 5] = l >>> 16;
  out[offset + 6] = 0x80 | ((l >>> 12) & 0x0f);
  out[offset + 7] = l >>> 4;
  out[offset + 8] = 0x80 | ((l & 0x0f) << 2) | ((high >>> 24) & 0x03);
  out[offset + 9] = high >>> 16;
  out[offset + 10] = high >>> 8;
  out[offset + 11] = high;
  out[offset + 12] = low >>> 24;
  out[offset + 13] = low >>> 16;
  out[offset + 14] = low >>> 8;
  out[offset + 15] = low;
}

/** @param source identity of the source @param pipeline its name in the store */
export function pipelineTag(source: string, pipeline: string): number {
  return hashText(`${source}\0${pipeline}`) & 0xffff;
}

/** FNV-1a over UTF-16 units, its upper half folded into the lower. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return hash ^ (hash >>> 16);
}

export function formatUuid(bytes: Uint8Array, offset: number): string {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset + offset, 16).toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
