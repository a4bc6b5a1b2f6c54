import type { Ask } from "./catalogue.ts";

/** What catalogue and statistics say of one column. */
export interface SurveyedColumn {
  readonly name: string;
  readonly comment: string | null;
  readonly identity: boolean;
  readonly mayBeOutOfLine: boolean;
  readonly labels: readonly string[] | null;
  /** Of its CHECK constraints and of those of its domain, those that are about this column alone. */
  readonly checks: readonly string[];
  /** As `pg_stats.n_distinct`: a negative number is a share of the rows. */
  readonly distinct: number | null;
  /** False when the statistics are those of one partition. */
  readonly whole: boolean | null;
  readonly nullShare: number | null;
  readonly averageBytes: number | null;
  readonly common: readonly { readonly value: string; readonly share: number }[] | null;
}

/** Of which relation the statistics are to be taken where the table as a whole has none: its largest leaf. */
export interface ColumnsAsked {
  readonly oid: number;
  readonly leaf: number;
}

/** Of a column with more distinct values no values are read: they tell nothing about its role. */
const DISTINCT_MAX = 50;
/** Shorter text is always kept in the row. */
const SHORT_LENGTH_MAX = 400;

/**
 * The view pg_stats shows a role only what it may read. Statistics over a whole tree of partitions
 * exist only after ANALYZE was run on its root.
 */
const COLUMNS = `
  WITH asked AS (
    SELECT c.oid, c.relkind, n.nspname, c.relname, l.reltoastrelid, ln.nspname AS leaf_schema, l.relname AS leaf_relation
      FROM unnest($1::int8[]::oid[], $2::int8[]::oid[]) a (oid, leaf)
      JOIN pg_class c ON c.oid = a.oid JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_class l ON l.oid = a.leaf JOIN pg_namespace ln ON ln.oid = l.relnamespace
  ),
  described AS (
    SELECT asked.oid, true AS whole, s.* FROM asked
      JOIN pg_stats s ON s.schemaname = asked.nspname AND s.tablename = asked.relname AND s.inherited = (asked.relkind = 'p')
    UNION ALL
    SELECT asked.oid, false, s.* FROM asked
      JOIN pg_stats s ON s.schemaname = asked.leaf_schema AND s.tablename = asked.leaf_relation AND NOT s.inherited
     WHERE asked.relkind = 'p'
  ),
  known AS (SELECT DISTINCT ON (oid, attname) * FROM described ORDER BY oid, attname, whole DESC)
  SELECT asked.oid::int8::text AS oid, json_agg(json_build_object(
           'name', a.attname, 'comment', col_description(asked.oid, a.attnum), 'identity', a.attidentity <> '',
           'mayBeOutOfLine', asked.reltoastrelid <> 0 AND a.attlen = -1 AND a.attstorage IN ('x', 'e')
                             AND NOT (t.typname IN ('varchar', 'bpchar') AND a.atttypmod BETWEEN 4 AND ${SHORT_LENGTH_MAX + 4}),
           'labels', (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e
                       WHERE e.enumtypid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END),
           'checks', (SELECT coalesce(json_agg(pg_get_constraintdef(k.oid)), '[]') FROM pg_constraint k
                       WHERE k.contype = 'c' AND (k.conrelid = asked.oid AND k.conkey = ARRAY[a.attnum]
                                                  OR k.contypid = t.oid AND t.typtype = 'd')),
           'distinct', s.n_distinct, 'whole', s.whole, 'nullShare', s.null_frac, 'averageBytes', s.avg_width,
           'common', CASE WHEN t.typcategory <> 'A' AND s.n_distinct BETWEEN 1 AND ${DISTINCT_MAX} THEN
             (SELECT json_agg(json_build_object('value', left(u.value, 100), 'share', u.share) ORDER BY u.place)
                FROM unnest(s.most_common_vals::text::text[], s.most_common_freqs) WITH ORDINALITY u (value, share, place)
               WHERE u.place <= 20) END)
         ORDER BY a.attnum) AS columns
    FROM asked
    JOIN pg_attribute a ON a.attrelid = asked.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN known s ON s.oid = asked.oid AND s.attname = a.attname
   GROUP BY asked.oid`;

/** By the table's OID and then the column's name. */
export async function readColumns(
  ask: Ask,
  asked: readonly ColumnsAsked[],
): Promise<ReadonlyMap<number, ReadonlyMap<string, SurveyedColumn>>> {
  const rows = await ask<{ oid: string; columns: readonly SurveyedColumn[] }>(
    "reading the columns and their statistics",
    COLUMNS,
    [asked.map(({ oid }) => oid), asked.map(({ leaf }) => leaf)],
  );
  return new Map(
    rows.map(({ oid, columns }) => [
      Number(oid),
      new Map(columns.map((column) => [column.name, column])),
    ]),
  );
}

/**
 * The values that a column may have: an enum's labels, or what a CHECK constraint lists
 * (`CHECK ((status = ANY (ARRAY['a'::text, 'b'::text])))`, as the server prints `status IN ('a', 'b')`).
 */
export function allowedValues({ labels, checks }: SurveyedColumn): readonly string[] | undefined {
  if (labels !== null) return labels;
  for (const check of checks) {
    const values = listedValues(check);
    if (values !== undefined) return values;
  }
  return undefined;
}

const TEXT = /'((?:[^']|'')*)'/g;
const COLUMN = String.raw`(?:\((?:"[^"]+"|[\p{L}\d_$]+)\)::text|"[^"]+"|[\p{L}\d_$]+)`;
/** Only whole: beside an OR, or of `lower(status)`, a list does not say what the column may hold. */
const LIST = new RegExp(
  String.raw`^CHECK \(+(?:${COLUMN} IS NULL\) OR \()?${COLUMN} = ANY \(+ARRAY\[([^\]]*)\](?:\)::text\[\])?\)+$`,
  "u",
);
/** Of types whose equal values have one text: 1 and 1.0 are one number, and `citext` does not mind the case. */
const ITEM =
  /^(?:'::(?:text|character varying|bpchar|name|integer|smallint|bigint)|(\d+)|\((\d+)\)::(?:bigint|smallint))$/;

function listedValues(check: string): readonly string[] | undefined {
  const texts: string[] = [];
  // Placeholders, so that nothing in a text looks like a part of the expression.
  const bare = check.replaceAll(TEXT, (_, text: string) => {
    texts.push(text.replaceAll("''", "'"));
    return "'";
  });
  const list = LIST.exec(bare)?.[1];
  // How many blanks a domain's values are padded with, its CHECK does not say.
  if (list === undefined || /\(VALUE = .*'::bpchar/.test(bare)) return undefined;
  // `IN (1, -3)` comes as ARRAY[1, '-3'::integer].
  const values = list.split(", ").map((item) => {
    const [whole, plain, cast] = ITEM.exec(item) ?? [];
    return whole === undefined ? undefined : (plain ?? cast ?? texts.shift());
  });
  return values.every((value) => value !== undefined) && texts.length === 0 ? values : undefined;
}
