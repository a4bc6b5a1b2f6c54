import fc from "fast-check";
import type { CodecName } from "../../src/model/table.ts";

/** Column kinds of random schemas. Each has a small pool, so that values meet again, and all the rest. */
export interface ColumnKind {
  readonly type: string;
  readonly codec: CodecName;
  /** Canonical texts that come often. */
  readonly pool: readonly string[];
  readonly any: fc.Arbitrary<string>;
}

const digits = (bits: number): fc.Arbitrary<string> =>
  fc.bigInt({ min: -(2n ** BigInt(bits - 1)), max: 2n ** BigInt(bits - 1) - 1n }).map(String);

/** Text as Postgres can hold it: no U+0000, no half of a surrogate pair. */
const text = fc
  .string({ unit: "binary", maxLength: 12 })
  .map((value) => value.replaceAll("\0", ""));

const two = (value: number): string => String(value).padStart(2, "0");
const moment = fc
  .tuple(
    fc.integer({ min: 1, max: 9_999 }),
    fc.integer({ min: 1, max: 12 }),
    fc.nat(86_399_999_999),
  )
  .map(([year, month, us]) => {
    const seconds = Math.floor(us / 1_000_000);
    const fraction = us % 1_000_000;
    const micros = fraction === 0 ? "" : `.${String(fraction).padStart(6, "0").replace(/0+$/, "")}`;
    const time = `${two(Math.floor(seconds / 3600))}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
    return `${String(year).padStart(4, "0")}-${two(month)}-28 ${time}${micros}`;
  });

export const KINDS = {
  text: {
    type: "text",
    codec: "text",
    pool: ["", "a", "A", "null", "\\0", ",", "a,b", "\\", "-", "1", "a\u2028b", '"$was"', "😀"],
    any: text,
  },
  int4: { type: "int4", codec: "int", pool: ["0", "1", "2", "3", "-1"], any: digits(32) },
  int8: {
    type: "int8",
    codec: "text",
    pool: ["0", "1", "2", "3", "9007199254740993"],
    any: digits(64),
  },
  numeric: {
    type: "numeric",
    codec: "text",
    pool: ["0", "1.0", "1.00", "-0.5", "NaN", "Infinity"],
    any: digits(80).map((value) => `${value}.50`),
  },
  bool: { type: "bool", codec: "bool", pool: ["t", "f"], any: fc.constantFrom("t", "f") },
  bytea: {
    type: "bytea",
    codec: "bytea",
    pool: ["\\x", "\\x00", "\\xff5c2c"],
    any: fc.uint8Array({ maxLength: 8 }).map((bytes) => `\\x${Buffer.from(bytes).toString("hex")}`),
  },
  timestamp: {
    type: "timestamp",
    codec: "timestamp",
    pool: ["infinity", "2024-02-29 12:00:00", "0044-03-15 12:00:00 BC", "10000-01-01 00:00:00"],
    any: moment,
  },
  timestamptz: {
    type: "timestamptz",
    codec: "timestamptz",
    pool: ["-infinity", "2024-02-29 12:00:00.5+00", "4713-01-01 00:00:00+00 BC"],
    any: moment.map((value) => `${value}+00`),
  },
  jsonb: {
    type: "jsonb",
    codec: "text",
    pool: ["null", '""', "{}", '{"$was": {"a": 1.00}}', "1.0"],
    any: fc.json({ maxDepth: 2, stringUnit: "grapheme-ascii" }),
  },
} as const satisfies Readonly<Record<string, ColumnKind>>;

export type KindName = keyof typeof KINDS;

export function cellOf(kind: KindName): fc.Arbitrary<string> {
  const { pool, any } = KINDS[kind];
  return fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...pool) },
    { weight: 1, arbitrary: any },
  );
}
