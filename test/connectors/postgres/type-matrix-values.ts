/** A column type and values of it, as SQL expressions that mean the same in every session. */
export interface MatrixType {
  readonly type: string;
  readonly values: readonly string[];
}

/** DDL of the types below that a database does not have by itself. */
export const MATRIX_TYPES_DDL = `
  CREATE SCHEMA one; CREATE SCHEMA two;
  CREATE TYPE one.mood AS ENUM ('ok', 'so, so', 'back\\slash', '"q"');
  CREATE TYPE two.mood AS ENUM ('', 'OK', 'ok');
  CREATE TYPE one.pair AS (a int, "B c" text);
  CREATE TYPE two.nest AS (p one.pair, many one.pair[], at timestamptz, "order" bytea);
  CREATE DOMAIN one.positive AS int CHECK (value > 0);
  CREATE DOMAIN one.code AS char(4);
  CREATE DOMAIN two.code AS one.code DEFAULT '';
  CREATE DOMAIN one.series AS int[];
  CREATE TYPE one.floats AS RANGE (subtype = float8);`;

const all = (type: string, ...literals: readonly string[]): MatrixType => ({
  type,
  values: literals.map((literal) => `${quoted(literal)}::${type}`),
});
const quoted = (text: string): string => `E'${text.replaceAll(/['\\]/g, String.raw`\$&`)}'`;

const NINES = "9".repeat(400);
const EVERY_CHARACTER_BELOW_SPACE = Array.from({ length: 31 }, (_, i) =>
  String.fromCharCode(i + 1),
).join("");

const NUMBERS: readonly MatrixType[] = [
  all("int2", "-32768", "32767", "0"),
  all("int4", "-2147483648", "2147483647", "0"),
  all("int8", "-9223372036854775808", "9223372036854775807", "9007199254740993"),
  // prettier-ignore
  all("numeric", "NaN", "Infinity", "-Infinity", "0", "-0.00", "1.0", "1.00", "1e131071", "-1e-16383", `${NINES}.${NINES}`, "0.10", "123456789.000000001"),
  all("numeric(12,2)", "NaN", "-9999999999.99", "0", "7"),
  all("numeric(5,-2)", "1234567", "-50"),
  all("numeric(3,5)", "0.00999", "-0.00001"),
  // prettier-ignore
  all("float4", "-0", "NaN", "Infinity", "-Infinity", "1e-45", "1.17549435e-38", "3.4028235e38", "0.1", "16777216", "1e15"),
  // prettier-ignore
  all("float8", "-0", "NaN", "Infinity", "-Infinity", "5e-324", "2.2250738585072014e-308", "1.7976931348623157e308", "0.1", "0.30000000000000004", "1e22", "9007199254740993"),
  {
    type: "money",
    values: ["92233720368547758.07", "-92233720368547758.08", "0", "-0.01", "1234.5"].map(
      (number) => `'${number}'::numeric::money`,
    ),
  },
  all("bool", "t", "f"),
  all("oid", "4294967295", "0"),
];

const TEXTS: readonly MatrixType[] = [
  // prettier-ignore
  all("text", "", " ", "null", "NULL", "\\N", "\\.", "\\\\", "'\"`", "{}", "a,b", EVERY_CHARACTER_BELOW_SPACE, "\u007f\u0080\u0085\u00a0\u2028\u2029\ufeff", "Zürich e\u0301 😀👩‍👧", "\ud7ff\ue000\ufffd\uffff\u{10ffff}", "__proto__", `long ${"é".repeat(3_000)}`),
  all("varchar(10)", "", "ten chars.", "😀😀😀😀😀😀😀😀😀😀", "a  "),
  all("char(10)", "", "a", "          ", " ab ", "ten chars."),
  all("char(1)", "", "é"),
  all("bpchar", "a  ", ""),
  all('"char"', "a", "", "\\\\"),
  all("name", "", "x".repeat(63), 'Mixed "Case"'),
  {
    type: "bytea",
    values: [
      "'\\x'::bytea",
      "(SELECT decode(string_agg(lpad(to_hex(i), 2, '0'), '' ORDER BY i), 'hex') FROM generate_series(0, 255) i)",
      "decode('00', 'hex')",
      "decode('5c5c27', 'hex')",
    ],
  },
  all("bit(3)", "000", "101"),
  all("bit(70)", "1".repeat(70)),
  all("varbit", "", "1", "0".repeat(100)),
  all("varbit(5)", "", "10101"),
  all("uuid", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
  // prettier-ignore
  all("json", '  {"b" : 1 ,\n\t"a":[1.0,1.00, -0, 1e400]} ', '{"a":1,"a":2,"":3}', '"\\ud83d\\ude00 😀"', '"\\u0000 \\u00e9"', "null", '""', "[]"),
  // prettier-ignore
  all("jsonb", '{"b":1,"a":2,"b":3,"":4}', '"\\ud83d\\ude00 \\u00e9\\u0001 \\\\u0000"', "1.00", "-0.0", `1e-400`, NINES, "null", '""', "[]", "{}", '[{"$was":{"__proto__":1}}]'),
  all("xml", "<a/>", "only text", '<?xml version="1.0"?><a x="1">é 😀</a>', "", " <b/> \n"),
  all("tsvector", "", "'a b':1A,2B 'c''d':16383 e"),
  all("tsquery", "", "!a & (b | 'c d':*A) <-> e <3> f"),
];

const TIMES: readonly MatrixType[] = [
  // prettier-ignore
  all("date", "infinity", "-infinity", "4713-01-01 BC", "5874897-12-31", "0001-12-31 BC", "0001-01-01", "9999-12-31", "10000-01-01", "2024-02-29"),
  // prettier-ignore
  all("timestamp", "infinity", "-infinity", "4713-01-01 00:00:00 BC", "294276-12-31 23:59:59.999999", "0001-01-01 00:00:00", "0044-03-15 12:00:00 BC", "9999-12-31 23:59:59.999999", "10000-01-01 00:00:00", "1969-12-31 23:59:59.9", "2024-02-29 12:34:56.000001"),
  // prettier-ignore
  all("timestamptz", "infinity", "-infinity", "4713-01-01 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00", "0001-01-01 00:00:00+15:59", "0044-03-15 12:00:00-07 BC", "9999-12-31 23:59:59.999999+00", "10000-01-01 00:00:00+00", "1969-12-31 23:59:59.9+00", "2024-02-29 12:34:56.000001+05:45"),
  all("timestamp(0)", "2024-02-29 12:34:56.5"),
  all("timestamptz(3)", "2024-02-29 12:34:56.0005+00"),
  all("time", "00:00:00", "24:00:00", "23:59:59.999999"),
  all("time(0)", "24:00:00"),
  all("timetz", "24:00:00-15:59", "00:00:00+15:59", "12:34:56.789+05:45:30", "12:00:00Z"),
  all("timetz(2)", "23:59:59.99+00"),
  // prettier-ignore
  all("interval", "0", "178000000 years", "-178000000 years", "2147483647 days -2147483647 hours", "1 mon -1 day +00:00:00.000001", "-1 mon +1 day -00:00:00.000001", "-0.1 seconds", "1 year 2 mons -3 days 04:05:06.789"),
  all("interval(3)", "00:00:00.123"),
  all("interval year to month", "-1 year -2 mons"),
  all("interval day to second(2)", "1 day 02:03:04.05"),
];

const OTHERS: readonly MatrixType[] = [
  all("inet", "192.168.0.1/24", "10.0.0.1", "::1", "::ffff:1.2.3.4/96", "0.0.0.0/0"),
  all("cidr", "10.0.0.0/8", "::/0", "192.168.0.1/32"),
  all("macaddr", "08:00:2b:01:02:03"),
  all("macaddr8", "08:00:2b:ff:fe:01:02:03"),
  all("pg_lsn", "0/0", "FFFFFFFF/FFFFFFFF"),
  all("tid", "(4294967295,65535)"),
  all("xid8", "18446744073709551615"),
  all("pg_snapshot", "10:20:10,14,15"),
  all("regclass", "pg_catalog.pg_class", "one.pair"),
  all("regtype", "one.mood", "two.mood", "int4"),
  all("point", "(-0,5e-324)", "(NaN,Infinity)", "(0.1,-1e300)"),
  all("line", "{1,-1,0.1}"),
  all("lseg", "[(0,0),(1,-1)]"),
  all("box", "(1,1),(-0,0)"),
  all("path", "[(0,0),(1,1)]", "((0,0),(0.1,1),(2,0))"),
  all("polygon", "((0,0),(0.1,1),(2,0))"),
  all("circle", "<(0,0),0.1>"),
  all("int4range", "empty", "[1,10]", "(,)"),
  all("int8range", "empty", "(,)", "[-9223372036854775808,)", "(,5]"),
  all("numrange", "[1.0,2.00]", "(,Infinity)", "empty"),
  all("daterange", "[-infinity,infinity]", "[2024-01-01,2024-02-01)"),
  all("tsrange", '["2024-01-01 00:00:00",infinity)'),
  all("tstzrange", '["4713-01-01 00:00:00+00 BC","2024-01-01 00:00:00+00"]'),
  all("int8multirange", "{}", "{[1,3),[5,)}", "{(,)}"),
  all("nummultirange", "{[1.0,2.00]}"),
  all("tstzmultirange", '{["2024-01-01 00:00:00+00",infinity)}'),
  all("one.mood", "ok", "so, so", "back\\slash", '"q"'),
  all("two.mood", "", "OK", "ok"),
  all("one.pair", "(,)", '(1,"")', '(-1,"a ""b"" (c), \\\\ d")'),
  {
    type: "two.nest",
    values: [
      "ROW(ROW(1, 'x, y'), ARRAY[ROW(2, NULL), NULL, ROW(NULL, '{}')]::one.pair[], 'infinity', '\\x00ff'::bytea)::two.nest",
      "ROW(NULL, '{}', '0044-03-15 12:00:00+00 BC', '\\x'::bytea)::two.nest",
    ],
  },
  all("one.positive", "1", "2147483647"),
  all("one.code", "", "ab"),
  all("two.code", "abcd", " "),
  all("one.series", "{}", "[-1:0]={1,NULL}"),
  all("one.floats", "[-0,0.1)", "empty", "(,NaN]"),
];

/** Types of extensions that a server may lack, by extension. */
const CONTRIB: Readonly<Record<string, readonly MatrixType[]>> = {
  hstore: [all("public.hstore", "", 'a=>NULL, "b c"=>"d\\"e,=>", ""=>"", NULL=>"NULL"')],
  ltree: [
    all("public.ltree", "", "Top.Science.Astronomy"),
    all("public.lquery", "a.*{1,2}.!b|c@*"),
    all("public.ltxtquery", "a & !(b | c*)"),
  ],
  citext: [all("public.citext", "MiXed", "", "ÄÖ")],
  cube: [all("public.cube", "(1,2),(3,-0.1)", "()")],
  seg: [all("public.seg", "1.0 .. 2.00", "~5", "<1")],
  isn: [all("public.isbn13", "978-0-393-04002-9")],
  intarray: [all("public.query_int", "1&(2|!3)")],
};

/** Values that only newer servers know. */
function newer(version: number): readonly MatrixType[] {
  return version < 170_000 ? [] : [all("interval", "infinity", "-infinity")];
}

/**
 * The types to try on a server, and those left out.
 *
 * @param version `server_version_num`
 * @param extensions available ones
 */
export function matrixTypes(
  version: number,
  extensions: ReadonlySet<string>,
  hasXml: boolean,
): { readonly types: readonly MatrixType[]; readonly extensions: readonly string[] } {
  const contrib = Object.keys(CONTRIB).filter((name) => extensions.has(name));
  const types = [
    ...NUMBERS,
    ...TEXTS.filter(({ type }) => type !== "xml" || hasXml),
    ...TIMES,
    ...newer(version),
    ...OTHERS,
    ...contrib.flatMap((name) => CONTRIB[name]!),
  ];
  return { types, extensions: contrib };
}

export const CONTRIB_NAMES: readonly string[] = Object.keys(CONTRIB);

/** Arrays of a type: with NULL, empty, of two dimensions, with bounds of its own. */
export function arrayOf({ type, values }: MatrixType): MatrixType {
  const list = values.join(", ");
  const first = values[0]!;
  const last = values.at(-1)!;
  const array = `${type}[]`;
  return {
    type: array,
    values: [
      `ARRAY[${list}, NULL]::${array}`,
      `'{}'::${array}`,
      `ARRAY[[${first}, NULL], [NULL, ${last}]]::${array}`,
      `('[-3:-2]=' || ARRAY[${first}, ${last}]::${array}::text)::${array}`,
      `ARRAY[NULL, NULL]::${array}`,
    ],
  };
}
