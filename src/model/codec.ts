import type { Cell } from "./cell.ts";
import type { CodecName } from "./table.ts";

/**
 * Codes a column's canonical text as a JSON fragment and back, without loss.
 *
 * Whatever has no shorter exact JSON form stays the server's own text in a JSON string: numeric and
 * int8 would lose digits as JSON numbers, infinity and BC dates have no ISO form.
 */
export interface Codec {
  /** Canonical text to a JSON fragment, e.g. `12`, `true`, `"12.50"`. */
  readonly toJson: (text: string) => string;
  /** A parsed JSON value back to the same canonical text. */
  readonly fromJson: (value: unknown) => string;
}

/** JSON fragment of one cell; the caller has resolved "unchanged" before. */
export function cellToJson(codec: Codec, cell: Cell): string {
  return cell === null || cell === undefined ? "null" : codec.toJson(cell);
}

export function cellFromJson(codec: Codec, value: unknown): string | null {
  return value === null || value === undefined ? null : codec.fromJson(value);
}

/**
 * A JSON string literal. Most values are short and plain, for which a scan beats the engine's
 * general routine by a factor of two.
 */
export function jsonString(text: string): string {
  if (text.length > 64) return JSON.stringify(text);
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 0x20 || c === 0x22 || c === 0x5c || c > 0xd7ff) return JSON.stringify(text);
  }
  return `"${text}"`;
}

const text: Codec = { toJson: jsonString, fromJson: String };

export const CODECS: Readonly<Record<CodecName, Codec>> = {
  text,
  int: { toJson: (value) => value, fromJson: String },
  bool: {
    toJson: (value) => (value === "t" ? "true" : "false"),
    fromJson: (value) => (value === true ? "t" : "f"),
  },
  // Postgres writes bytea as \x and hex digits (bytea_output = hex).
  bytea: {
    toJson: (value) => `"${Buffer.from(value.slice(2), "hex").toString("base64")}"`,
    fromJson: (value) => `\\x${Buffer.from(String(value), "base64").toString("hex")}`,
  },
  // "2026-01-31 10:00:00.123456" <-> "2026-01-31T10:00:00.123456". Years beyond 9999, BC and infinity
  // do not have a blank at index 10 or do not end in a digit, and stay as they are.
  timestamp: {
    toJson: (value) =>
      isPlainTimestamp(value) ? `"${value.slice(0, 10)}T${value.slice(11)}"` : jsonString(value),
    fromJson: (value) => {
      const iso = String(value);
      return iso[10] === "T" ? `${iso.slice(0, 10)} ${iso.slice(11)}` : iso;
    },
  },
  // The session runs in UTC, so an ordinary value ends in "+00".
  timestamptz: {
    toJson: (value) =>
      value.endsWith("+00") && isPlainTimestamp(value)
        ? `"${value.slice(0, 10)}T${value.slice(11, -3)}Z"`
        : jsonString(value),
    fromJson: (value) => {
      const iso = String(value);
      return iso[10] === "T" && iso.endsWith("Z")
        ? `${iso.slice(0, 10)} ${iso.slice(11, -1)}+00`
        : iso;
    },
  },
};

function isPlainTimestamp(value: string): boolean {
  return value.charCodeAt(10) === 0x20 && !value.endsWith("BC");
}
