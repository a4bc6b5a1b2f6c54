import type pg from "pg";
import type { Cells, SourceTable } from "../../src/model/table.ts";
import type {
  ColumnValues,
  RowSampler,
  SampleOptions,
  TableSample,
} from "../../src/source/row-sample.ts";
import type { Ask } from "./catalogue.ts";
import { quoteIdentifier, quoteTable } from "./identifiers.ts";
import { connect, disconnect } from "./session.ts";
import { askClient } from "./snapshot-rows.ts";
import { refusedBy } from "./row-checks.ts";
import { classify, sqlstateOf } from "./sqlstate.ts";
import { allowedValues, readColumns, type SurveyedColumn } from "./survey-columns.ts";
import { plural } from "../../src/model/count-text.ts";

/** Nobody may have to wait behind a sample, so it does not wait itself. */
const LOCK_MS_MAX = 100;
const STATEMENT_MS_MIN = 50;
/** The catalogue is read whole or not at all, however little time there is for rows. */
const CATALOGUE_MS_MIN = 5_000;
/** Of a larger table only about so many pages are looked at, anywhere in it. */
const PAGES_SAMPLED = 40;
const ROWS_LOOKED_AT = 2_000;
/** A row with a larger value, as stored, is left out. */
const VALUE_BYTES_MAX = 64 * 1024;

/** Reads a few rows of each table, in a session of its own, each table in a transaction of its own. */
export function openPostgresRowSampler(options: { readonly url: string }): RowSampler {
  return new PostgresRowSampler(options.url);
}

class PostgresRowSampler implements RowSampler {
  readonly #url: string;
  #client: Promise<pg.Client> | undefined;

  constructor(url: string) {
    this.#url = url;
  }

  async sample(
    tables: readonly SourceTable[],
    { rowsMax, budgetMs }: SampleOptions,
    signal: AbortSignal,
  ): Promise<readonly TableSample[]> {
    const deadline = performance.now() + budgetMs;
    const client = await (this.#client ??= this.#connect());
    const ask = askClient(client);
    const catalogueMs = Math.max(CATALOGUE_MS_MIN, Math.floor(budgetMs));
    await ask("sampling", `SET statement_timeout = ${catalogueMs}`, []);
    const known = await readKnown(ask, tables);
    const samples: TableSample[] = [];
    for (const [i, table] of tables.entries()) {
      const relation = known[i];
      const columns = relation?.columns ?? new Map<string, ColumnValues>();
      const leftMs = (deadline - performance.now()) / (tables.length - i);
      const read = async (): Promise<Pick<TableSample, "rows" | "leftOut">> => {
        if (rowsMax === 0) return { rows: [] };
        if (relation === undefined) return { rows: [], leftOut: "it is not there any more" };
        if (relation.unreadable !== undefined) return { rows: [], leftOut: relation.unreadable };
        if (signal.aborted) return { rows: [], leftOut: "interrupted" };
        if (leftMs < STATEMENT_MS_MIN) return { rows: [], leftOut: "the time for samples was up" };
        return await readSome(client, relation, table, rowsMax, statementMs(leftMs));
      };
      samples.push({ table: table.name, columns, ...(await read()) });
    }
    return samples;
  }

  async refusedBy(table: SourceTable, rows: readonly Cells[]): Promise<string | undefined> {
    const client = await (this.#client ??= this.#connect());
    return await refusedBy(client, table, rows);
  }

  async close(): Promise<void> {
    const client = await this.#client?.catch(() => undefined);
    if (client !== undefined) await disconnect(client);
  }

  async #connect(): Promise<pg.Client> {
    const client = await connect({
      url: this.#url,
      applicationName: "banyan check",
      lockTimeoutMs: LOCK_MS_MAX,
      answerMsMax: 60_000,
    });
    try {
      await client.query("SET default_transaction_read_only = on");
      return client;
    } catch (error) {
      await disconnect(client);
      throw classify(error, "source", "opening a session for samples");
    }
  }
}

function statementMs(ms: number): number {
  return Math.max(STATEMENT_MS_MIN, Math.floor(ms));
}

interface Relation {
  readonly kind: string;
  /** Of all leaves, as of the last VACUUM or ANALYZE. */
  readonly pages: number;
  readonly unreadable: string | undefined;
  readonly columns: ReadonlyMap<string, ColumnValues>;
}

/** Walks pg_inherits instead of calling pg_partition_tree, which would lock what it finds. */
const RELATIONS = `
  WITH RECURSIVE tree AS (
    SELECT asked.place, c.oid, c.relkind, c.relpages
      FROM unnest($1::text[], $2::text[]) WITH ORDINALITY asked (schema, relation, place)
      JOIN pg_namespace n ON n.nspname = asked.schema
      JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = asked.relation AND c.relkind IN ('r', 'p')
    UNION ALL
    SELECT t.place, c.oid, c.relkind, c.relpages
      FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid AND t.relkind = 'p' JOIN pg_class c ON c.oid = i.inhrelid
  )
  SELECT asked.place::int AS place, c.oid::int8::text AS oid, c.relkind AS kind,
         (SELECT sum(greatest(t.relpages, 0)) FROM tree t WHERE t.place = asked.place)::int8::text AS pages,
         has_schema_privilege(c.relnamespace, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS readable,
         row_security_active(c.oid) AS "rowsHidden",
         (SELECT coalesce(json_object_agg(a.attname, concat(nullif(bn.nspname, 'pg_catalog') || '.', b.typname,
                            substring(format_type(t.typbasetype, t.typtypmod) from '\\(.*\\)'))), '{}')
            FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid AND t.typtype = 'd'
            JOIN pg_type b ON b.oid = t.typbasetype JOIN pg_namespace bn ON bn.oid = b.typnamespace
           WHERE a.attrelid = c.oid AND a.attnum > 0) AS "baseTypes"
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY asked (schema, relation, place)
    JOIN pg_namespace n ON n.nspname = asked.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = asked.relation AND c.relkind IN ('r', 'p')`;

interface RelationRow {
  readonly place: number;
  readonly oid: string;
  readonly kind: string;
  readonly pages: string | null;
  readonly readable: boolean;
  readonly rowsHidden: boolean;
  readonly baseTypes: Readonly<Record<string, string>>;
}

/** In the order asked; undefined for what is not there. */
async function readKnown(
  ask: Ask,
  tables: readonly SourceTable[],
): Promise<readonly (Relation | undefined)[]> {
  const rows = await ask<RelationRow>("reading the tables", RELATIONS, [
    tables.map(({ schema }) => schema),
    tables.map(({ relation }) => relation),
  ]);
  const described = await readColumns(
    ask,
    rows.map(({ oid }) => ({ oid: Number(oid), leaf: Number(oid) })),
  );
  return tables.map((table, i) => {
    const row = rows.find(({ place }) => place === i + 1);
    if (row === undefined) return undefined;
    return {
      kind: row.kind,
      pages: Number(row.pages ?? 0),
      unreadable: unreadable(row),
      columns: columnValues(table, described.get(Number(row.oid)), row.baseTypes),
    };
  });
}

function unreadable({ readable, rowsHidden }: RelationRow): string | undefined {
  if (!readable) return "the role may not read it";
  return rowsHidden ? "row-level security hides rows from the role" : undefined;
}

function columnValues(
  { columns }: SourceTable,
  described: ReadonlyMap<string, SurveyedColumn> | undefined,
  baseTypes: Readonly<Record<string, string>>,
): ReadonlyMap<string, ColumnValues> {
  const known = new Map<string, ColumnValues>();
  for (const { name, type } of columns) {
    const baseType = Object.hasOwn(baseTypes, name) ? baseTypes[name]! : undefined;
    const surveyed = described?.get(name);
    const allowed = surveyed === undefined ? undefined : listedTexts(surveyed, baseType ?? type);
    if (baseType === undefined && allowed === undefined) continue;
    known.set(name, {
      ...(allowed === undefined ? {} : { allowed }),
      ...(baseType === undefined ? {} : { baseType }),
    });
  }
  return known;
}

/** In canonical text: values of `char(n)` are padded. */
function listedTexts(surveyed: SurveyedColumn, type: string): readonly string[] | undefined {
  const length = /^bpchar\((\d+)\)$/.exec(type)?.[1];
  const pad = (value: string): string =>
    length === undefined
      ? value
      : value + " ".repeat(Math.max(0, Number(length) - Array.from(value).length));
  return allowedValues(surveyed)?.map(pad);
}

/** Types of a few bytes. */
const SMALL = /^(int[248]|float[48]|bool|date|timestamp|timestamptz|time|uuid)\b/;

/** Text as the server writes it, as in the log. */
const AS_TEXT = { getTypeParser: () => String };

async function readSome(
  client: pg.Client,
  { kind, pages }: Relation,
  table: SourceTable,
  rowsMax: number,
  ms: number,
): Promise<Pick<TableSample, "rows" | "leftOut">> {
  const names = table.columns.map(({ name }) => quoteIdentifier(name));
  const sizes = table.columns
    .map(({ type }, i) => (SMALL.test(type) ? [] : [`pg_column_size(${names[i]})`]))
    .flat();
  const large =
    sizes.length === 0
      ? "false"
      : `coalesce(greatest(${sizes.join(", ")}), 0) > ${VALUE_BYTES_MAX}`;
  // A large value is not even fetched.
  const values = table.columns.map(({ type }, i) =>
    SMALL.test(type)
      ? names[i]!
      : `CASE WHEN pg_column_size(${names[i]}) <= ${VALUE_BYTES_MAX} THEN ${names[i]} END`,
  );
  const from = kind === "p" ? quoteTable(table) : `ONLY ${quoteTable(table)}`;
  // Rows of one page are of one time; those of several pages are mixed.
  const select = (sampled: string): string =>
    `SELECT ${[large, ...values].join(", ")}
       FROM (SELECT ${names.join(", ")} FROM ${from}${sampled} LIMIT ${Math.max(ROWS_LOOKED_AT, rowsMax)}) AS looked_at
      ORDER BY random() LIMIT ${rowsMax}`;
  const read = async (sql: string): Promise<readonly (readonly (string | null)[])[]> =>
    (await client.query<(string | null)[]>({ text: sql, rowMode: "array", types: AS_TEXT })).rows;
  try {
    await client.query(`SET statement_timeout = ${ms}`);
    const share = (100 * PAGES_SAMPLED) / Math.max(pages, 1);
    let rows = share < 100 ? await read(select(` TABLESAMPLE SYSTEM (${share.toFixed(6)})`)) : [];
    if (rows.length === 0) rows = await read(select(""));
    const whole = rows.filter(([isLarge]) => isLarge !== "t").map(([, ...cells]): Cells => cells);
    const dropped = rows.length - whole.length;
    return dropped === 0
      ? { rows: whole }
      : {
          rows: whole,
          leftOut: `${plural(dropped, "row has", "rows have")} values of more than 64 KB`,
        };
  } catch (error) {
    const leftOut = REASONS[sqlstateOf(error)];
    if (leftOut === undefined) throw classify(error, "source", `sampling ${table.name}`);
    return { rows: [], leftOut };
  }
}

/** What keeps a table from being sampled without being a failure. */
const REASONS: Readonly<Record<string, string>> = {
  "55P03": "it is locked just now",
  "57014": "it could not be read in time",
  "42501": "the role may not read it",
  "42P01": "it is not there any more",
  "42703": "it was altered just now",
};
