import type pg from "pg";
import type { Cells, SourceTable } from "../../src/model/table.ts";
import { quoteIdentifier, quoteLiteral } from "./identifiers.ts";
import { classify, sqlstateOf } from "./sqlstate.ts";

const STATEMENT_MS_MAX = 2_000;

/** Of a partitioned table its own; those of partitions say which row goes where. */
const CHECKS = `
  SELECT (SELECT coalesce(json_agg(json_build_object('name', k.conname, 'expression', pg_get_expr(k.conbin, k.conrelid))), '[]')
            FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c') AS checks,
         (SELECT json_object_agg(a.attname, format_type(a.atttypid, a.atttypmod))
            FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS types
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p')`;

interface Checks {
  readonly checks: readonly { readonly name: string; readonly expression: string }[];
  readonly types: Readonly<Record<string, string>>;
}

/** Lets the server evaluate a table's CHECK constraints on rows that are in no table. */
export async function refusedBy(
  client: pg.Client,
  table: SourceTable,
  rows: readonly Cells[],
): Promise<string | undefined> {
  try {
    await client.query(`SET statement_timeout = ${STATEMENT_MS_MAX}`);
    const found = await client.query<Checks>(CHECKS, [table.schema, table.relation]);
    const [known] = found.rows;
    if (known === undefined) return undefined;
    const cases = known.checks.map(
      ({ name, expression }) => `WHEN (${expression}) IS FALSE THEN ${quoteLiteral(name)}`,
    );
    const columns = table.columns.map(
      ({ name }, i) => `$${i + 1}::${known.types[name] ?? "text"} AS ${quoteIdentifier(name)}`,
    );
    const verdict = cases.length === 0 ? "NULL" : `CASE ${cases.join(" ")} END`;
    const sql = `SELECT ${verdict} AS refused FROM (SELECT ${columns.join(", ")}) AS ${quoteIdentifier(table.relation)}`;
    for (const row of rows) {
      const { rows: told } = await client.query<{ refused: string | null }>(sql, [...row]);
      const refused = told[0]?.refused ?? undefined;
      if (refused !== undefined) return refused;
    }
    return undefined;
  } catch (error) {
    const { constraint } = error as { constraint?: string };
    // A domain's CHECK, or a text that is no value of its type.
    if (sqlstateOf(error) === "23514") return constraint ?? "a domain";
    if (sqlstateOf(error).startsWith("22")) return "the type of a column";
    if (UNTOLD.has(sqlstateOf(error))) return undefined;
    throw classify(error, "source", `trying the constraints of ${table.name}`);
  }
}

/** A function that the role may not call, a column that is not there any more, no time. */
const UNTOLD = new Set(["42501", "42703", "42704", "42883", "55P03", "57014"]);
