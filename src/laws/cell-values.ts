import fc from "fast-check";
import type { LawTable } from "./law-tables.ts";
import { isDecimal } from "../model/table.ts";

/** Cells of one column as the source could have them, in its canonical text. */
export interface CellSource {
  readonly any: fc.Arbitrary<string | null>;
  /** Values that come often, and to which others are simplified when a story is told. */
  readonly simple: readonly (string | null)[];
}

/**
 * What a column may hold: the values that rules name, those that the catalogue lists, real ones, and
 * others of its type. Within what is known of it, an enum's labels, NOT NULL, lengths and scales, no
 * value is made that the database would refuse; of other CHECK constraints nothing is known here.
 *
 * Infinities and NaN come from real rows only: next to no application has them.
 */
export function cellSource(about: LawTable, column: number): CellSource {
  const { type, allowed } = about.domains[column]!;
  const { nullable } = about.table.columns[column]!;
  const real = realValues(about, column);
  const named = allowed === undefined ? namedValues(about, column) : [];
  const kind = kindOf(type);
  // Of a type unknown here made-up text would be no value of it.
  const made = kind ?? (real.length + named.length > 0 ? undefined : WORDS);
  const pool = allowed ?? made?.pool ?? [];
  const values = fc.oneof(
    ...some(3, named),
    ...some(3, pool),
    ...some(3, real),
    ...(allowed === undefined && made !== undefined ? [{ weight: 2, arbitrary: made.any }] : []),
  );
  const simple = [...(nullable ? [null] : []), ...pool, ...named];
  if (!nullable) return { any: values, simple };
  return {
    any: fc.oneof(
      { weight: 4, arbitrary: values },
      { weight: 1, arbitrary: fc.constant<string | null>(null) },
    ),
    simple,
  };
}

function some(
  weight: number,
  values: readonly string[],
): { weight: number; arbitrary: fc.Arbitrary<string> }[] {
  return values.length === 0 ? [] : [{ weight, arbitrary: fc.constantFrom(...values) }];
}

const REAL_VALUES_MAX = 50;

function realValues({ samples }: LawTable, column: number): readonly string[] {
  const values = new Set<string>();
  for (const row of samples) {
    const cell = row[column];
    if (typeof cell === "string" && values.size < REAL_VALUES_MAX) values.add(cell);
  }
  return [...values];
}

function namedValues({ mapper, domains, table }: LawTable, column: number): readonly string[] {
  const { inserts, updates, deletes } = mapper.parts;
  const cells = [...inserts, ...updates, ...deletes].flatMap(({ conditions }) =>
    conditions.flatMap((condition) => (condition.column === column ? condition.values : [])),
  );
  const texts = [...new Set(cells)].filter((cell) => typeof cell === "string");
  const { type } = domains[column]!;
  return texts.filter((cell) => table.columns[column]!.codec !== "bool" && fits(type, cell));
}

/** Whether a text is of the form that the types below have. */
function fits(type: string, cell: string): boolean {
  return kindOf(type)?.form?.test(cell) ?? true;
}

interface Kind {
  readonly pool: readonly string[];
  readonly any: fc.Arbitrary<string>;
  readonly form?: RegExp;
}

const WORDS: Kind = { pool: ["a", "b"], any: fc.constantFrom("a", "b", "c") };

function kindOf(type: string): Kind | undefined {
  if (type.endsWith("[]")) return arrayOf(type.slice(0, -2));
  const [, base = type, argument = ""] = /^([a-z0-9_]+)(?:\(([-\d,]+)\))?$/.exec(type) ?? [];
  if (isDecimal(type)) return decimal(argument);
  switch (base) {
    case "int2":
      return whole(16);
    case "int4":
      return whole(32);
    case "int8":
      return whole(64);
    case "float4":
    case "float8":
      return {
        pool: ["0", "1", "-1.5"],
        any: fc.integer({ min: -9999, max: 9999 }).map((n) => String(n / 8)),
      };
    case "bool":
      return { pool: ["t", "f"], any: fc.constantFrom("t", "f") };
    case "text":
    case "citext":
      return text(40);
    case "varchar":
      return text(argument === "" ? 40 : Number(argument));
    case "bpchar":
      return argument === "" ? text(40) : padded(Number(argument));
    case "bytea":
      return {
        pool: ["\\x", "\\x00ff"],
        any: fc
          .uint8Array({ maxLength: 8 })
          .map((bytes) => `\\x${Buffer.from(bytes).toString("hex")}`),
      };
    case "uuid":
      return {
        pool: ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"],
        any: fc.uuid(),
      };
    case "date":
      return { pool: ["2026-01-31", "2030-06-15", "2024-02-29"], any: days };
    case "time":
      return { pool: ["00:00:00", "10:30:00"], any: clock(argument) };
    case "timestamp":
      return {
        pool: ["2026-01-31 10:00:00", "2030-06-15 12:00:00", "2024-02-29 23:59:59"],
        any: moments(argument),
        form: /^\d{4}-.{14}/,
      };
    case "timestamptz":
      return {
        pool: ["2026-01-31 10:00:00+00", "2030-06-15 12:00:00+00", "2024-02-29 23:59:59+00"],
        any: moments(argument).map((value) => `${value}+00`),
        form: /^\d{4}-.{14}.*\+00$/,
      };
    case "interval":
      return {
        pool: ["00:00:00", "1 day"],
        any: fc.constantFrom("1 mon", "-02:00:00", "3 days 04:05:06"),
      };
    case "json":
    case "jsonb":
      return {
        pool: ["{}", '{"a": 1}', "[]", "null"],
        any: fc.constantFrom('"a"', "1.50", '{"a": {"b": [true, null]}}', '{"$was": "é"}'),
      };
    case "inet":
      return { pool: ["10.0.0.1", "10.0.0.2"], any: fc.ipV4() };
    default:
      return undefined;
  }
}

function whole(bits: number): Kind {
  const limit = 2n ** BigInt(bits - 1);
  return {
    pool: ["0", "1", "2", "3"],
    any: fc.bigInt({ min: -limit, max: limit - 1n }).map(String),
    form: /^-?\d+$/,
  };
}

const DIGITS_MAX = 15;

function decimal(argument: string): Kind {
  const [precision = DIGITS_MAX, scale = 2] =
    argument === "" ? [] : argument.split(",").map(Number);
  if (scale < 0 || scale > precision) return WORDS_OF_NUMBERS;
  // More digits than a double holds are rare, and a function that takes them for one is right elsewhere.
  const digits = Math.min(precision, DIGITS_MAX);
  const any = fc
    .tuple(fc.boolean(), fc.bigInt({ min: 0n, max: 10n ** BigInt(digits) - 1n }))
    .map(([negative, value]) => `${negative && value !== 0n ? "-" : ""}${scaled(value, scale)}`);
  const pool = [0n, 1n, 5n, 10n ** BigInt(scale)].map((value) => scaled(value, scale));
  return {
    pool: [...new Set(pool)].filter((value) => digitsOf(value) <= precision),
    any,
    form: /^-?\d+(\.\d+)?$/,
  };
}

const WORDS_OF_NUMBERS: Kind = { pool: ["0"], any: fc.constant("0") };

function digitsOf(value: string): number {
  return value.replace(".", "").replace(/^0+/, "").length;
}

function scaled(value: bigint, scale: number): string {
  const digits = String(value).padStart(scale + 1, "0");
  return scale === 0 ? digits : `${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
}

function text(lengthMax: number): Kind {
  const cut = (value: string): string =>
    Array.from(value.replaceAll("\0", "")).slice(0, lengthMax).join("");
  const words = ["a", "b", "", "It's", '"quoted"', "a,b", "\\", "é😀", "null", " "];
  return {
    pool: [...new Set(words.map(cut))],
    any: fc.oneof(
      { weight: 3, arbitrary: fc.string({ unit: "grapheme-ascii", maxLength: 12 }).map(cut) },
      { weight: 1, arbitrary: anyText.map(cut) },
    ),
  };
}

/** Of all characters but U+0000 and halves of pairs; fast-check's own is slow to begin. */
const anyText = fc
  .array(
    fc.oneof(
      fc.integer({ min: 1, max: 0xff }),
      fc.integer({ min: 0x100, max: 0xd7ff }),
      fc.integer({ min: 0xe000, max: 0x10ffff }),
    ),
    { maxLength: 8 },
  )
  .map((points) => String.fromCodePoint(...points));

function padded(length: number): Kind {
  const { pool, any } = text(length);
  const pad = (value: string): string => value + " ".repeat(length - Array.from(value).length);
  return { pool: [...new Set(pool.map(pad))], any: any.map(pad) };
}

function arrayOf(element: string): Kind {
  const isNumber = /^(int[248]|float[48]|numeric)\b/.test(element);
  const [one = "a", other = "b"] = isNumber ? kindOf(element)!.pool.toReversed() : [];
  const items = [`{${one}}`, `{${one},${other}}`, "{NULL}"];
  const isText = /^(text|varchar)$/.test(element);
  const any = isNumber || isText ? items : ["{}"];
  return {
    pool: ["{}", ...any.slice(0, 1)],
    any: fc.constantFrom(...any, ...(isText ? ['{"a b",NULL}', '{"",a}'] : [])),
  };
}

const two = (value: number): string => String(value).padStart(2, "0");

const days = fc
  .tuple(
    fc.integer({ min: 1970, max: 2037 }),
    fc.integer({ min: 1, max: 12 }),
    fc.integer({ min: 1, max: 28 }),
  )
  .map(([year, month, day]) => `${year}-${two(month)}-${two(day)}`);

/** @param precision digits of the fraction; six when absent */
function clock(precision: string): fc.Arbitrary<string> {
  const places = precision === "" ? 6 : Number(precision);
  return fc
    .tuple(fc.nat(86_399), fc.oneof(fc.constant(0), fc.nat(10 ** places - 1)))
    .map(([second, part]) => {
      const digits = String(part).padStart(places, "0").replace(/0+$/, "");
      const time = `${two(Math.floor(second / 3600))}:${two(Math.floor(second / 60) % 60)}:${two(second % 60)}`;
      return digits === "" ? time : `${time}.${digits}`;
    });
}

function moments(precision: string): fc.Arbitrary<string> {
  return fc.tuple(days, clock(precision)).map(([day, time]) => `${day} ${time}`);
}
